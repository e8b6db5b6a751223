"""Equivalence within a margin and the pairs that it takes, against scipy and simulated studies."""

import math

import numpy as np
import pytest
import scipy

from analysis.comparing.equivalence import equivalence_p, pairs_needed
from analysis.comparing.statistics import sign_flip_p, summarise

DIFFERENCES = [0.004, -0.001, 0.002, 0.003, -0.002, 0.001, 0.0005]


def test_p_is_the_larger_of_two_one_sided_tests() -> None:
    below = scipy.stats.ttest_1samp(DIFFERENCES, 0.005, alternative="less").pvalue
    above = scipy.stats.ttest_1samp(DIFFERENCES, -0.005, alternative="greater").pvalue
    assert equivalence_p(summarise(DIFFERENCES), 0.005) == pytest.approx(max(below, above))
    flipped = summarise([-difference for difference in DIFFERENCES])
    assert equivalence_p(flipped, 0.005) == pytest.approx(max(below, above))


def test_arms_that_differ_by_the_margin_are_called_equivalent_in_5_percent() -> None:
    studies = np.random.default_rng(1).normal(0.005, 0.004, (2000, 6))
    found = np.mean([equivalence_p(summarise(study.tolist()), 0.005) <= 0.05 for study in studies])
    assert found == pytest.approx(0.05, abs=0.015)


def test_without_margin_or_spread_nothing_is_equivalent() -> None:
    assert math.isnan(equivalence_p(summarise(DIFFERENCES), math.nan))
    assert math.isnan(equivalence_p(summarise([0.001, 0.001]), 0.005)) and math.isnan(pairs_needed(0.0, 0.005))


@pytest.mark.parametrize(("sd", "alpha"), [(0.01, 0.05), (0.004, 0.04), (0.03, 0.05)])
def test_so_many_pairs_find_the_margin_with_power_0_8_and_one_fewer_do_not(sd: float, alpha: float) -> None:
    def power(n: int) -> float:
        critical = scipy.stats.t.ppf(1 - alpha / 2, n - 1)
        return float(scipy.stats.nct.sf(critical, n - 1, 0.005 / sd * math.sqrt(n)))

    n = int(pairs_needed(sd, 0.005, alpha))
    assert power(n) >= 0.8 > power(n - 1)


def test_a_margin_out_of_reach_takes_more_pairs_than_anybody_runs() -> None:
    assert pairs_needed(1.0, 0.001) == math.inf


@pytest.mark.parametrize("n", [6, 7, 12])
def test_sign_flip_p_is_that_of_all_sign_patterns(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.5, 1, n)
    exact = scipy.stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(differences) == pytest.approx(exact.pvalue)


def test_sign_flip_p_counts_ties_and_has_its_limits() -> None:
    assert sign_flip_p(np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])) == 2 / 64
    assert sign_flip_p(np.array([0.1, -0.1] * 3)) == 1.0
    assert math.isnan(sign_flip_p(np.full(5, 0.1))) and math.isnan(sign_flip_p(np.zeros(8)))
    assert sign_flip_p(np.full(40, 0.1)) == pytest.approx(2.0**-39)
    assert math.isnan(sign_flip_p(np.full(41, 0.1)))
