"""A claim is that one row beats another, its rival; its verdict is a rule, not an opinion."""

import math
from dataclasses import dataclass

from .statistics import ALPHA, Interval, Paired, paired, welch

SUPPORTED, UNDECIDED, REFUTED = "supported", "undecided", "refuted"


@dataclass(frozen=True)
class Claim:
    """That a row beats its rival, the baseline or a control: what the seeds of both say to it.

    `tuned` says whether both arms were tuned alike, one of analysis.tuning's answers.
    """

    rival: str
    is_control: bool
    paired: Paired
    welch: Interval
    tuned: str
    p_holm: float = math.nan

    @property
    def verdict(self) -> str:
        """`supported`, `undecided` or `refuted`, by the rule of `verdict`."""
        return verdict(self.paired.difference.low, self.paired.difference.high, self.p_holm)


NO_CLAIM = Claim("", False, paired([], []), Interval(math.nan, math.nan, math.nan), "")


def claim(ours: dict[int, float], theirs: dict[int, float], rival: str, *, is_control: bool, tuned: str) -> Claim:
    """The claim of accuracies by seed against the rival's: paired over the shared seeds, Welch over all."""
    shared = sorted(ours.keys() & theirs.keys())
    pairs = paired([ours[seed] for seed in shared], [theirs[seed] for seed in shared])
    return Claim(rival, is_control, pairs, welch(list(ours.values()), list(theirs.values())), tuned)


def verdict(low: float, high: float, p_holm: float) -> str:
    """The verdict on a difference with 95 % interval [low, high] and Holm-adjusted p; NaN decides nothing.

    Supported: p_holm <= ALPHA and low > 0. Refuted: high <= 0, whatever the p: the burden of proof is on the claim.
    Undecided: all else; a difference of 0 can thus never be shown, only that there is no gain.
    """
    if p_holm <= ALPHA and low > 0:
        return SUPPORTED
    return REFUTED if high <= 0 else UNDECIDED
