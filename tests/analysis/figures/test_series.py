"""Curves as numbers: means and intervals against scipy, and nothing invented where values are missing."""

import math
from typing import Any

import numpy as np
import pytest
import scipy

from analysis.figures.series import Series, series
from analysis.reading.metrics import ACCURACY

from .conftest import metric_row

LEVELS = {0: [0.41, 0.52, 0.60, 0.61], 1: [0.43, 0.50, 0.63, 0.66], 4: [0.38, 0.55, 0.58, 0.64]}


def rows_of(levels: list[float]) -> list[dict[str, Any]]:
    return [metric_row(epoch, level) for epoch, level in enumerate(levels, start=1)]


def made(rows_by_seed: dict[int, list[dict[str, Any]]], x: str = "epochs", split: str = "val") -> Series:
    return series("dynamic", rows_by_seed, ACCURACY, split, x)


def test_mean_and_interval_are_those_of_scipy_at_each_evaluation() -> None:
    found = made({seed: rows_of(levels) for seed, levels in LEVELS.items()})
    values = np.array(list(LEVELS.values()))
    low, high = scipy.stats.t.interval(0.95, 2, loc=values.mean(axis=0), scale=scipy.stats.sem(values, axis=0))
    np.testing.assert_allclose(found.x, [1, 2, 3, 4])
    np.testing.assert_allclose(found.mean, values.mean(axis=0))
    np.testing.assert_allclose(found.low, low)
    np.testing.assert_allclose(found.high, high)
    assert found.n == 3 and found.has_band and not found.is_uneven


def test_each_seed_keeps_its_own_line_as_recorded() -> None:
    found = made({seed: rows_of(levels) for seed, levels in LEVELS.items()})
    assert {line.seed: line.y.tolist() for line in found.lines} == LEVELS


@pytest.mark.parametrize(("split", "shift"), [("val", 0.0), ("train", 0.05)])
def test_splits_are_not_mixed_up(split: str, shift: float) -> None:
    found = made({0: rows_of([0.4])}, split=split)
    assert found.split == split and found.mean == pytest.approx([0.4 + shift])


@pytest.mark.parametrize(("x", "expected"), [("epochs", [1, 2]), ("steps", [32, 64]), ("seconds", [10, 20])])
def test_the_x_axis_can_be_chosen(x: str, expected: list[float]) -> None:
    assert made({0: rows_of([0.4, 0.5])}, x).x.tolist() == expected


def test_over_seconds_seeds_are_matched_by_step_and_their_times_averaged() -> None:
    slow = [{**row, "seconds": row["seconds"] * 3} for row in rows_of([0.6, 0.8])]
    found = made({0: rows_of([0.4, 0.5]), 1: slow}, "seconds")
    assert found.x.tolist() == [20, 40] and found.mean == pytest.approx([0.5, 0.65])
    assert found.lines[1].x.tolist() == [30, 60]


def test_a_seed_that_ends_early_ends_the_mean_and_no_line() -> None:
    found = made({0: rows_of([0.4, 0.5, 0.6]), 1: rows_of([0.2, 0.3])})
    assert found.x.tolist() == [1, 2] and found.mean == pytest.approx([0.3, 0.4])
    assert [len(line.y) for line in found.lines] == [3, 2]
    assert found.is_uneven


@pytest.mark.parametrize("hole", [{"val_accuracy": None}, {"val_accuracy": math.nan}, {"step": None}, {"epoch": None}])
def test_a_value_that_is_missing_or_not_finite_is_left_out(hole: dict[str, Any]) -> None:
    rows = rows_of([0.4, 0.5, 0.6])
    rows[1] |= hole
    found = made({0: rows, 1: rows_of([0.2, 0.3, 0.4])})
    assert found.lines[0].y.tolist() == [0.4, 0.6]
    assert found.mean == pytest.approx([0.3, 0.5]) and found.is_uneven


def test_an_absent_column_and_an_absent_run_leave_no_line() -> None:
    without = [{key: value for key, value in row.items() if key != "val_accuracy"} for row in rows_of([0.4])]
    found = made({0: without, 1: []})
    assert found.lines == () and len(found.mean) == 0 and not found.has_band


def test_a_step_evaluated_twice_counts_once_with_its_last_value() -> None:
    found = made({0: [metric_row(1, 0.4), metric_row(2, 0.5), metric_row(2, 0.7)]})
    assert found.mean.tolist() == [0.4, 0.7]


def test_one_seed_has_no_band() -> None:
    found = made({0: rows_of([0.4, 0.5])})
    assert found.mean.tolist() == [0.4, 0.5] and np.isnan(found.low).all() and not found.has_band


def test_a_spike_stays_as_it_is() -> None:
    assert made({0: rows_of([0.4, 0.9, 0.4])}).mean.tolist() == [0.4, 0.9, 0.4]
