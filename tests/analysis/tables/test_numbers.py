"""Numbers for people."""

import math

import pytest

from analysis.tables import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2_359_296, "2.36 M"),
        (14_300_000, "14.3 M"),
        (390_410, "390 k"),
        (999_700, "1.00 M"),
        (999_400, "999 k"),
        (1_820_000_000, "1.82 G"),
        (1000, "1.00 k"),
        (640, "640"),
        (0, "0"),
        (math.nan, "–"),
    ],
)
def test_counts(value: float, text: str) -> None:
    assert numbers.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345.6, "12,346"),
        (100, "100"),
        (99.97, "100"),
        (61.54, "61.5"),
        (9.256, "9.26"),
        (0.5, "0.50"),
        (0, "0.00"),
    ],
)
def test_amounts(value: float, text: str) -> None:
    assert numbers.amount(value) == text


def test_accuracies_and_differences() -> None:
    assert numbers.mean_and_sd(0.74314, 0.00421) == "74.31 ± 0.42"
    assert numbers.mean_and_sd(0.5, math.nan) == "50.00 ± –"
    assert numbers.mean_and_sd(math.nan, math.nan) == "–"
    assert numbers.percent_interval(0.7327, 0.7535) == "[73.27, 75.35]"
    assert numbers.points_interval(-0.0021, 0.0125) == "[-0.21, +1.25]"
    assert numbers.points_interval(math.nan, math.nan) == numbers.percent_interval(math.nan, math.nan) == "–"
    assert numbers.points(-0.00001) == "+0.00"


def test_losses() -> None:
    assert numbers.loss(0.80336) == "0.803" and numbers.loss(math.nan) == "–"


@pytest.mark.parametrize(("p", "text"), [(0.04567, "0.046"), (0.0009, "<0.001"), (1, "1.000"), (math.nan, "–")])
def test_p_values(p: float, text: str) -> None:
    assert numbers.p_value(p) == text
