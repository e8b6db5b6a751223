"""Boundaries of declared looks: known values, a simulation that knows no formula, and what adjusted p-values mean."""

import math

import numpy as np
import pytest
import scipy

from analysis.comparing.anytime import anytime_half_width, e_value
from analysis.comparing.looks import adjusted_p, boundaries, error_over_looks
from analysis.comparing.statistics import holm

STUDIES = 200_000


@pytest.fixture(scope="module")
def simulated() -> np.ndarray:
    """t statistics of 200,000 true nulls after 2 to 20 pairs: t[i] is that of the first i + 2."""
    differences = np.random.default_rng(0).normal(size=(20, STUDIES))
    n = np.arange(2, 21)[:, None]
    sums, squares = (np.cumsum(x, axis=0)[1:] for x in (differences, differences**2))
    return sums / np.sqrt(n) / np.sqrt((squares - sums**2 / n) / (n - 1))


def rejected(t: np.ndarray, looks: tuple[int, ...], levels: tuple[float, ...]) -> float:
    """How often |t| passes the two-sided critical value at any look."""
    critical = [scipy.stats.t.ppf(1 - level / 2, n - 1) for n, level in zip(looks, levels, strict=True)]
    return float(np.mean(np.any([np.abs(t[n - 2]) > c for n, c in zip(looks, critical, strict=True)], axis=0)))


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ((10,), [0.05]),
        ((5, 10), [0.0106, 0.0425]),
        ((3, 5, 10), [0.0036, 0.0100, 0.0400]),
        ((3, 6, 10), [0.0035, 0.0139, 0.0385]),
        ((5, 10, 20), [0.0026, 0.0104, 0.0416]),
    ],
)
def test_boundaries_are_those_of_a_simulation_of_20_million_studies(
    looks: tuple[int, ...], expected: list[float]
) -> None:
    assert boundaries(looks) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize("looks", [(3, 5, 10), (5, 10), (2, 3, 20), tuple(range(3, 11)), (4, 5, 6, 12)])
def test_all_looks_together_err_in_5_percent(looks: tuple[int, ...], simulated: np.ndarray) -> None:
    assert rejected(simulated, looks, boundaries(looks)) == pytest.approx(0.05, abs=0.0015)


def test_without_boundaries_looking_often_errs_more(simulated: np.ndarray) -> None:
    assert rejected(simulated, (3, 5, 10), (0.05,) * 3) > 0.11
    assert rejected(simulated, tuple(range(3, 11)), (0.05,) * 8) > 0.16


def test_of_a_one_sided_test_too(simulated: np.ndarray) -> None:
    looks, c = (3, 5, 10), 0.04
    critical = [scipy.stats.t.ppf(1 - c * (n / 10) ** 2, n - 1) for n in looks]
    found = np.mean(np.any([simulated[n - 2] > t for n, t in zip(looks, critical, strict=True)], axis=0))
    assert error_over_looks(looks, c, one_sided=True) == pytest.approx(found, abs=0.0015)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_p_on_its_boundary_is_adjusted_to_alpha(n: int) -> None:
    looks = (3, 5, 10)
    boundary = dict(zip(looks, boundaries(looks), strict=True))[n]
    assert adjusted_p(boundary, n, looks) == pytest.approx(0.05, abs=1e-6)
    assert adjusted_p(boundary * 0.9, n, looks) < 0.05 < adjusted_p(boundary * 1.1, n, looks)
    # Further adjustment by Holm gives each claim the boundaries of a smaller alpha.
    stricter = dict(zip(looks, boundaries(looks, 0.025), strict=True))[n]
    assert holm([adjusted_p(stricter, n, looks), 0.9])[0] == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-26, 1e-15, 1e-9])
def test_a_tiny_p_stays_one(p: float, one_sided: bool) -> None:
    looks = (3, 5, 10)
    apart = [p * (look / 10) ** 2 for look in looks]
    assert max(apart) <= adjusted_p(p, 10, looks, one_sided=one_sided) <= sum(apart)
    assert adjusted_p(p, 3, (3,), one_sided=one_sided) == pytest.approx(p, abs=0)


def test_between_looks_there_is_no_p_and_a_large_one_is_at_most_1() -> None:
    assert math.isnan(adjusted_p(0.001, 4, (3, 5, 10))) and math.isnan(adjusted_p(math.nan, 5, (3, 5, 10)))
    assert adjusted_p(0.9, 3, (3, 5, 10)) == 1.0
    assert adjusted_p(0.3, 10, (10,)) == pytest.approx(0.3)
    assert 1e-6 < adjusted_p(1e-6, 10, (3, 5, 10)) < 1.5e-6


def test_stopping_as_soon_as_the_e_value_reaches_20_errs_in_less_than_5_percent(simulated: np.ndarray) -> None:
    stopped = np.zeros(STUDIES, bool)
    for n in range(2, 21):
        r, t2 = 0.25 / (0.25 + n), simulated[n - 2] ** 2 / (n - 1)
        stopped |= 0.5 * np.log(r) + n / 2 * np.log((1 + t2) / (1 + r * t2)) >= math.log(20)
    assert 0.01 < np.mean(stopped) < 0.03


@pytest.mark.parametrize(("t", "n", "expected"), [(5.29, 5, 19.2), (0.0, 5, math.sqrt(0.25 / 5.25))])
def test_e_value(t: float, n: int, expected: float) -> None:
    assert e_value(t / math.sqrt(n), n) == pytest.approx(expected, rel=0.01)


def test_overwhelming_evidence_is_no_error() -> None:
    assert math.isfinite(e_value(100.0, 400)) and e_value(100.0, 400) >= e_value(20.0, 213) > 1e200


def test_an_e_value_is_the_average_likelihood_ratio_over_its_prior() -> None:
    # The Bayes factor by integration: noncentral t over central t, the noncentrality from the prior's effects.
    t, n = 2.5, 6
    effects = np.linspace(-12, 12, 4001)
    ratio = scipy.stats.nct.pdf(t, n - 1, effects * math.sqrt(n)) / scipy.stats.t.pdf(t, n - 1)
    averaged = np.trapezoid(ratio * scipy.stats.norm.pdf(effects, scale=2), effects)
    assert e_value(t / math.sqrt(n), n) == pytest.approx(averaged, rel=1e-5)


@pytest.mark.parametrize("n", [4, 5, 10, 20])
def test_at_the_end_of_the_anytime_interval_the_e_value_is_20(n: int) -> None:
    assert e_value(anytime_half_width(0.7, n) / 0.7, n) == pytest.approx(20)


def test_anytime_half_widths_are_as_published_and_infinite_at_first() -> None:
    assert [anytime_half_width(1.0, n) for n in (5, 8, 10, 20)] == pytest.approx([2.40, 1.49, 1.26, 0.81], abs=0.006)
    assert math.isnan(anytime_half_width(1.0, 3)) and math.isnan(anytime_half_width(0.0, 9))
    assert math.isnan(e_value(math.nan, 1))
