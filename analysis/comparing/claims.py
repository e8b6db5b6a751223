"""A variant's claims to beat others, and the verdicts on them: a rule, not an opinion."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .anytime import anytime_half_width, e_value
from .declaration import UNDECLARED, Declaration
from .equivalence import equivalence_p, pairs_needed
from .looks import adjusted_p
from .statistics import (
    ALPHA,
    Interval,
    Paired,
    detectable_difference,
    fieller,
    half_width,
    paired,
    smallest_exact_p,
    welch,
)

SUPPORTED, EQUIVALENT, REFUTED, UNDECIDED = "supported", "equivalent", "refuted", "undecided"
# What stands in a verdict's place: the seeds are between two looks; the study did not declare the comparison.
INTERIM, EXPLORATORY = "interim", "exploratory"


@dataclass(frozen=True)
class Claim:
    """That a variant beats its rival, the baseline or a control, and what the seeds of both say to it.

    With `of_gain`, the labels of three rows, it is a claim on gains, a difference of differences: that the variant is
    more above the first of them, `over`, than the rival, `A over B`, has A, the second, above B, the third.

    `by_seed` are the differences that `paired` sums up. The interval of `paired.difference` is the one that holds at
    its number of pairs, see `claim`. Where a part of the baseline is to be reached, `part` are the differences to that
    part, on which the verdict rests, and `ratio` is that of both means; else these are the same pairs, and NaN. `tuned`
    says whether both were tuned alike, one of the answers in `tuning`. `by_rule` marks a control that is not
    declared, but was found by its size. `p_holm` and `equivalence_p_holm` are adjusted for the declared looks and for
    the other claims, `family` with itself, and are compared with ALPHA.
    """

    rival: str
    is_control: bool
    paired: Paired
    part: Paired
    ratio: Interval
    welch: Interval
    tuned: str
    declared: Declaration = UNDECLARED
    is_exploratory: bool = False
    higher_is_better: bool = True
    of_gain: tuple[str, ...] = ()
    by_rule: bool = False
    by_seed: Mapping[int, float] = field(default_factory=dict)
    family: int = 1
    p_holm: float = math.nan
    equivalence_p_holm: float = math.nan

    @property
    def over(self) -> str:
        """The row over which the variant gains; empty where it is no claim on gains."""
        return self.of_gain[0] if self.of_gain else ""

    @property
    def n(self) -> int:
        """The number of pairs."""
        return self.paired.difference.n

    @property
    def is_to_baseline(self) -> bool:
        """Whether the rival is the baseline itself."""
        return not self.is_control and not self.over

    @property
    def rival_in_words(self) -> str:
        """The rival; of a claim on gains `the gain of A over B`."""
        return f"the gain of {self.rival}" if self.over else self.rival

    def subject(self, label: str) -> str:
        """What is claimed to be better, of the variant of this label."""
        return f"the gain of {label} over {self.over}" if self.over else label

    @property
    def alpha(self) -> float:
        """The level of its intervals: that of the look's boundary, NaN between looks."""
        return self.declared.level(self.n)

    @property
    def is_declared_control(self) -> bool:
        """Whether the rival is a control by the study's own word, not by a rule."""
        return self.is_control and self.declared.names_claims and not self.by_rule

    @property
    def is_between_looks(self) -> bool:
        """Whether the study declared looks, and none at this number of pairs."""
        return bool(self.declared.looks) and self.n not in self.declared.looks

    @property
    def p_over_looks(self) -> float:
        """p adjusted for the declared looks alone; NaN where there is no verdict to read."""
        return self._over_looks(self.part.p, one_sided=False)

    @property
    def is_of_a_ratio(self) -> bool:
        """Whether it claims a part of the rival's metric, and not to beat it."""
        return self.part is not self.paired

    @property
    def part_in_words(self) -> str:
        """What it claims to reach, before the rival's name: `at least 0.9 of`."""
        return f"{'at least' if self.higher_is_better else 'at most'} {self.declared.ratio:g} of"

    @property
    def equivalence_p_over_looks(self) -> float:
        """The same of the claim that both differ by less than the declared margin."""
        margin = math.nan if self.is_of_a_ratio else self.declared.margin
        return self._over_looks(equivalence_p(self.paired.difference, margin), one_sided=True)

    @property
    def verdict(self) -> str:
        """The verdict by the rule of `verdict`, or what stands in its place."""
        if self.is_exploratory:
            return EXPLORATORY
        if self.is_between_looks:
            return INTERIM
        if self.equivalence_p_holm <= ALPHA:
            return EQUIVALENT
        low, high = self.part.difference.low, self.part.difference.high
        return verdict(*((low, high) if self.higher_is_better else (-high, -low)), self.p_holm)

    @property
    def verdict_in_words(self) -> str:
        """The verdict; between looks, when the next one is."""
        if self.verdict != INTERIM:
            return self.verdict
        following = self.declared.next_look(self.n)
        last = f"past the last look at n = {self.declared.looks[-1]}"
        return f"{INTERIM}, {f'next look at n = {following}' if following else last}"

    @property
    def interval_in_words(self) -> str:
        """What the interval of the difference is."""
        if not self.declared.looks:
            return "95 % interval"
        return "anytime-valid 95 % interval" if self.is_between_looks else "95 % interval over all looks"

    @property
    def e_value(self) -> float:
        """Evidence against no difference that may be read at any number of pairs."""
        return e_value(self.part.effect_size, self.n)

    @property
    def pairs_needed(self) -> float:
        """Of an undecided claim, the pairs that would find a difference of the declared margin at the last look.

        At the level that Holm's adjustment asks of the first of the family: enough, whatever the other claims say.
        """
        if self.verdict != UNDECIDED or self.is_of_a_ratio:
            return math.nan
        level = self.declared.level(self.declared.looks[-1] if self.declared.looks else 0)
        return pairs_needed(self.paired.difference.sd, self.declared.margin, level / self.family)

    @property
    def is_normal_in_doubt(self) -> bool:
        """Whether the exact test of the same differences decides otherwise than t, where it could decide at all."""
        level, exact = self.declared.level(self.n), self.part.sign_flip_p
        can_decide = not math.isnan(exact) and smallest_exact_p(self.n) <= level
        return can_decide and (exact <= level) != (self.part.p <= level)

    def _over_looks(self, p: float, *, one_sided: bool) -> float:
        if self.is_exploratory or not self.declared.looks:
            return math.nan if self.is_exploratory else p
        return adjusted_p(p, self.n, self.declared.looks, one_sided=one_sided)


