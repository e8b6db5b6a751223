"""Runs become rows, each compared with the baseline of its group and, where there is one, with its control."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..reading.run import Repeat, Run, without_repeats
from .arrangement import PLAIN, Arrangement, Layout
from .claims import Claim, claim
from .rivals import BASELINE_PREFIX, baseline_of, check_baseline, control_of
from .statistics import holm
from .tuning import Tuning, split_off_tuning
from .variants import Row, rows_of

__all__ = ["BASELINE_PREFIX", "Comparison", "Row", "compare"]


@dataclass(frozen=True)
class Comparison:
    """What a table prints: rows by the heading of their group, the baseline first; `runs` are all, counted or not.

    `tuning` are the runs that chose the recipes and are in no row.
    """

    layout: Layout
    groups: dict[str, list[Row]]
    runs: tuple[Run, ...]
    repeats: tuple[Repeat, ...]
    tuning: tuple[Run, ...]

    @property
    def rows(self) -> list[Row]:
        """The rows of all groups."""
        return [row for rows in self.groups.values() for row in rows]

    @property
    def studies(self) -> dict[str, list[Row]]:
        """The rows of each study, whatever the groups."""
        return {study: [row for row in self.rows if row.study == study] for study in {r.study: None for r in self.rows}}

    @property
    def claims(self) -> list[Claim]:
        """The claims of all rows."""
        return [each for row in self.rows for each in row.claims]

    @property
    def family(self) -> int:
        """Number of p-values that Holm's adjustment covers: all of the table."""
        return sum(not math.isnan(each.p_holm) for each in self.claims)


def compare(runs: Sequence[Run], baseline: str | None, layout: Layout = PLAIN) -> Comparison:
    """Rows for all studies of the runs, each against `baseline` or, where a group has none, its own default.

    Raises ValueError when no run counts, when the layout names a key that no run has, or when `baseline` is no row
    with results or several of one group.
    """
    if not any(run.counts for run in runs):
        raise ValueError(_nothing_counts(runs))
    # A W&B log without content tells not even whose run it was: a caveat, but no row.
    known = [run for run in runs if run.study]
    arrangement = Arrangement(layout, known)
    kept, repeats = without_repeats(known, arrangement.name)
    reported, tuning_runs = split_off_tuning(kept)
    groups = rows_of(reported, arrangement)
    if baseline is not None:
        check_baseline(groups, baseline)
    tuning = Tuning(tuning_runs)
    compared = {heading: _compared(rows, baseline, tuning) for heading, rows in groups.items()}
    return Comparison(layout, _adjusted(compared), tuple(runs), tuple(repeats), tuple(tuning_runs))


def _compared(rows: list[Row], baseline: str | None, tuning: Tuning) -> list[Row]:
    """Rows of one group with their claims, the baseline first."""
    with_results = [row for row in rows if row.runs]
    if not with_results:
        return rows
    reference = baseline_of(with_results, baseline)
    others = [
        replace(row, claims=_claims(row, reference, with_results, tuning)) if row.runs else row
        for row in rows
        if row is not reference
    ]
    return [replace(reference, is_baseline=True), *others]


def _claims(row: Row, reference: Row, rows: list[Row], tuning: Tuning) -> tuple[Claim, ...]:
    control = control_of(row, rows, reference)
    ours = row.by_seed("test_accuracy")
    return tuple(
        claim(
            ours,
            rival.by_seed("test_accuracy"),
            rival.label,
            is_control=rival is control,
            tuned=tuning.answer(row.runs[0], rival.runs[0]),
        )
        for rival in (reference, control)
        if rival is not None
    )


def _adjusted(groups: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The rows with Holm's p-values, one family for all of them."""
    rows = [row for members in groups.values() for row in members]
    adjusted = iter(holm([each.paired.p for row in rows for each in row.claims]))
    return {
        heading: [
            replace(row, claims=tuple(replace(each, p_holm=next(adjusted)) for each in row.claims)) for row in members
        ]
        for heading, members in groups.items()
    }


def _nothing_counts(runs: Sequence[Run]) -> str:
    states = sorted({run.state for run in runs})
    counts = ", ".join(f"{sum(run.state == state for run in runs)} {state}" for state in states)
    told = next((run for run in runs if run.error), None)
    example = f"; {told.place}: {told.error}" if told else ""
    sources = ", ".join(dict.fromkeys(run.source for run in runs))
    return f"none of the {len(runs)} runs in {sources} has a result yet ({counts}){example}"
