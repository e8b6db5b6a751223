"""What the W&B mirror keeps offline and sends to a server: each row once, also of killed, resumed and shared runs."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tracking.mirrored import (
    ROWS,
    assert_mirrored,
    assert_rows,
    mirror_in,
    offline_records,
    read_offline,
    train,
)
from tests.wandb_server import API_KEY, WandbServer


@pytest.mark.slow
def test_without_a_key_rows_and_result_are_kept_offline(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    train(mirror_in(tmp_path / "a run"))
    assert_mirrored(read_offline(tmp_path / "a run"))
    told = capfd.readouterr()
    command = f"wandb sync '{tmp_path}/a run'/wandb/offline-run-*"
    assert told.out == f"tracking: offline (no API key); upload later with: {command}\n"
    assert told.err == ""


def test_every_curve_is_drawn_over_the_epoch(tmp_path: Path) -> None:
    train(mirror_in(tmp_path))
    axes = [record["metric"] for record in offline_records(tmp_path) if record["type"] == "metric"]
    assert [axis.get("name") or axis["glob_name"] for axis in axes] == ["epoch", "*"]
    assert [axis.get("step_metric") for axis in axes] == [None, "epoch"]


def test_an_exception_marks_the_run_as_failed_and_passes(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), mirror_in(tmp_path) as mirror:
        mirror.log(ROWS[0])
        raise ZeroDivisionError
    run = read_offline(tmp_path)
    assert run.exit_code == 1
    assert_rows(run, ROWS[:1])


@pytest.mark.slow
def test_kill_9_loses_no_row_older_than_two_seconds(tmp_path: Path) -> None:
    program = (
        "import time\nfrom pathlib import Path\nfrom tests.tracking.mirrored import ROWS, mirror_in\n"
        f"mirror = mirror_in(Path({str(tmp_path)!r}))\n"
        "for row in ROWS: mirror.log(row)\n"
        "time.sleep(2)\nprint('old', flush=True)\ntime.sleep(60)\n"
    )
    job = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert any(line == "old\n" for line in job.stdout)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert_rows(read_offline(tmp_path), ROWS)


def test_two_jobs_of_one_process_are_two_runs(tmp_path: Path) -> None:
    first = mirror_in(tmp_path / "1", "offline", run_id="one", seed=1)
    first.log(ROWS[0])
    with mirror_in(tmp_path / "2", "offline", run_id="two", seed=2) as second:  # the first is open
        second.log(ROWS[1])
    for folder, name, seed, row in (("1", "one", 1, ROWS[0]), ("2", "two", 2, ROWS[1])):
        run = read_offline(tmp_path / folder)
        assert (run.name, run.display_name) == (name, f"dynamic_3x3/seed{seed}")
        assert_rows(run, [row])


def test_with_a_key_and_a_server_everything_arrives(
    tmp_path: Path, server: WandbServer, capfd: pytest.CaptureFixture
) -> None:
    train(mirror_in(tmp_path))
    assert_mirrored(server.runs["abc"])
    told = capfd.readouterr()
    assert told.out == f"tracking: online at {server.url}/tester/dynfilt/runs/abc\n"
    assert told.err == ""


def test_a_key_in_netrc_is_a_key(tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / "netrc").write_text(f"machine {server.url[7:]} login user password {API_KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    train(mirror_in(tmp_path))
    assert_mirrored(server.runs["abc"])


def test_a_killed_run_goes_on_as_the_same_run(tmp_path: Path, server: WandbServer) -> None:
    with pytest.raises(KeyboardInterrupt), mirror_in(tmp_path, "online") as mirror:
        mirror.log(ROWS[0])
        raise KeyboardInterrupt
    assert server.runs["abc"].exit_code == 1
    train(mirror_in(tmp_path, "online"), ROWS[1:])
    assert list(server.runs) == ["abc"]
    assert_mirrored(server.runs["abc"])
    assert [row["_step"] for row in server.runs["abc"].history] == [0, 1]


def test_jobs_of_one_process_log_in_even_if_one_was_left_open(tmp_path: Path, server: WandbServer) -> None:
    mirror_in(tmp_path / "1", run_id="one").log(ROWS[0])
    train(mirror_in(tmp_path / "2"))
    assert_rows(server.runs["one"], ROWS[:1])
    assert_mirrored(server.runs["abc"])
