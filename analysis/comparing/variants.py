"""One row of a table: the runs of one config that differ in nothing but the seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from ..reading.run import Run
from .arrangement import Arrangement, Order
from .claims import Claim
from .statistics import Paired, Summary, summarise


@dataclass(frozen=True)
class Row:
    """Runs of one study and config digest, and how they compare; no claims for the baseline and without runs.

    `group` is the heading of the rows that are compared with each other. `value` is what `--rows` chose, by default
    the variant; `name` adds the model where rows differ in it, and `label` the digest's first digits where several
    rows have one name.
    """

    group: str
    study: str
    variant: str
    value: str
    name: str
    label: str
    digest: str
    order: tuple[Order, str]
    runs: tuple[Run, ...]
    accuracy: Summary
    is_baseline: bool = False
    claims: tuple[Claim, ...] = ()

    @property
    def names(self) -> set[str]:
        """What the command line may call it."""
        return {self.label, self.name, self.value, self.variant}

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
    def seeds(self) -> list[int]:
        """Seeds that count, in order."""
        return [run.seed for run in self.runs]

    def mean(self, key: str) -> float:
        """Mean of a number over the seeds, NaN where a run lacks it."""
        return summarise([run.number(key) for run in self.runs]).mean

    def by_seed(self, key: str) -> dict[int, float]:
        """A number of each seed."""
        return {run.seed: run.number(key) for run in self.runs}


def rows_of(runs: Iterable[Run], arrangement: Arrangement) -> dict[str, list[Row]]:
    """Rows not yet compared, by group, all in order; a variant without any result is a row of n = 0."""
    ordered = sorted(runs, key=lambda run: (arrangement.group_order(run), arrangement.row_order(run)))
    groups: dict[str, list[Row]] = {}
    for (group, name), members in groupby(ordered, key=lambda run: (arrangement.group(run), arrangement.name(run))):
        groups.setdefault(group, []).extend(_rows(group, name, list(members), arrangement))
    return groups


def _rows(group: str, name: str, runs: list[Run], arrangement: Arrangement) -> list[Row]:
    """One row for each digest among the runs that have results, else one row of n = 0."""
    digests = sorted({run.digest for run in runs if run.counts}) or [""]
    rows = []
    for digest in digests:
        counted = sorted((run for run in runs if run.counts and run.digest == digest), key=lambda run: run.seed)
        first = (counted or runs)[0]
        rows.append(
            Row(
                group=group,
                study=first.study,
                variant=first.variant,
                value=arrangement.value(first),
                name=name,
                label=name if len(digests) == 1 else f"{name} @{digest[:8] or 'none'}",
                digest=digest,
                order=arrangement.row_order(first),
                runs=tuple(counted),
                accuracy=summarise([run.number("test_accuracy") for run in counted]),
            )
        )
    return rows
