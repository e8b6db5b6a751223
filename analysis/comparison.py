"""Runs become rows: one a variant, each compared with the baseline of its own study."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from analysis.runs import Repeat, Run, without_repeats
from analysis.statistics import Interval, Paired, Summary, holm, paired, summarise, welch

BASELINE_PREFIX = "static"


@dataclass(frozen=True)
class Row:
    """A variant's runs of one config digest, and how they compare; None for the baseline and without runs.

    `label` is the variant's name, followed by the digest's first digits where the variant has several.
    """

    study: str
    variant: str
    digest: str
    label: str
    runs: tuple[Run, ...]
    accuracy: Summary
    is_baseline: bool = False
    is_best: bool = False
    paired: Paired | None = None
    welch: Interval | None = None
    p_holm: float = math.nan

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


@dataclass(frozen=True)
class Comparison:
    """What a table prints: rows grouped by study, the baseline first; `runs` are all, counted or not."""

    rows: tuple[Row, ...]
    runs: tuple[Run, ...]
    repeats: tuple[Repeat, ...]

    @property
    def studies(self) -> dict[str, list[Row]]:
        """Rows of each study, in the table's order."""
        return {study: list(rows) for study, rows in groupby(self.rows, key=lambda row: row.study)}

    @property
    def family(self) -> int:
        """Number of p-values that Holm's adjustment covers: all of the table."""
        return sum(not math.isnan(row.p_holm) for row in self.rows)


def compare(runs: Sequence[Run], baseline: str | None) -> Comparison:
    """Rows for all studies of the runs, each against `baseline` or, where a study has none, its own default.

    The default is the first label that starts with `static`, else the first label. Raises ValueError when no
    run counts, or when `baseline` is no variant with results or names several rows.
    """
    kept, repeats = without_repeats(runs)
    if not any(run.counts for run in kept):
        raise ValueError(_nothing_counts(runs))
    rows = _rows(kept)
    if baseline is not None:
        _check_baseline(rows, baseline)
    compared: list[Row] = []
    for _, group in groupby(rows, key=lambda row: row.study):
        compared += _compared(list(group), baseline)
    adjusted = holm([row.paired.p if row.paired else math.nan for row in compared])
    adjusted_rows = (replace(row, p_holm=p) for row, p in zip(compared, adjusted, strict=True))
    return Comparison(tuple(adjusted_rows), tuple(runs), tuple(repeats))


def _rows(runs: Iterable[Run]) -> list[Row]:
    """Rows not yet compared, sorted by study and label; a variant without any result is a row of n = 0."""
    rows = []
    ordered = sorted(runs, key=lambda run: (run.study, run.variant))
    for (study, variant), group in groupby(ordered, key=lambda run: (run.study, run.variant)):
        counted = [run for run in group if run.counts]
        digests = sorted({run.digest for run in counted}) or [""]
        for digest in digests:
            label = variant if len(digests) == 1 else f"{variant} @{digest[:8] or 'none'}"
            members = sorted((run for run in counted if run.digest == digest), key=lambda run: run.seed)
            accuracy = summarise([run.number("test_accuracy") for run in members])
            rows.append(Row(study, variant, digest, label, tuple(members), accuracy))
    return rows


def _compared(rows: list[Row], baseline: str | None) -> list[Row]:
    """Rows of one study with the comparisons filled in, the baseline first."""
    with_results = [row for row in rows if row.runs]
    if not with_results:
        return rows
    reference = _reference(with_results, baseline)
    best = max(row.accuracy.mean for row in with_results)
    marks_best = len(with_results) > 1
    finished = []
    for row in rows:
        row = replace(row, is_best=marks_best and row.accuracy.mean == best)
        is_reference = row.label == reference.label
        finished.append(replace(row, is_baseline=True) if is_reference else _against(row, reference))
    return sorted(finished, key=lambda row: not row.is_baseline)


def _reference(rows: list[Row], baseline: str | None) -> Row:
    named = [row for row in rows if baseline in (row.label, row.variant)]
    static = [row for row in rows if row.variant.startswith(BASELINE_PREFIX)]
    return (named or static or rows)[0]


def _against(row: Row, reference: Row) -> Row:
    ours, theirs = row.by_seed("test_accuracy"), reference.by_seed("test_accuracy")
    shared = sorted(ours.keys() & theirs.keys())
    pairs = paired([ours[seed] for seed in shared], [theirs[seed] for seed in shared]) if shared else None
    unpaired = welch(list(ours.values()), list(theirs.values())) if ours else None
    return replace(row, paired=pairs, welch=unpaired)


def _check_baseline(rows: list[Row], baseline: str) -> None:
    for study, group in groupby(rows, key=lambda row: row.study):
        named = [row for row in group if baseline in (row.label, row.variant)]
        if len(named) > 1:
            labels = ", ".join(repr(row.label) for row in named)
            raise ValueError(f"baseline {baseline} has several configurations in study {study}; choose one of {labels}")
    if not any(row.runs and baseline in (row.label, row.variant) for row in rows):
        known = ", ".join(sorted({row.label for row in rows if row.runs}))
        raise ValueError(f"no variant {baseline} with results to serve as baseline; the variants are: {known}")


def _nothing_counts(runs: Sequence[Run]) -> str:
    states = sorted({run.state for run in runs})
    counts = ", ".join(f"{sum(run.state == state for run in runs)} {state}" for state in states)
    told = next((run for run in runs if run.error), None)
    example = f"; {told.place}: {told.error}" if told else ""
    sources = ", ".join(dict.fromkeys(run.source for run in runs))
    return f"none of the {len(runs)} runs in {sources} has a result yet ({counts}){example}"
