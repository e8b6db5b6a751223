"""A variant: the runs of one config that differ in nothing but the seed, and its claims to beat others.

The verdict on a claim is a rule, not an opinion.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ..reading.run import Run
from .arrangement import Arrangement, Order
from .statistics import ALPHA, Interval, Paired, Summary, paired, summarise, welch

SUPPORTED, UNDECIDED, REFUTED = "supported", "undecided", "refuted"


@dataclass(frozen=True)
class Claim:
    """That a variant beats its rival, the baseline or a control, and what the seeds of both say to it.

    `tuned` says whether both were tuned alike, one of the answers in `tuning`.
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


@dataclass(frozen=True)
class Variant:
    """Runs of one study and config digest, and how they compare; no claims for the baseline and without runs.

    `group` is the heading of the variants that are compared with each other, `baseline` the label of their baseline,
    empty where none of them has results. `name` is what `--rows` chose, by default the recorded name, with the model
    where rows differ in it; `label` adds the digest's first digits where several share the name. `names` are all by
    which the command line knows it.
    """

    group: str
    study: str
    recorded_name: str
    name: str
    label: str
    names: frozenset[str]
    digest: str
    order: tuple[Order, str]
    runs: tuple[Run, ...]
    accuracy: Summary
    baseline: str = ""
    claims: tuple[Claim, ...] = ()

    @property
    def is_baseline(self) -> bool:
        """Whether the others of its group are compared with it."""
        return self.label == self.baseline

    @property
    def against_baseline(self) -> Claim | None:
        """The claim that it beats the baseline."""
        return next((claim for claim in self.claims if not claim.is_control), None)

    @property
    def against_control(self) -> Claim | None:
        """The claim that it beats the control of equal capacity."""
        return next((claim for claim in self.claims if claim.is_control), None)

    @property
    def paired(self) -> Paired | None:
        """The paired differences to the baseline, None where it shares no seed with it."""
        claim = self.against_baseline
        return claim.paired if claim and claim.paired.difference.n else None

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of its runs, as of the first."""
        return self.runs[0].config

    @property
    def seeds(self) -> list[int]:
        """Seeds that count, in order."""
        return [run.seed for run in self.runs]

    def mean(self, key: str) -> float:
        """Mean of a number over the seeds, NaN where a run lacks it."""
        return summarise([run.number(key) for run in self.runs]).mean

    def by_seed(self, key: str) -> dict[int, float]:
        """A number of each seed."""
        return {run.seed: run.number(key) for run in self.runs}


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


def variants_of(runs: Iterable[Run], arrangement: Arrangement) -> dict[str, list[Variant]]:
    """Variants not yet compared, by group, all in order; one without any result has n = 0."""
    ordered = sorted(runs, key=lambda run: (arrangement.group_order(run), arrangement.row_order(run)))
    groups: dict[str, list[Variant]] = {}
    for (group, name), members in groupby(ordered, key=lambda run: (arrangement.group(run), arrangement.name(run))):
        groups.setdefault(group, []).extend(_variants(group, name, list(members), arrangement))
    return groups


def _variants(group: str, name: str, runs: list[Run], arrangement: Arrangement) -> list[Variant]:
    """One variant for each digest among the runs that have results, else one of n = 0."""
    digests = sorted({run.digest for run in runs if run.counts}) or [""]
    variants = []
    for digest in digests:
        counted = sorted((run for run in runs if run.counts and run.digest == digest), key=lambda run: run.seed)
        first = (counted or runs)[0]
        label = name if len(digests) == 1 else f"{name} @{digest[:8] or 'none'}"
        variants.append(
            Variant(
                group=group,
                study=first.study,
                recorded_name=first.variant,
                name=name,
                label=label,
                names=frozenset({label, name, arrangement.value(first), first.variant}),
                digest=digest,
                order=arrangement.row_order(first),
                runs=tuple(counted),
                accuracy=summarise([run.number("test_accuracy") for run in counted]),
            )
        )
    return variants
