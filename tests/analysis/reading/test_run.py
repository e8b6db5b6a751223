"""One run: which numbers an evaluation keeps and what reading them costs, and the casts that make sources agree."""

import json
import math
from functools import partial
from pathlib import Path

import pytest

from analysis.reading.run import Run, by_epoch, first_line, provenance_of, settings, usable_numbers
from dynfilt.run.folder import RunFolder, RunState


def run_in(folder: Path) -> Run:
    logged = partial(RunFolder(folder).evaluations, strict=False)
    return Run("outputs", str(folder), "lab", "v", 0, RunState.COMPLETED, logged=logged)


def test_rows_of_a_run_folder(tmp_path: Path) -> None:
    rows = [
        {"epoch": 0.5, "step": 3, "lr": 0.001, "temperature": None, "val_loss": math.nan, "val_accuracy": 1},
        {"epoch": 1.0, "step": 6, "lr": 0.001, "temperature": 30.0, "val_loss": 0.1 + 0.2, "val_accuracy": 0.5},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text + '{"epoch": 1.5, "st')
    first, second = run_in(tmp_path).evaluations()
    assert second == rows[1]
    assert math.isnan(first.pop("val_loss"))
    assert first == {"epoch": 0.5, "step": 3, "lr": 0.001, "val_accuracy": 1}
    assert {type(value) for value in first.values()} == {float}


def test_a_run_that_recorded_nothing_has_no_evaluations(tmp_path: Path) -> None:
    assert run_in(tmp_path).evaluations() == []
    assert Run("outputs", "p", "lab", "v", 0, "running").evaluations() == []


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"metrics\.jsonl cannot be read: Is a directory"):
        run_in(tmp_path).evaluations()


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


def test_configs_print_alike_whichever_way_they_went() -> None:
    here = {"b": 1.0, "a": {"z": [1.0, 0.5], "y": None}, 3: "1.0", "e": 1e-08, "huge": 1e300, "t": True}
    there = {"t": True, "huge": 1e300, "a": {"y": None, "z": [1, 0.5]}, "3": "1.0", "e": 1e-08, "b": 1}
    assert json.dumps(settings(here)) == json.dumps(settings(there))
    assert settings(here) == {**there, "huge": 1e300} and settings(math.inf) == math.inf


def test_numbers_are_cast_and_words_and_truth_values_are_none() -> None:
    numbers, flaw = usable_numbers({"test_accuracy": 1, "study": "x", "ok": True, "none": None, "loss": 0.5}, "here")
    assert (numbers, flaw) == ({"test_accuracy": 1.0, "loss": 0.5}, "")
    assert type(numbers["test_accuracy"]) is float


@pytest.mark.parametrize("accuracy", [math.nan, -0.1, 1.5, "0.5", None, True])
def test_without_a_fraction_there_is_no_result(accuracy: object) -> None:
    numbers, flaw = usable_numbers({"test_accuracy": accuracy, "loss": 0.5}, "the summary")
    assert numbers == {} and flaw == f"test_accuracy in the summary is {accuracy}, not a fraction between 0 and 1"


def test_an_error_is_one_short_line() -> None:
    assert first_line({"type": "OSError", "message": "full\nreally"}) == first_line("\n OSError: full\nreally")
    assert len(first_line("x" * 500)) == 160 and first_line(None) == ""


@pytest.mark.parametrize("told", [None, "x", [], {}, {"resumed": "x"}, {"resumed": ["x"], "dirty": None}])
def test_provenance_that_was_not_recorded_is_empty(told: object) -> None:
    noted = told if isinstance(told, dict) else {}
    assert provenance_of(told) == {"commits": (), "devices": (), "dirty": False, "provenance": noted}


def test_versions_stand_in_one_order_whatever_the_source_gives() -> None:
    recorded = {"python": "3.11", "dynfilt": None, "torch": "2.11.0", "numpy": "2.4", "zlib": "1", "attrs": "2"}
    given = dict(sorted(recorded.items()))
    assert list(given) != list(recorded)
    orders = [list(provenance_of({"versions": each})["provenance"]["versions"]) for each in (recorded, given)]
    assert orders == [["python", "dynfilt", "torch", "numpy", "attrs", "zlib"]] * 2
