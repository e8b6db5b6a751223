"""A finished run done again: to the last bit where it was recorded, else within the spread of its seeds."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy

from analysis.__main__ import main
from analysis.reading.sources import read_runs
from analysis.reference.reproduce import compare_runs, is_same_variant
from tests.run_folders import assert_same_outcome


@pytest.mark.slow
def test_a_run_reproduces_to_the_last_bit(finished_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["archive", "outputs", "--out", "runs.zip"]) == 0
    assert main(["reproduce", "runs.zip", "--device", "cpu"]) == 0
    assert_same_outcome(tmp_path / "outputs/reproduced/tests/tiny/seed0", finished_copy)


def test_a_run_that_comes_out_otherwise_does_not(
    finished_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = {"test_accuracy": 0.01}
    monkeypatch.setattr("analysis.reference.reproduce.do_again", lambda run, *_: replace(run, numbers=worse))
    assert main(["reproduce", str(finished_run), "--draw", "7"]) == 1
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("--draw 7: tests, tiny seed 0, one of 1 runs; it took ")
    assert last.startswith("test accuracy ") and " as recorded, 1.00% now: not the same, and 1 recorded seed" in last


def test_the_same_draw_is_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = []
    monkeypatch.setattr("analysis.reference.reproduce.do_again", lambda run, *_: (drawn.append(run), run)[1])
    for number in (1, 1, 2):
        assert main(["reproduce", "reference:lab_3x3", "--draw", str(number)]) == 0
    assert drawn[0].place == drawn[1].place != drawn[2].place
    assert "reproduces to the last bit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "words"), [(FloatingPointError("loss"), 1, "loss"), (KeyboardInterrupt(), 130, "--draw 3")]
)
def test_a_run_that_ends_early_is_one_line(
    error: BaseException,
    code: int,
    words: str,
    finished_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def end(*_: object) -> None:
        raise error

    monkeypatch.setattr("analysis.reference.reproduce.do_again", end)
    assert main(["reproduce", str(finished_run), "--draw", "3"]) == code
    printed = capsys.readouterr()
    assert words in (printed.out + printed.err).splitlines()[-1]


@pytest.mark.parametrize(("accuracy", "reproduces"), [(0.7255, True), (0.764, True), (0.7245, False), (0.765, False)])
def test_elsewhere_it_must_fall_where_one_more_seed_would(accuracy: float, reproduces: bool) -> None:
    seeds = [run for run in read_runs(["reference:lab_3x3"]) if run.variant == "dynamic_3x3"]
    assert len(seeds) == 10 and all(is_same_variant(run, seeds[0]) for run in seeds)
    answer = compare_runs(seeds[0], replace(seeds[0], numbers={**seeds[0].numbers, "test_accuracy": accuracy}), seeds)
    assert answer.reproduces == reproduces
    recorded = np.array([run.numbers["test_accuracy"] for run in seeds])
    low, high = scipy.stats.t.interval(0.95, 9, recorded.mean(), np.sqrt(1.1) * recorded.std(ddof=1))
    assert answer.words.endswith(f"one more run of its 10 seeds falls into {low:.2%} to {high:.2%} with 95 %")


def test_a_metric_that_is_newer_than_the_record_is_no_difference() -> None:
    recorded = read_runs(["reference:lab_3x3"])[0]
    rows = [{**row, "val_confidence": 0.5, "seconds": 0.0} for row in recorded.evaluations()]
    again = replace(recorded, logged=lambda: rows, numbers={**recorded.numbers, "test_confidence": 0.5})
    assert compare_runs(recorded, again, [recorded]).words.endswith("reproduces to the last bit")
    for other in (rows[:-1], [*rows[:-1], {**rows[-1], "val_loss": 0.0}]):
        assert not compare_runs(recorded, replace(again, logged=lambda other=other: other), [recorded]).reproduces


def test_a_strangers_run_is_not_done(finished_copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNFILT_TRUST")
    assert main(["reproduce", "outputs"]) == 2
    shutil.rmtree(finished_copy)
    assert main(["reproduce", "outputs"]) == 2
