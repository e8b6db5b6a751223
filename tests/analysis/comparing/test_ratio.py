"""A ratio of paired means: Fieller's interval against the test that it inverts, its coverage, and what is claimed."""

import math

import numpy as np
import pytest
import scipy

from analysis.comparing.claims import EQUIVALENT, INTERIM, REFUTED, SUPPORTED, UNDECIDED, claim
from analysis.comparing.comparison import Comparison, compare
from analysis.comparing.image_level import ImageLevel
from analysis.comparing.looks import boundaries
from analysis.comparing.statistics import fieller
from analysis.report.answer import answer_of
from analysis.tables.columns import RESULTS
from analysis.tables.footer import footer
from analysis.tables.short_notes import short_notes
from tests.analysis.comparing.declared_runs import runs

RANDOM = np.random.default_rng(3)
LARGE = [0.50, 0.52, 0.49, 0.51, 0.53]


def reach(n: int, alpha: float = 0.05) -> float:
    return float(scipy.stats.t.ppf(1 - alpha / 2, n - 1)) / math.sqrt(n)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_ends_are_the_ratios_at_which_the_paired_test_just_rejects(n: int) -> None:
    x = RANDOM.normal(0.5, 0.01, n)
    y = 0.4 * x + RANDOM.normal(0.25, 0.01, n)
    found = fieller(list(y), list(x), reach(n))
    assert found.mean == pytest.approx(y.mean() / x.mean()) and found.low < found.mean < found.high
    for end in (found.low, found.high):
        assert scipy.stats.ttest_1samp(y - end * x, 0).pvalue == pytest.approx(0.05, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "correlation"), [(3, 0.0), (3, 0.9), (6, -0.5)])
def test_it_covers_the_true_ratio_as_often_as_it_says(n: int, correlation: float) -> None:
    spread = np.array([[0.03**2, correlation * 0.03 * 0.02], [correlation * 0.03 * 0.02, 0.02**2]])
    samples = np.random.default_rng(0).multivariate_normal([0.45, 0.5], spread, (600, n))
    found = [fieller(list(each[:, 0]), list(each[:, 1]), reach(n)) for each in samples]
    coverage = np.mean([each.low <= 0.9 <= each.high for each in found])
    assert coverage == pytest.approx(0.95, abs=3.5 * math.sqrt(0.95 * 0.05 / 600))


def test_there_is_no_interval_without_spread_or_where_the_baseline_may_be_0() -> None:
    same = fieller([0.45, 0.45], [0.5, 0.5], reach(2))
    assert same.mean == pytest.approx(0.9) and math.isnan(same.low) and math.isnan(same.high)
    assert math.isnan(fieller([0.4, 0.5, 0.6], [0.1, -0.1, 0.2], reach(3)).low)
    assert math.isnan(fieller([0.4], [0.5], reach(2)).mean) and math.isnan(fieller([], [], 1.0).mean)


def study(n: int, **about: object) -> Comparison:
    arms = {"large": LARGE, "near": [0.97 * x + e for x, e in zip(LARGE, (1e-3, -1e-3, 2e-3, 0, -2e-3), strict=True)]}
    arms["far"] = [0.8 * x + e for x, e in zip(LARGE, (1e-3, 2e-3, -1e-3, 0, -2e-3), strict=True)]
    arms["unsure"] = [0.9 * x + e for x, e in zip(LARGE, (0.03, -0.04, 0.02, -0.02, 0.01), strict=True)]
    declared = {"baseline": "large", "controls": {"near": "far"}, "ratio": 0.9, "looks": [3, 5], **about}
    return compare([run for name, arm in arms.items() for run in runs(name, arm[:n], declared)], None)


def test_a_declared_ratio_is_what_each_row_claims_of_the_baseline_and_no_other() -> None:
    comparison = study(5)
    found = {(row.label, claim.rival): claim for row in comparison.variants for claim in row.claims}
    verdicts = {pair: claim.verdict for pair, claim in found.items()}
    assert verdicts == {
        **{("near", "large"): SUPPORTED, ("far", "large"): REFUTED, ("unsure", "large"): UNDECIDED},
        ("near", "far"): SUPPORTED,
    }
    near, control = found["near", "large"], found["near", "far"]
    assert near.paired.difference.mean < 0 and near.ratio.low > 0.9 and math.isnan(control.ratio.mean)
    assert not control.is_of_a_ratio and control.part is control.paired
    # The same as the claim to beat 0.9 times the baseline, and the interval is that of the look.
    tenths = {seed: 0.9 * x for seed, x in enumerate(LARGE)}
    ours = {run.seed: run.number("test_accuracy") for run in comparison.runs if run.variant == "near"}
    assert near.part.p == claim(ours, tenths, "", is_control=False, tuned="").paired.p
    level = boundaries((3, 5))[1]
    differences = np.array([ours[seed] - near.ratio.low * LARGE[seed] for seed in range(5)])
    assert scipy.stats.ttest_1samp(differences, 0).pvalue == pytest.approx(level, rel=1e-4)


def test_between_looks_there_is_no_verdict_and_the_wider_interval() -> None:
    [interim], [read] = (
        [claim for row in study(4, looks=looks).variants if row.label == "near" for claim in row.claims[:1]]
        for looks in ([3, 5], [4])
    )
    assert interim.verdict == INTERIM and interim.ratio.low < read.ratio.low < read.ratio.high < interim.ratio.high


def test_it_is_said_in_words_and_below_the_table() -> None:
    comparison = study(5)
    answer = answer_of(comparison.variants)
    assert answer.summaries[0] == (
        "At least 0.9 of large's test accuracy: near reaches it; far does not; unsure is undecided."
    )
    claims = [sentence.claim for sentence in answer.sentences]
    assert (
        "near reaches at least 0.9 of large's test accuracy" in claims and "near beats far (declared control)" in claims
    )
    assert "ratio 0.9" in next(sentence.evidence for sentence in answer.sentences if sentence.variant == "near")
    assert any("claims at least 0.9 of its test accuracy" in line for line in footer(comparison, ImageLevel(), RESULTS))
    [_, tests] = short_notes(comparison, ["ratio", "verdict"])
    assert "where there is a ratio, p and verdict set it against 0.9 instead of Δ against 0" in tests
    by_loss = study(5, metric="val_accuracy")
    assert by_loss.metric.name == "val_accuracy" and any(claim.is_of_a_ratio for claim in by_loss.claims)
    other = compare(list(comparison.runs), None, metric="val_accuracy")
    assert not any(claim.is_of_a_ratio for claim in other.claims)  # of a metric that was not declared


def test_short_notes_say_what_an_equivalent_row_is() -> None:
    comparison = study(5, ratio=None, margin=5.0)
    assert EQUIVALENT in {claim.verdict for claim in comparison.claims}
    told = "equivalent: less than 5 points apart, by two one-sided t tests, whatever the side of 0"
    assert told in short_notes(comparison, ["verdict"])[0]
    assert "equivalent" not in short_notes(study(5), ["verdict"])[0]
