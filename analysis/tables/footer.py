"""What a table's numbers are: the lines below it that a reader needs in order to judge them."""

import os
from collections import Counter
from collections.abc import Sequence

from ..comparing.arrangement import STUDY
from ..comparing.comparison import CONTROL_TOLERANCE, Comparison
from ..comparing.image_level import ImageLevel
from ..comparing.statistics import ALPHA, EXACT_PAIRS, POWER, smallest_exact_p
from ..comparing.tuning import NOT_BEST, NOT_TUNED, OTHER_GRIDS, TUNED_KEYS, TUNING_SEEDS
from ..comparing.words import number_of, seed_list
from .columns import COST_COLUMNS, Entry
from .table import Column

SPREAD_NOTE = "Mean ± SD over the n seeds (SD with n - 1); 95 % interval: Student t over the seeds."
BOLD_NOTE = " Bold: best value of its column among the rows compared with each other, which is no test."
DIFFERENCE_NOTE = (
    "Δ: difference to the run of the same seed of the baseline, or of the variant named under against, averaged over "
    "the seeds that both have, with its 95 % t interval"
)
VERDICT_NOTE = (
    "Verdict on the claim that the variant beats the one it is set against: supported when the Holm-adjusted p is at "
    f"most {ALPHA:g} and the paired 95 % interval lies above 0; refuted when that interval lies wholly at or below 0 "
    "(not adjusted: the burden of proof is on the claim); undecided otherwise, and where there is no interval. "
    "Equality is no verdict: undecided means that the seeds do not tell."
)
DETECTABLE_NOTE = (
    f"Detectable Δ: smallest true difference that so many pairs find with power {POWER:g} at α = {ALPHA:g}, "
    "given the SD of Δ seen here (noncentral t)."
)
CONTROL_NOTE = (
    "Control of equal capacity: the baseline's network with a second head instead of a dynamic filter (its config "
    "differs from the baseline's, within model, in model.second_head alone) and parameters within "
    f"{100 * CONTROL_TOLERANCE:g} % of the variant's."
)
TUNED_NOTE = (
    f"Tuned alike: yes when the study holds one grid of {' and '.join(TUNED_KEYS)} for both, run with seeds "
    f"{' and '.join(map(str, TUNING_SEEDS))}, and both are reported, on other seeds, at the point of their best mean "
    "validation accuracy"
)
TUNED_CLAUSES = {
    NOT_TUNED: "without such runs the recipe is as published, and the claim holds for that recipe only",
    OTHER_GRIDS: "with other grids, or only one, the claim may owe to the tuning",
    NOT_BEST: "away from its grid's best, an arm is weaker than it could be",
}
PAIRING_NOTE = (
    "Welch: unpaired interval of the same difference, over all seeds of both. Correlation: of the two "
    "variants over the seeds, which is what pairing gains from. Effect size: d_z = mean / SD of Δ."
)
IMAGES_NOTE = (
    "Test images: what other test images of the same kind would change for these trained networks, where the intervals "
    "over seeds tell what other seeds would; an image's value is its mean over the seeds (of the best weights), SE is "
    "the standard error of the mean over images, the interval is Student t."
)
SPLIT_NOTE = (
    "Accuracy on the test set, evaluated once, at the end of training, with the weights that were best on "
    "the validation split; nothing was selected on the test set."
)
COST_NOTE = (
    "Params: all of the model. FLOPs: one forward pass of one image, in canonical form. "
    "Train: wall time, mean over the seeds."
)


def footer(comparison: Comparison, images: ImageLevel, columns: Sequence[Column[Entry]]) -> list[str]:
    """Sentences on groups, intervals, comparison, split and source, one topic a line; on cost where it is shown."""
    is_contest = any(sum(bool(variant.runs) for variant in group) > 1 for group in comparison.groups.values())
    lines = [*_groups(comparison), SPREAD_NOTE + (BOLD_NOTE if is_contest else "")]
    if comparison.claims:
        lines += [DIFFERENCE_NOTE + _test(comparison.family), VERDICT_NOTE, DETECTABLE_NOTE, _tuned(comparison)]
        lines += [CONTROL_NOTE] if any(claim.is_control for claim in comparison.claims) else []
        lines += [PAIRING_NOTE, *_few_pairs(comparison)]
    lines += [IMAGES_NOTE] if images.accuracy else []
    lines += [f"No image-level uncertainty where {note}." for note in images.notes]
    cost = [COST_NOTE] if any(column in COST_COLUMNS for column in columns) else []
    return [*lines, SPLIT_NOTE, *cost, _source(comparison)]


def _groups(comparison: Comparison) -> list[str]:
    lines = []
    for heading, variants in comparison.groups.items():
        what = f"{'Study ' if comparison.layout.by in (None, STUDY) else ''}{comparison.layout.titled(heading)}"
        runs = [run for variant in variants for run in variant.runs]
        if not runs:
            lines.append(f"{what}: no run has a result yet.")
            continue
        controls = dict.fromkeys(claim.rival for variant in variants for claim in variant.claims if claim.is_control)
        control = f"; control of equal capacity {', '.join(controls)}" if controls else ""
        seeds = seed_list(run.seed for run in runs)
        lines.append(f"{what}: {number_of(len(runs), 'run')} ({seeds}); baseline {variants[0].baseline}{control}.")
    return lines


def _test(family: int) -> str:
    if not family:
        return "."
    comparisons = "only comparison" if family == 1 else f"{family} comparisons"
    return f"; p: paired t test, two-sided, Holm-adjusted over the {comparisons} of this table."


def _tuned(comparison: Comparison) -> str:
    """What `tuned alike` means, with a clause for each answer in the table that weakens a claim."""
    answers = {claim.tuned for claim in comparison.claims}
    clauses = [clause for answer, clause in TUNED_CLAUSES.items() if answer in answers]
    runs = f"; the {len(comparison.tuning)} runs that tuned are in no mean" if comparison.tuning else ""
    return "; ".join([TUNED_NOTE + runs, *clauses]) + "."


def _few_pairs(comparison: Comparison) -> list[str]:
    few = sorted({claim.paired.difference.n for claim in comparison.claims} & set(range(1, EXACT_PAIRS)))
    if not few:
        return []
    reach = ", ".join(f"{smallest_exact_p(n):.3g} with {number_of(n, 'pair')}" for n in few)
    return [
        f"With fewer than {EXACT_PAIRS} seeds no exact paired test can reach p < {ALPHA:g} (its smallest p "
        f"is {reach}); p and the intervals here rest on the assumption that differences are normal."
    ]


def _source(comparison: Comparison) -> str:
    sources = ", ".join(dict.fromkeys(run.source.rstrip(os.sep) or os.sep for run in comparison.runs))
    commits = Counter(run.short_commit for variant in comparison.variants for run in variant.runs)
    if len(commits) == 1:
        return f"Source: {sources}; commit {next(iter(commits))}."
    counts = ", ".join(f"{commit} ({number_of(n, 'run')})" for commit, n in commits.most_common())
    return f"Source: {sources}; commits {counts}."
