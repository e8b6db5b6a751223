"""Curves of a run: which numbers a row keeps, and what reading them costs."""

import json
import math
import time
from pathlib import Path

import pytest

from analysis.reading.evaluations import by_epoch, curves
from analysis.reading.run import Run


def run_in(folder: Path) -> Run:
    return Run("outputs", str(folder), "lab", "v", 0, "completed")


def test_rows_of_a_run_folder(tmp_path: Path) -> None:
    rows = [
        {"epoch": 0.5, "step": 3, "lr": 0.001, "temperature": None, "val_loss": math.nan, "val_accuracy": 1},
        {"epoch": 1.0, "step": 6, "lr": 0.001, "temperature": 30.0, "val_loss": 0.1 + 0.2, "val_accuracy": 0.5},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text + '{"epoch": 1.5, "st')
    first, second = curves(run_in(tmp_path))
    assert second == rows[1]
    assert math.isnan(first.pop("val_loss"))
    assert first == {"epoch": 0.5, "step": 3, "lr": 0.001, "val_accuracy": 1}
    assert {type(value) for value in first.values()} == {float}


def test_a_run_that_recorded_nothing_has_no_curves(tmp_path: Path) -> None:
    assert curves(run_in(tmp_path)) == []


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"metrics\.jsonl cannot be read: Is a directory"):
        curves(run_in(tmp_path))


def test_of_an_epoch_logged_twice_the_last_value_of_each_column_is_kept() -> None:
    rows = [
        {"epoch": 2, "loss": 1.0, "extra": 5},
        {"epoch": 1, "loss": 2.0},
        {"epoch": 2.0, "loss": 3.0, "_step": 9},
        {"epoch": 2.0, "image": {"_type": "image-file"}},
    ]
    assert by_epoch(rows) == [{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 3.0, "extra": 5.0}]
    assert rows[0] == {"epoch": 2, "loss": 1.0, "extra": 5}


@pytest.mark.parametrize("row", [{}, {"epoch": None}, {"epoch": "one"}, {"epoch": "NaN"}, {"epoch": True}, {"loss": 1}])
def test_a_row_without_an_epoch_is_left_out(row: dict[str, object]) -> None:
    assert by_epoch([row]) == []


def test_what_json_has_no_number_for_is_read_as_wandb_writes_it() -> None:
    (row,) = by_epoch([{"epoch": 1, "a": "NaN", "b": "Infinity", "c": "-Infinity", "d": "nan", "e": True, "f": [1]}])
    assert math.isnan(row.pop("a"))
    assert row == {"epoch": 1, "b": math.inf, "c": -math.inf}


def test_forty_thousand_rows_of_run_folders_are_read_within_a_second(tmp_path: Path) -> None:
    columns = ("step", "lr", "temperature", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds", "x")
    rows = [{"epoch": epoch + 1.0, **{key: epoch / 7 for key in columns}} for epoch in range(200)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    started = time.process_time()
    assert sum(len(curves(run_in(tmp_path))) for _ in range(200)) == 40_000
    assert time.process_time() - started < 1
