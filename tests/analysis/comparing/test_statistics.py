"""Every statistic against scipy.stats, an enumeration, a simulation or a number worked out by hand."""

import itertools
import math

import numpy as np
import pytest
import scipy

from analysis.comparing import statistics

SIZES = (2, 3, 5, 10, 40)


def arms(n: int) -> tuple[list[float], list[float]]:
    """Accuracies of two arms that share the luck of the seed."""
    random = np.random.default_rng(n)
    luck = random.normal(0, 0.004, n)
    ours, theirs = (0.69 + luck + random.normal(0, 0.003, n), 0.67 + luck + random.normal(0, 0.002, n))
    return ours.tolist(), theirs.tolist()


@pytest.mark.parametrize("n", SIZES)
def test_summary_agrees_with_scipy(n: int) -> None:
    values, _ = arms(n)
    summary = statistics.summarise(values)
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    low, high = scipy.stats.t.interval(0.95, n - 1, loc=mean, scale=sd / math.sqrt(n))
    assert (summary.n, summary.mean, summary.sd) == (n, pytest.approx(mean), pytest.approx(sd, rel=1e-9))
    assert (summary.low, summary.high) == (pytest.approx(low, rel=1e-12), pytest.approx(high, rel=1e-12))


def test_three_seeds_by_hand() -> None:
    summary = statistics.summarise([0.70, 0.72, 0.74])
    assert summary.sd == pytest.approx(0.02)
    # t(0.975; 2) = 4.302653
    assert summary.high - summary.mean == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)


def test_t_intervals_of_three_values_cover_the_mean_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    summaries = [statistics.summarise(values) for values in random.normal(0.7, 0.01, (4000, 3))]
    covered = np.mean([summary.low <= 0.7 <= summary.high for summary in summaries])
    assert covered == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize("values", [[], [0.7]])
def test_too_few_values_leave_spread_and_interval_undefined(values: list[float]) -> None:
    summary = statistics.summarise(values)
    assert math.isnan(summary.sd) and math.isnan(summary.low) and math.isnan(summary.high)
    assert summary.n == len(values)
    assert summary.mean == 0.7 if values else math.isnan(summary.mean)


def test_equal_values_have_no_spread_and_no_interval() -> None:
    summary = statistics.summarise([0.1 + 0.2, 0.3, 0.3])
    assert summary.sd == 0 and math.isnan(summary.low)


@pytest.mark.parametrize("n", SIZES)
def test_paired_comparison_agrees_with_scipy(n: int) -> None:
    ours, theirs = arms(n)
    found = statistics.paired(ours, theirs)
    expected = scipy.stats.ttest_rel(ours, theirs)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (found.difference.low, found.difference.high) == (pytest.approx(low), pytest.approx(high))
    assert found.effect_size == pytest.approx(expected.statistic / math.sqrt(n))
    assert found.difference.mean == pytest.approx(np.mean(ours) - np.mean(theirs))


def test_pairing_narrows_the_interval_of_correlated_arms() -> None:
    ours, theirs = arms(10)
    found, unpaired = statistics.paired(ours, theirs), statistics.welch(ours, theirs)
    assert found.correlation == pytest.approx(scipy.stats.pearsonr(ours, theirs).statistic)
    assert found.correlation > 0.5
    assert found.difference.high - found.difference.low < unpaired.high - unpaired.low


def test_a_constant_difference_has_no_p_although_it_is_not_exact_in_binary() -> None:
    ours, theirs = [0.4, 0.3, 0.9], [0.3, 0.2, 0.8]
    assert len({a - b for a, b in zip(ours, theirs, strict=True)}) > 1
    found = statistics.paired(ours, theirs)
    assert found.difference.sd == 0 and found.difference.mean == pytest.approx(0.1)
    undefined = (found.p, found.detectable, found.effect_size, found.difference.low)
    assert all(math.isnan(value) for value in undefined)


