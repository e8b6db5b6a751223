"""The rule of the verdict, at its borders and in simulated studies."""

import math
from dataclasses import replace

import numpy as np
import pytest

from analysis.comparing.claims import NO_CLAIM, REFUTED, SUPPORTED, UNDECIDED, claim, verdict
from analysis.comparing.declaration import Declaration
from analysis.comparing.statistics import holm


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "expected"),
    [
        (0.001, 0.02, 0.05, SUPPORTED),
        (0.001, 0.02, 0.0501, UNDECIDED),
        (0.0, 0.02, 0.05, UNDECIDED),
        (-0.001, 0.02, 0.9, UNDECIDED),
        (-0.001, 0.00001, 0.9, UNDECIDED),
        (-0.02, 0.0, 0.05, UNDECIDED),
        (-0.02, -0.001, 0.05, REFUTED),
        (-0.02, -0.001, 0.0501, UNDECIDED),
        (-0.02, -0.001, math.nan, UNDECIDED),
        (0.001, 0.02, math.nan, UNDECIDED),
        (math.nan, math.nan, math.nan, UNDECIDED),
        (math.nan, math.nan, 0.001, UNDECIDED),
    ],
)
def test_a_verdict_follows_from_interval_and_p(low: float, high: float, p_holm: float, expected: str) -> None:
    assert verdict(low, high, p_holm) == expected


def simulated(effect: float, n: int = 5) -> list[str]:
    """Verdicts of 1,000 simulated studies with one comparison each."""
    random = np.random.default_rng(3)
    found = []
    for differences in random.normal(effect, 0.004, (1000, n)):
        ours = {seed: 0.7 + float(d) for seed, d in enumerate(differences)}
        made = claim(ours, dict.fromkeys(ours, 0.7), "static", is_control=False, tuned="")
        p = made.paired.p
        assert holm([p]) == [p]
        found.append(verdict(made.paired.difference.low, made.paired.difference.high, p))
    return found


def test_equal_arms_are_told_apart_as_often_as_alpha_allows() -> None:
    found = simulated(0.0)
    assert found.count(SUPPORTED) / 1000 == pytest.approx(0.025, abs=0.012)
    assert found.count(REFUTED) / 1000 == pytest.approx(0.025, abs=0.012)


def test_of_many_claims_between_equals_any_is_decided_in_5_percent_of_studies_whichever_way() -> None:
    random, studies, looks = np.random.default_rng(4), 150, Declaration(looks=(3, 5))
    decided = dict.fromkeys((SUPPORTED, REFUTED), 0)
    for accuracies in random.normal(0.7, 0.004, (studies, 13, 5)):  # the first arm is the baseline of the others
        found: set[str] = set()
        for n in looks.looks:
            baseline, *arms = ({seed: float(value) for seed, value in enumerate(arm[:n])} for arm in accuracies)
            made = [claim(arm, baseline, "static", is_control=False, tuned="", declared=looks) for arm in arms]
            adjusted = holm([c.p_over_looks for c in made])
            found |= {replace(c, p_holm=p).verdict for c, p in zip(made, adjusted, strict=True)}
        for verdict_found in decided:
            decided[verdict_found] += verdict_found in found
    assert 0 < sum(decided.values()) / studies < 0.05 + 2 * math.sqrt(0.05 * 0.95 / studies)
    assert all(decided.values())


def test_a_large_gain_is_supported_and_a_large_loss_refuted() -> None:
    assert simulated(0.02).count(SUPPORTED) > 950
    assert simulated(-0.02).count(REFUTED) > 950


def test_identical_arms_and_no_claim_decide_nothing() -> None:
    same = claim({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6}, "static", is_control=False, tuned="")
    assert same.verdict == NO_CLAIM.verdict == UNDECIDED
