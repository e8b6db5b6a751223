"""Folders of offline runs: what counts as a run, and what resumed, killed and damaged ones are worth."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.reading.run import NO_SEED, Run
from analysis.reading.sources import read_runs
from analysis.reading.wandb import log_records
from tests.wandb_logs import exit_record, history_record, log_folder, row, run_record, summary_record, write_log

ROOT = Path(__file__).resolve().parents[4]
WriteOffline = Callable[..., Path]


def read(source: str = "runs") -> list[Run]:
    return read_runs([source])


def test_an_offline_run_is_read_whole(write_offline: WriteOffline) -> None:
    provenance = {"commit": "1a2b", "dirty": True, "device": "CPU", "resumed": [{"commit": "3c4d", "device": "CPU"}]}
    config = {"schedule": {"epochs": 20.0, "lr": 0.5}, "provenance": provenance, "_wandb": {}}
    write_offline(seed=3, accuracy=1, flops=10, config=config, peak_memory_mb=None)
    (run,) = read()
    assert (run.study, run.variant, run.seed, run.state, run.error) == ("lab", "dynamic_3x3", 3, "completed", "")
    assert (run.digest, run.commits, run.devices, run.dirty) == ("d", ("1a2b", "3c4d"), ("CPU",), True)
    assert type(run.number("test_accuracy")) is float and run.number("test_accuracy") == 1.0
    assert run.number("flops") == 10 and "peak_memory_mb" not in run.numbers
    assert not run.numbers.keys() & {"epoch", "step", "lr", "temperature", "seconds"}
    assert run.config == {"schedule": {"epochs": 20, "lr": 0.5}}
    assert (run.source, run.place) == ("runs", "runs/wandb/offline-run-20260101_000000-abc")
    assert run.evaluations() == [row(1), row(2), row(3)]


def test_a_resumed_run_is_one_run_and_keeps_the_last_row_of_each_epoch(write_offline: WriteOffline) -> None:
    write_offline(time="000003", epochs=range(4, 6), loss=3.0)
    write_offline(time="000001", epochs=range(1, 4), accuracy=None, code=None, loss=1.0)
    write_offline(time="000002", epochs=range(3, 5), accuracy=None, code=1, loss=2.0, error="ValueError: x")
    (run,) = read()
    assert (run.state, run.place) == ("completed", "runs/wandb/offline-run-20260101_000003-abc")
    assert run.evaluations() == [row(1, 1.0), row(2, 1.0), row(3, 2.0), row(4, 3.0), row(5, 3.0)]


@pytest.mark.parametrize(
    ("code", "summary", "state", "error"),
    [
        (None, {}, "interrupted", ""),
        (1, {}, "interrupted", ""),
        (1, {"error": "FloatingPointError: the loss\nis NaN"}, "failed", "FloatingPointError: the loss"),
        (1, {"state": "interrupted", "error": "RunInterrupted: stopped at step 3"}, "interrupted", ""),
        (0, {}, "damaged", "it finished, but its summary holds no test_accuracy"),
        (0, {"test_accuracy": "NaN"}, "damaged", "test_accuracy in the summary is nan, not a fraction"),
        (0, {"test_accuracy": 71.5}, "damaged", "is 71.5, not a fraction between 0 and 1"),
    ],
)
def test_a_run_without_a_result_tells_how_it_ended(
    write_offline: WriteOffline, code: int | None, summary: dict[str, object], state: str, error: str
) -> None:
    write_offline(accuracy=None, code=code, **summary)
    (run,) = read()
    assert (run.state, run.counts, run.digest) == (state, False, "") and error in run.error
    assert (run.study, run.variant, run.seed) == ("lab", "dynamic_3x3", 0)


def test_a_result_that_is_older_than_the_last_start_does_not_count(write_offline: WriteOffline) -> None:
    write_offline(time="000001")
    write_offline(time="000002", accuracy=None, code=None)
    assert [(run.state, run.counts) for run in read()] == [("interrupted", False)]


def test_a_torn_log_is_read_up_to_the_tear(write_offline: WriteOffline) -> None:
    path = write_offline()
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"test_accuracy")])
    (run,) = read()
    assert (run.state, run.counts, run.seed) == ("interrupted", False, 0)
    assert run.evaluations() == [row(1), row(2), row(3)]


@pytest.mark.parametrize("content", [b"", b":W&B\xe1\xbe\x00"])
def test_an_empty_log_is_named_and_skipped(
    write_offline: WriteOffline, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    write_offline()
    write_offline("unknown", seed=1).write_bytes(content)
    nobody, run = sorted(read(), key=lambda run: run.seed)
    assert (nobody.study, nobody.seed, nobody.counts, run.counts) == ("", NO_SEED, False, True)
    assert main(["table", "runs", "--format", "csv"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert "damaged: run-unknown.wandb is empty: the run was killed before anything was written" in printed.err


def test_an_empty_log_is_known_by_another_log_of_its_run_or_by_its_folder(write_offline: WriteOffline) -> None:
    write_offline(time="000001", seed=4)
    write_offline(time="000002").write_bytes(b"")
    assert [(run.variant, run.seed, run.counts) for run in read()] == [
        ("dynamic_3x3", 4, True),
        ("dynamic_3x3", 4, False),
    ]
    write_log(log_folder(Path("runs/study/static,trainer.epochs=20.0/seed7/wandb"), "x"), [])
    (run,) = read("runs/study")
    assert (run.study, run.variant, run.seed, run.state) == ("study", "static,trainer.epochs=20", 7, "damaged")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"hello, world", "is no W&B log"), (b":W&B\xe1\xbe\x00" + b"x" * 50, "is torn before it tells which run it is")],
)
def test_a_file_that_tells_nothing_does_not_count(write_offline: WriteOffline, content: bytes, reason: str) -> None:
    write_offline().write_bytes(content)
    (run,) = read()
    assert run.state == "damaged" and reason in run.error


def test_a_run_of_somebody_else_does_not_count(write_offline: WriteOffline) -> None:
    folder = log_folder(Path("runs/wandb"), "abc")
    write_log(folder, [run_record("abc", {}, "", ""), history_record(row(1)), summary_record({"a": 1}), exit_record(0)])
    (run,) = read()
    assert (run.counts, run.variant, run.seed) == (False, "abc", NO_SEED)


def test_wandb_is_not_loaded_for_run_folders(tmp_path: Path) -> None:
    result = {"study": "lab", "variant": "dynamic_3x3", "seed": 0, "test_accuracy": 0.5}
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1.0}')
    code = (
        "import sys; from analysis.reading.sources import read_runs\n"
        f"print(read_runs([{str(tmp_path)!r}])[0].evaluations(), 'wandb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[{'epoch': 1.0}] False\n", "")


def test_rows_are_decoded_when_they_are_asked_for_and_once(
    write_offline: WriteOffline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        write_offline(f"id{number}", seed=number, epochs=range(1, 11))
    decoded: list[str] = []
    content = log_records._content
    monkeypatch.setattr(log_records, "_content", lambda kind, data: (decoded.append(kind), content(kind, data))[1])
    runs = read()
    assert decoded and "history" not in decoded
    assert sum(len(run.evaluations()) for run in runs) == 30
    assert decoded.count("history") == 30


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the most memory in use")
def test_memory_does_not_grow_with_a_log() -> None:
    body = [summary_record(row(1)), history_record(row(1))] * 30_000
    path = write_log(log_folder(Path("runs/wandb"), "abc"), [run_record("abc", {"seed": 0}), *body, exit_record(0)])
    code = (
        "import re\nfrom analysis.reading.wandb.offline import read_log\n"
        "from analysis.reading.wandb.log_records import record_type\n"
        "def most(): return int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])\n"
        "record_type()\nbefore = most()\n"
        f"assert read_log({str(path.resolve())!r}).state == 'finished'\nprint(most() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8_000


def test_overlapping_sources_read_a_log_once(write_offline: WriteOffline) -> None:
    write_offline("a", seed=0)
    write_offline("b", seed=1)
    os.symlink("runs", "linked")
    assert len(read_runs(["runs", "runs/wandb", "linked"])) == 2