def test_pairs_need_the_same_length() -> None:
    with pytest.raises(ValueError, match="same seeds"):
        statistics.paired([0.1, 0.2], [0.1])


@pytest.mark.parametrize(("ours", "theirs"), [([0.1, 0.2], [0.3, 0.1]), ([0.1, 0.1, 0.1], [0.3, 0.1, 0.2]), ([], [])])
def test_correlation_is_undefined_for_two_pairs_or_a_constant_arm(ours: list[float], theirs: list[float]) -> None:
    assert math.isnan(statistics.paired(ours, theirs).correlation)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 5), (10, 4)])
def test_welch_interval_agrees_with_scipy(n: int, m: int) -> None:
    ours, theirs = arms(n)[0], arms(m)[1]
    found = statistics.welch(ours, theirs)
    low, high = scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_welch_interval_where_one_arm_does_not_vary() -> None:
    found = statistics.welch([0.7, 0.7, 0.7], [0.5, 0.6, 0.7])
    alone = statistics.summarise([0.5, 0.6, 0.7])
    assert found.high - found.mean == pytest.approx(alone.high - alone.mean)


@pytest.mark.parametrize(("ours", "theirs"), [([0.7], [0.6, 0.5]), ([0.7, 0.8], []), ([0.7, 0.7], [0.6, 0.6])])
def test_welch_interval_is_undefined_without_spread(ours: list[float], theirs: list[float]) -> None:
    assert math.isnan(statistics.welch(ours, theirs).low)


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04, times 4 3 2 1, then never below the one before.
    adjusted = statistics.holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_stays_below_one_and_counts_defined_values_only() -> None:
    adjusted = statistics.holm([0.9, math.nan, 0.6])
    assert adjusted[0] == adjusted[2] == 1 and math.isnan(adjusted[1])
    assert statistics.holm([math.nan, 0.04]) == pytest.approx([math.nan, 0.04], nan_ok=True)
    assert statistics.holm([]) == []


def power(n: int, difference: float, sd: float) -> float:
    """Both tails of the noncentral t beyond the critical values."""
    critical, shift = scipy.stats.t.ppf(0.975, n - 1), difference / sd * math.sqrt(n)
    return float(
        scipy.stats.nct.sf(critical, n - 1, shift) + np.nan_to_num(scipy.stats.nct.cdf(-critical, n - 1, shift))
    )


@pytest.mark.parametrize("n", [2, 3, 4, 6, 10, 30, 200])
def test_detectable_difference_has_the_power_it_says(n: int) -> None:
    detectable = statistics.detectable_difference(0.004, n)
    assert power(n, detectable, 0.004) == pytest.approx(0.8, abs=1e-5)


def test_detectable_difference_in_simulated_experiments() -> None:
    n, sd = 4, 0.003
    random = np.random.default_rng(1)
    differences = random.normal(statistics.detectable_difference(sd, n), sd, (20_000, n))
    assert np.mean(scipy.stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("sd", "n"), [(0.01, 1), (0.0, 5), (math.nan, 1)])
def test_detectable_difference_is_undefined_without_spread(sd: float, n: int) -> None:
    assert math.isnan(statistics.detectable_difference(sd, n))


def test_the_sign_flip_test_has_no_p_for_an_infinite_difference() -> None:
    assert math.isnan(statistics.sign_flip_p(np.array([1.0, 2.0, 3.0, 1.0, 2.0, math.inf])))


@pytest.mark.parametrize("n", range(1, 9))
def test_smallest_exact_p_is_that_of_all_signs_equal(n: int) -> None:
    sums = [abs(sum(signs)) for signs in itertools.product((-1, 1), repeat=n)]
    enumerated = sum(total == n for total in sums) / len(sums)
    assert statistics.smallest_exact_p(n) == enumerated
    assert (enumerated < statistics.ALPHA) == (n >= statistics.EXACT_PAIRS)
