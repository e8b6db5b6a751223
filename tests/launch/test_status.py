"""`status`: what the folders of a study tell, whoever works on it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from dynfilt.launch import status
from dynfilt.run.record import RunRecord
from tests.conftest import Command


@pytest.fixture
def study(finished_copy: Path) -> Path:
    """A study with a run in every state; the folder of its variant."""
    variant = finished_copy.parent
    for seed, state in ((1, "failed"), (2, "running"), (3, "interrupted"), (4, "running")):
        folder = variant / f"seed{seed}"
        shutil.copytree(finished_copy, folder)
        (folder / "result.json").unlink()
        error = {"type": "ValueError", "message": "something\nbroke"} if state == "failed" else None
        (folder / "status.json").write_text(json.dumps({"state": state, "error": error}))
        rows = (folder / "metrics.jsonl").read_text().splitlines()[:2]
        (folder / "metrics.jsonl").write_text("\n".join(rows) + '\n{"torn')
    shutil.copytree(finished_copy, variant / "seed5")
    (variant / "seed5" / "result.json").write_text("{")
    shutil.copytree(finished_copy, variant / ".seed0.1")  # set aside
    return variant


def test_every_state_is_told_once(command: Command, study: Path) -> None:
    with RunRecord(study / "seed4", yaml.safe_load((study / "seed4" / "config.yaml").read_text())):
        outcome = command("status")
    assert (outcome.code, outcome.err) == (0, "")
    heading, *rows, reason, sentence = outcome.lines
    assert heading.split() == ["run", "state", "epoch", "val", "accuracy", "images/s", "time", "left"]
    states = {row.split()[0]: row.split()[1:3] for row in rows}
    assert states == {
        "tests/tiny/seed1": ["failed", "1.533/3"],
        "tests/tiny/seed2": ["interrupted", "1.533/3"],  # it says that it runs, but nobody holds its lock
        "tests/tiny/seed3": ["interrupted", "1.533/3"],
        "tests/tiny/seed4": ["running", "1.533/3"],
        "tests/tiny/seed5": ["damaged", "3/3"],
    }
    accuracy = json.loads((study / "seed1" / "metrics.jsonl").read_text().splitlines()[1])["val_accuracy"]
    assert all(f" {accuracy:.1%} " in row for row in rows[:4])
    assert reason == "tests/tiny/seed1: something broke"
    assert sentence == "6 runs: 1 completed, 1 failed, 2 interrupted, 1 running, 1 damaged"


@pytest.mark.parametrize(
    "row",
    [{"epoch": None}, {"epoch": "x"}, {"epoch": 1.0, "seconds": [], "val_accuracy": "x"}, {"epoch": float("nan")}],
)
def test_damage_of_one_run_hides_no_other(row: dict, study: Path) -> None:
    (study / "seed2" / "metrics.jsonl").write_text(json.dumps(row))
    (study / "seed3" / "config.yaml").write_text("trainer: {epochs: many}")
    (study / "above").symlink_to(study.parent)
    (study / "itself").symlink_to(study / "itself")
    console = Console(width=100)
    with console.capture() as shown:
        console.print(status.look([study], 100))
    assert "6 runs: 1 completed, 1 failed, 3 interrupted, 1 damaged" in shown.get()


def test_folders_may_be_named_and_none_is_an_error(command: Command, study: Path, tmp_path: Path) -> None:
    outcome = command("status", str(study / "seed0"))
    assert (outcome.code, outcome.lines) == (0, ["1 runs: 1 completed"])
    (tmp_path / "empty").mkdir()
    outcome = command("status", str(tmp_path / "empty"))
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: no runs in {tmp_path / 'empty'}: looked at any depth")


@pytest.fixture
def between_looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """between_looks(change) changes something after the first look; Ctrl-C comes after the third."""

    def arrange(change: Callable[[], object]) -> None:
        changes = iter([change, lambda: None])

        def sleep(seconds: float) -> None:
            if (next_ := next(changes, None)) is None:
                raise KeyboardInterrupt
            next_()

        monkeypatch.setattr(status.time, "sleep", sleep)

    return arrange


def test_watching_looks_again_until_ctrl_c(command: Command, study: Path, between_looks: Callable) -> None:
    between_looks(lambda: shutil.copytree(study / "seed0", study / "seed9"))
    outcome = command("status", "--watch")
    assert outcome.code == 0
    assert re.findall(r"(\d+) runs: (\d+) completed", outcome.out)[-1] == ("7", "2")


def test_watching_may_begin_before_the_first_run(
    command: Command, study: Path, tmp_path: Path, between_looks: Callable
) -> None:
    between_looks(lambda: shutil.copytree(study / "seed0", tmp_path / "later" / "seed0"))
    outcome = command("status", "later", "--watch")
    assert outcome.code == 0 and "1 runs: 1 completed" in outcome.out


def test_watching_shows_no_more_rows_than_fit(study: Path) -> None:
    console = Console(force_terminal=True, width=100, height=10)
    with console.capture() as shown:
        console.print(status.look([study], 100, status._rows_that_fit(console)))
    lines = shown.get().splitlines()
    assert len(lines) <= 10
    assert lines[-1].endswith("1 damaged; 2 unfinished ones are not shown")


@pytest.mark.parametrize(("columns", "headings"), [(170, 6), (158, 5), (146, 4), (132, 3), (80, 3)])
def test_a_long_name_takes_the_place_of_columns_and_is_never_cut(
    columns: int, headings: int, study: Path, tmp_path: Path
) -> None:
    name = "resnet8,conv=dyconv,model.conv.num_kernels=8,model.conv.attention=sigmoid,temperature.final=30"
    shutil.copytree(study / "seed3", tmp_path / "long" / name / "seed3")
    console = Console(width=columns)
    with console.capture() as shown:
        console.print(status.look([tmp_path / "long"], columns))
    heading, *rows, _ = shown.get().splitlines()
    assert len(re.findall(r"\S+(?: \S+)*", heading)) == headings
    assert "".join(row.split()[0] for row in rows) == f"{name}/seed3"


def test_a_name_is_whole_in_a_pipe(command: Command, study: Path) -> None:
    shutil.move(study / "seed3", study / ("x" * 200) / "seed3")
    assert f"tests/tiny/{'x' * 200}/seed3" in command("status").out
