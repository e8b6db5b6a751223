"""What runs tell about themselves, in one form whatever the source."""

import json
import math

import pytest

from analysis.reading.results import one_line, provenance_of, settings, usable_numbers


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
    assert one_line({"type": "OSError", "message": "full\nreally"}) == one_line("\n OSError: full\nreally")
    assert len(one_line("x" * 500)) == 160 and one_line(None) == ""


@pytest.mark.parametrize("told", [None, "x", [], {}, {"resumed": "x"}, {"resumed": ["x"], "dirty": None}])
def test_provenance_that_was_not_recorded_is_empty(told: object) -> None:
    noted = told if isinstance(told, dict) else {}
    assert provenance_of(told) == {"commits": (), "devices": (), "dirty": False, "provenance": noted}
