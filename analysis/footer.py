"""What a table's numbers are: the lines below it that a reader needs in order to judge them."""

import os
from collections import Counter

from analysis.comparison import Comparison, Row
from analysis.runs import Run, seed_list
from analysis.statistics import ALPHA, EXACT_PAIRS, POWER, smallest_exact_p

COMMIT_DIGITS = 7

SPREAD = "Mean ± SD over the n seeds (SD with n - 1); 95 % interval: Student t over the seeds."
BOLD = " Bold: highest mean of its study, which is no test."
DIFFERENCE = (
    "Δ: difference to the baseline's run of the same seed, averaged over the seeds that both have, "
    "with its 95 % t interval"
)
DETECTABLE = (
    f"Detectable Δ: smallest true difference that so many pairs find with power {POWER:g} at α = {ALPHA:g}, "
    "given the SD of Δ seen here (noncentral t). An interval that contains 0 does not show that two "
    "variants are equal."
)
PAIRING = (
    "Welch: unpaired interval of the same difference, over all seeds of both. Correlation: of the two "
    "variants over the seeds, which is what pairing gains from. Effect size: d_z = mean / SD of Δ."
)
SPLIT = (
    "Accuracy on the test set, evaluated once, at the end of training, with the weights that were best on "
    "the validation split; nothing was selected on the test set."
)
COST = (
    "Params: all of the model. FLOPs: one forward pass of one image, in canonical form. "
    "Train: wall time, mean over the seeds."
)


def footer(comparison: Comparison) -> list[str]:
    """Sentences on the rows, the intervals, the comparison, the split and the source, one topic a line."""
    compared = [row for row in comparison.rows if row.welch]
    spread = SPREAD + (BOLD if any(row.is_best for row in comparison.rows) else "")
    comparing = [DIFFERENCE + _test(comparison.family), DETECTABLE, PAIRING, *_few_pairs(compared)]
    return [*_studies(comparison), spread, *(comparing if compared else []), SPLIT, COST, _source(comparison)]


def short_commit(run: Run) -> str:
    """The commit's first digits as `git log --oneline` prints them; several where a run was resumed."""
    return " + ".join(commit[:COMMIT_DIGITS] for commit in run.commits) or "unknown"


def _studies(comparison: Comparison) -> list[str]:
    lines = []
    for study, rows in comparison.studies.items():
        runs = [run for row in rows for run in row.runs]
        if not runs:
            lines.append(f"Study {study}: no run has a result yet.")
            continue
        baseline = next(row.label for row in rows if row.is_baseline)
        seeds = seed_list(run.seed for run in runs)
        lines.append(f"Study {study}: {_number_of(len(runs), 'run')} ({seeds}); baseline {baseline}.")
    return lines


def _test(family: int) -> str:
    if not family:
        return "."
    comparisons = "only comparison" if family == 1 else f"{family} comparisons"
    return f"; p: paired t test, two-sided, Holm-adjusted over the {comparisons} of this table."


def _few_pairs(compared: list[Row]) -> list[str]:
    few = sorted({row.paired.difference.n for row in compared if row.paired} & set(range(EXACT_PAIRS)))
    if not few:
        return []
    reach = ", ".join(f"{smallest_exact_p(n):.3g} with {_number_of(n, 'pair')}" for n in few)
    return [
        f"With fewer than {EXACT_PAIRS} seeds no exact paired test can reach p < {ALPHA:g} (its smallest p "
        f"is {reach}); p and the intervals here rest on the assumption that differences are normal."
    ]


def _source(comparison: Comparison) -> str:
    sources = ", ".join(dict.fromkeys(run.source.rstrip(os.sep) or os.sep for run in comparison.runs))
    commits = Counter(short_commit(run) for row in comparison.rows for run in row.runs)
    if len(commits) == 1:
        return f"Source: {sources}; commit {next(iter(commits))}."
    told = ", ".join(f"{commit} ({_number_of(n, 'run')})" for commit, n in commits.most_common())
    return f"Source: {sources}; commits {told}."


def _number_of(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"