NO_PAIRS, NO_INTERVAL = paired([], []), Interval(math.nan, math.nan, math.nan)
NO_CLAIM = Claim("", False, NO_PAIRS, NO_PAIRS, NO_INTERVAL, NO_INTERVAL, "")


def claim(
    ours: dict[int, float],
    theirs: dict[int, float],
    rival: str,
    *,
    is_control: bool,
    tuned: str,
    declared: Declaration = UNDECLARED,
    is_exploratory: bool = False,
    higher_is_better: bool = True,
    of_gain: tuple[str, ...] = (),
    by_rule: bool = False,
) -> Claim:
    """The claim of a metric's values by seed against the rival's: paired over the shared seeds, Welch over all.

    The paired interval is the t interval; in a study with declared looks that of the look's boundary, and between looks
    the anytime-valid one. A declared ratio is claimed of the baseline alone.
    """
    shared = sorted(ours.keys() & theirs.keys())
    by_seed = {seed: ours[seed] - theirs[seed] for seed in shared}
    of_ours, of_theirs = ([arm[seed] for seed in shared] for arm in (ours, theirs))
    pairs = part = _at_look(paired(of_ours, of_theirs, higher_is_better=higher_is_better), declared)
    ratio = NO_INTERVAL
    if not (math.isnan(declared.ratio) or is_control or of_gain or is_exploratory):
        of_part = [declared.ratio * value for value in of_theirs]
        part = _at_look(paired(of_ours, of_part, higher_is_better=higher_is_better), declared)
        ratio = fieller(of_ours, of_theirs, _half_width(1.0, len(shared), declared))
    unpaired = welch(list(ours.values()), list(theirs.values()))
    return Claim(
        rival,
        is_control,
        pairs,
        part,
        ratio,
        unpaired,
        tuned,
        declared,
        is_exploratory,
        higher_is_better,
        of_gain,
        by_rule,
        by_seed,
    )


def _at_look(pairs: Paired, declared: Declaration) -> Paired:
    """The pairs with the interval and the detectable difference of this look."""
    if not declared.looks:
        return pairs
    difference, level = pairs.difference, declared.level(pairs.difference.n)
    half = _half_width(difference.sd, difference.n, declared)
    detectable = math.nan if math.isnan(level) else detectable_difference(difference.sd, difference.n, level)
    difference = replace(difference, low=difference.mean - half, high=difference.mean + half)
    return replace(pairs, difference=difference, detectable=detectable)


def _half_width(sd: float, n: int, declared: Declaration) -> float:
    """Half of the interval of a mean difference that holds at n pairs: proportional to their SD."""
    level = declared.level(n)
    return anytime_half_width(sd, n) if math.isnan(level) else half_width(sd / math.sqrt(n or 1), n - 1, level)


def verdict(low: float, high: float, p_holm: float) -> str:
    """The verdict on a gain with interval [low, high] and adjusted p; NaN decides nothing.

    Supported: p_holm <= ALPHA and low > 0. Refuted: p_holm <= ALPHA and high < 0. Undecided: all else, so that of a
    study's claims between equals any is decided in at most ALPHA of all studies, whichever way.
    """
    if p_holm <= ALPHA and low > 0:
        return SUPPORTED
    return REFUTED if p_holm <= ALPHA and high < 0 else UNDECIDED
