"""What was run: facts of provenance, the runs, and the runs without a result."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparing.comparison import compare
from analysis.reading.sources import read_runs
from analysis.report import details as report_details
from analysis.report.contents import failures_of
from analysis.report.details import details_of, differing

WriteRun = Callable[..., Path]


def note(folder: Path, **facts: object) -> None:
    path = folder / "provenance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_facts_are_told_once_or_with_their_seeds(write_run: WriteRun) -> None:
    for seed in range(3):
        folder = write_run("static", seed, 0.5, dirty=seed == 2)
        note(folder, versions={"torch": "2.9", "dynfilt": None}, threads=1, command=["run.py", "a b", f"n={seed == 0}"])
    (details,) = details_of(compare(read_runs(["outputs"]), None).variants)
    assert details.facts == {
        "commit": "1a2b3c4 (seeds 0, 1); 1a2b3c4, with uncommitted changes (seed 2)",
        "versions": "torch 2.9",
        "device": "x86_64 CPU, 1 thread",
        "platform": "not recorded",
        "command": "run.py 'a b' n=True (seed 0); run.py 'a b' n=False (seeds 1, 2)",
    }


def test_each_run_is_a_line_with_its_numbers(write_run: WriteRun) -> None:
    write_run("static", 0, 0.5)
    write_run("static", 3, 0.6123, train_seconds=70.25)
    (details,) = details_of(compare(read_runs(["outputs"]), None).variants)
    (rows,) = details.runs.blocks.values()
    assert rows[1].cells == ("3", "61.23", "70.00", "17.0", "70.2", "completed", "outputs/lab_3x3/static/seed3")
    assert details.is_baseline and all(line.instead is None for line in details.config)


def test_a_failure_tells_its_whole_message_and_traceback(write_run: WriteRun) -> None:
    write_run("static", 0, 0.5)
    error = {"type": "ValueError", "message": "first\n" + "long " * 60, "traceback": "Traceback ...\nValueError"}
    write_run("static", 1, None, state="failed", error=error)
    write_run("static", 2, None, state="running")
    failed, running = failures_of(read_runs(["outputs"]))
    assert (failed.who, failed.state, failed.traceback) == ("static seed 1", "failed", error["traceback"])
    assert failed.error == f"ValueError: {error['message']}"
    assert (running.state, running.error, running.traceback) == ("interrupted", "", "")


def test_a_status_that_cannot_be_read_leaves_what_the_run_tells(write_run: WriteRun) -> None:
    folder = write_run("static", 1, None, state="failed", error={"type": "OSError", "message": "full"})
    runs = read_runs(["outputs"])
    (folder / "status.json").write_text("[")
    assert failures_of(runs)[0].error == "OSError: full"


def test_what_differs_is_a_column_for_each_key_in_which_variants_differ(write_run: WriteRun) -> None:
    write_run("static", 0, 0.5, settings={"model.kernels": 1, "model.name": "a"})
    write_run("dynamic", 0, 0.5, settings={"model.kernels": 4, "model.name": "a", "model.extra": None})
    table = differing(compare(read_runs(["outputs"]), None).variants)
    assert table is not None
    assert [heading.name for heading in table.headings] == ["variant", "model.kernels", "model.extra"]
    assert [row.cells for row in table.blocks[""]] == [("static", "1", "–"), ("dynamic", "4", "unset")]
    write_run("static", 0, 0.5, root="same")
    assert differing(compare(read_runs(["same"]), None).variants) is None


def test_of_very_many_variants_only_what_differs_is_given(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    for kernels, variant in enumerate(("static", "dynamic"), start=1):
        write_run(variant, 0, 0.5, settings={"model.kernels": kernels})
    monkeypatch.setattr(report_details, "IN_FULL", 1)
    first, second = details_of(compare(read_runs(["outputs"]), None).variants)
    assert len(first.config) > 5
    assert [line.yaml for line in second.config] == ["model.kernels: 2  # static: 1", "# all else as in static"]
