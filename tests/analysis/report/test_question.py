"""The question of a study: its sweep's own, else one that the rows ask."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparing.comparison import compare
from analysis.reading.sources import read_runs
from analysis.report.answer import Question, question_of

WriteRun = Callable[..., Path]
SWEEP = """\
# Command   python run.py -cd sweeps -cn mine
defaults:
  - config

study: mine
about:
  question: >-
    Does it beat "one shared
    filter"? By how much?
"""


def asked(study: str, source: str = "outputs") -> Question:
    return question_of(study, compare(read_runs([source]), None).groups[study])


@pytest.fixture
def runs(write_run: WriteRun) -> WriteRun:
    write_run("static_3x3", 0, 0.5, study="mine")
    write_run("dynamic_3x3", 0, 0.5, study="mine")
    return write_run


def test_the_sweep_of_that_name_asks_it(runs: WriteRun) -> None:
    Path("sweeps").mkdir()
    Path("sweeps/mine.yaml").write_text(SWEEP)
    assert asked("mine") == Question('Does it beat "one shared filter"? By how much?', "sweeps/mine.yaml")


def test_a_sweep_above_the_runs_is_found_from_elsewhere(
    runs: WriteRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("sweeps").mkdir()
    Path("sweeps/mine.yaml").write_text(SWEEP)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert asked("mine", str(tmp_path / "outputs")).origin == "sweeps/mine.yaml"


@pytest.mark.parametrize("content", ["study: mine\n", SWEEP.replace("study: mine", "study: other"), "", "\x00"])
def test_a_file_that_asks_nothing_of_this_study_is_not_quoted(runs: WriteRun, content: str) -> None:
    Path("sweeps").mkdir()
    Path("sweeps/mine.yaml").write_text(content)
    assert asked("mine") == Question("Does dynamic_3x3 have a higher test accuracy than static_3x3?")


def test_without_a_sweep_the_rows_ask(runs: WriteRun) -> None:
    runs("detached_3x3", 0, 0.5, study="mine")
    assert asked("mine").text == "Which of 2 variants have a higher test accuracy than static_3x3?"
    runs("static_3x3", 0, 0.5, study="other")
    assert asked("other") == Question("What test accuracy does static_3x3 reach?")


def test_a_study_whose_name_is_a_path_has_no_sweep(runs: WriteRun) -> None:
    Path("mine.yaml").write_text(SWEEP.replace("study: mine", "study: ../mine"))
    Path("sweeps").mkdir()
    rows = compare(read_runs(["outputs"]), None).groups["mine"]
    assert question_of("../mine", rows).origin == ""


def test_what_the_runs_declared_comes_before_any_file(write_run: WriteRun) -> None:
    for variant in ("static_3x3", "dynamic_3x3"):
        write_run(variant, 0, 0.5, study="mine", settings={"about.question": "Does it pay?"})
    Path("sweeps").mkdir()
    Path("sweeps/mine.yaml").write_text(SWEEP)
    comparison = compare(read_runs(["outputs"]), None)
    assert question_of("mine", comparison.groups["mine"], comparison.declared["mine"]) == Question(
        "Does it pay?", "declared"
    )
