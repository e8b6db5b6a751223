"""A variant: the runs of one config that differ in nothing but the seed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..reading.metrics import TEST_ACCURACY, Metric
from ..reading.run import Run
from .arrangement import VARIANT, Arrangement, Order
from .claims import Claim
from .declaration import NONE_DECLARED, UNDECLARED, Declaration
from .statistics import Summary, summarise


@dataclass(frozen=True)
class Variant:
    """Runs of one study and config digest, and how they compare; without runs there are no claims.

    The baseline has those on its declared controls and gains alone.

    `group` is the heading of the variants that are compared with each other, `baseline` the label of their baseline,
    empty where none of them has results. `name` is what `--rows` chose, by default the recorded name, with the model
    where rows differ in it; `label` adds the digest's first digits where several share the name. `names` are all by
    which the command line knows it. It is compared by its `metric`.
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
    metric: Metric
    baseline: str = ""
    claims: tuple[Claim, ...] = ()

    @property
    def is_baseline(self) -> bool:
        """Whether the others of its group are compared with it."""
        return self.label == self.baseline

    @property
    def against_baseline(self) -> Claim | None:
        """The claim that it beats the baseline."""
        return next((claim for claim in self.claims if claim.is_to_baseline), None)

    @property
    def against_control(self) -> Claim | None:
        """The claim that it beats its control, of several the first."""
        return next((claim for claim in self.claims if claim.is_control), None)

    @property
    def gains(self) -> list[Claim]:
        """The claims that it gains more over a row than another does."""
        return [claim for claim in self.claims if claim.over]

    @cached_property
    def summary(self) -> Summary:
        """The metric over the seeds."""
        return summarise(list(self.by_seed(self.metric.name).values()))

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


def variants_of(
    runs: Iterable[Run],
    arrangement: Arrangement,
    declared: Mapping[str, Declaration] = NONE_DECLARED,
    metric: Metric = TEST_ACCURACY,
) -> dict[str, list[Variant]]:
    """Variants not yet compared, by group, in order, under their declared names; one without any result has n = 0."""
    ordered = sorted(runs, key=lambda run: (arrangement.group_order(run), arrangement.row_order(run)))
    # Values of different types (1 and true, 1 and "1") may have one order or one name, so runs are not just neighbours.
    members: dict[str, dict[str, list[Run]]] = {}
    for run in ordered:
        members.setdefault(arrangement.group(run), {}).setdefault(arrangement.name(run), []).append(run)
    groups = {}
    for group, rows in members.items():
        shown = {name: name for name in rows}
        if arrangement.layout.rows == VARIANT:
            shown = {name: declared.get(rows[name][0].study, UNDECLARED).display_name(name) for name in rows}
        if len(set(shown.values())) < len(rows):  # two rows of one name could not be told apart
            shown = {name: name for name in rows}
        groups[group] = [
            row for name in rows for row in _variants(group, name, shown[name], rows[name], arrangement, metric)
        ]
    return groups


def _variants(
    group: str,
    name: str,
    shown: str,
    runs: list[Run],
    arrangement: Arrangement,
    metric: Metric,
) -> list[Variant]:
    """One variant for each digest among the runs that have results, else one of n = 0."""
    digests = sorted({run.digest for run in runs if run.counts}) or [""]
    variants = []
    for digest in digests:
        counted = sorted((run for run in runs if run.counts and run.digest == digest), key=lambda run: run.seed)
        first = (counted or runs)[0]
        label = shown if len(digests) == 1 else f"{shown} @{digest[:8] or 'none'}"
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
                metric=metric,
            )
        )
    return variants
