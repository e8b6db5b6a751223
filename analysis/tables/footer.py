"""What a table's numbers are: the lines below it that a reader needs in order to judge them."""

import math
from collections.abc import Sequence

from dynfilt.config.about import FOLLOWS_SEED, SPLIT_SEED

from ..comparing.arrangement import STUDY
from ..comparing.claims import EXPLORATORY, Claim
from ..comparing.comparison import CONTROL_TOLERANCE, Comparison
from ..comparing.declaration import Declaration
from ..comparing.image_level import ImageLevel
from ..comparing.looks import boundaries
from ..comparing.statistics import ALPHA, EXACT_PAIRS, POWER, smallest_exact_p
from ..comparing.tuning import NOT_BEST, NOT_GIVEN, NOT_TUNED, OTHER_GRIDS, TUNED_KEYS, TUNING_SEEDS
from ..comparing.words import enumerated, number_of, origin, seed_list
from .columns import COST_COLUMNS, MEAN_CHOICE, Entry
from .table import Column

SPREAD_NOTE = "Mean ± SD over the n seeds (SD with n - 1); 95 % interval: Student t over the seeds."
VARIED_NOTE = "The seeds vary initial weights, order and augmentation in training, and dropout"
BOLD_NOTE = " Bold: best value of its column among the rows shown, which is no test."
DIFFERENCE_NOTE = (
    "Δ: difference to the run of the same seed of the baseline, or of the variant named under against, averaged over "
    "the seeds that both have, with its 95 % t interval"
)
VERDICT_NOTE = (
    "Verdict on the claim that the variant beats the one it is set against: decided when the Holm-adjusted p is at "
    f"most {ALPHA:g}, supported when the paired 95 % interval then lies {{better}} 0, refuted when it lies {{worse}} "
    "0; undecided otherwise, also where that interval, which is not adjusted for the number of claims, excludes 0."
)
NO_EQUALITY_NOTE = " Equality is no verdict: undecided means that the seeds do not tell."
EXPLORATORY_NOTE = " Exploratory: a comparison that the study did not declare, which has no verdict and no adjusted p."
UNDECLARED_NOTE = (
    "No looks were declared{where}: p, intervals and verdicts hold where the number of seeds was fixed before the "
    "first run. Read after 3, 5 and 10 seeds, p falls below 0.05 in 12 % of true nulls. The e-value may be read at any "
    "number of pairs, as often as one likes: 20 or more says what p = 0.05 would (not adjusted for the number of "
    "comparisons; Wang and Ramdas 2023)."
)
DETECTABLE_NOTE = (
    f"Detectable Δ: smallest true difference that so many pairs find with power {POWER:g} at {{level}}, "
    "before Holm's adjustment, given the SD of Δ seen here (noncentral t). Ahead: seeds in which the variant is better."
)
SIGN_FLIP_NOTE = (
    "Sign-flip p: exact, without assuming normal differences, not adjusted; a caveat says where t decides otherwise."
)
DECLARED_CONTROL_NOTE = (
    "Control: a row of equal capacity, parameters, FLOPs or gates that the study declares the variant must beat."
)
GAINS_NOTE = "Gain of a row over another: their difference at the same seed; Δ is then the difference of two gains."
CONTROL = "control of equal capacity"
CONTROL_NOTE = (
    "Control of equal capacity: the baseline's network with a second head instead of a dynamic filter (its config "
    "differs from the baseline's, within model, in model.second_head alone) and parameters within "
    f"{100 * CONTROL_TOLERANCE:g} % of the variant's."
)
TUNED_NOTE = (
    f"Tuned alike: yes when the study holds one grid of {' and '.join(TUNED_KEYS)} for both, run with {{seeds}}, and "
    "both are reported, on other seeds, at the point of their best mean validation accuracy"
)
TUNED_CLAUSES = {
    NOT_TUNED: "without such runs the recipe is as published, and the claim holds for that recipe only",
    NOT_GIVEN: "not known where the runs of the study that the study names as tuning are not given beside its own",
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
    "the standard error of the mean over images, the interval is Student t. Over seeds and images: the 95 % interval "
    "for other seeds and other images together (crossed random effects); of Δ at the level of the look."
)
COST_NOTE = (
    "Params: all that training may change. FLOPs: one forward pass of one image, in canonical form. "
    "Train: wall time, mean over the seeds."
)
MEAN_CHOICE_NOTE = (
    "With mean choice: test accuracy when every image gets the mean over the test images of what the dynamic layers "
    "decide. Where it is no lower the network is not dynamic; where it is, the layers' choices are in use, which does "
    "not say that a network without them would be worse."
)
RATIO_NOTE = (
    "Ratio that {study} declares: instead of beating the baseline a variant claims {part} its {metric}. Ratio: of both "
    "means over the shared seeds, with Fieller's interval at the look's level; the verdict reads it against {ratio:g} "
    "instead of 0, and p, e-value, detectable Δ and sign-flip p are of the difference to {ratio:g} times the baseline."
)


def footer(comparison: Comparison, images: ImageLevel, columns: Sequence[Column[Entry]]) -> list[str]:
    """Sentences on groups, intervals, comparison, split and source, one topic a line; on cost where it is shown."""
    is_contest = any(sum(bool(variant.runs) for variant in group) > 1 for group in comparison.groups.values())
    lines = [*_groups(comparison), SPREAD_NOTE + (BOLD_NOTE if is_contest else ""), _varied(comparison)]
    if comparison.claims:
        lines += [DIFFERENCE_NOTE + _test(comparison), *_looks(comparison), _verdict(comparison)]
        lines += [
            *_margins(comparison),
            *_ratios(comparison),
            *_undeclared(comparison),
            _detectable(comparison),
            _tuned(comparison),
        ]
        lines += [*_controls(comparison), PAIRING_NOTE, *_few_pairs(comparison)]
    lines += [IMAGES_NOTE] if images.accuracy else []
    lines += [f"No image-level uncertainty where {note}." for note in images.notes]
    shown = (run for variant in comparison.variants for run in variant.runs)
    cost = [COST_NOTE] if any(column in COST_COLUMNS for column in columns) else []
    asked = [MEAN_CHOICE_NOTE] if any(column in MEAN_CHOICE for column in columns) else []
    return [*lines, comparison.metric.meaning, *asked, *cost, origin(comparison.runs, shown)]


def _groups(comparison: Comparison) -> list[str]:
    lines = []
    for heading, variants in comparison.groups.items():
        what = f"{'Study ' if comparison.layout.by in (None, STUDY) else ''}{comparison.layout.titled(heading)}"
        runs = [run for variant in variants for run in variant.runs]
        if not runs:
            lines.append(f"{what}: no run has a result yet.")
            continue
        controls = dict.fromkeys(claim.rival for variant in variants for claim in variant.claims if claim.is_control)
        is_declared = comparison.declared[variants[0].study].controls
        kind = "controls" if is_declared and len(controls) > 1 else "control" if is_declared else CONTROL
        control = f"; {kind} {', '.join(controls)}" if controls else ""
        seeds = seed_list(run.seed for run in runs)
        lines.append(f"{what}: {number_of(len(runs), 'run')} ({seeds}); baseline {variants[0].baseline}{control}.")
    return lines


def _varied(comparison: Comparison) -> str:
    """What differs between the seeds of a row."""
    splits = {run.setting(SPLIT_SEED) for variant in comparison.variants for run in variant.runs}
    if splits == {FOLLOWS_SEED}:
        return f"{VARIED_NOTE}, and what is held out for validation ({SPLIT_SEED} follows the seed)."
    some = f", and in some rows ({SPLIT_SEED} follows the seed) the validation split" if FOLLOWS_SEED in splits else ""
    return VARIED_NOTE + (some or "; the validation split is the same for all seeds of a row") + "."


def _test(comparison: Comparison) -> str:
    """What p is, and over which claims it is adjusted."""
    families = []
    if comparison.family:
        one_of = "only comparison" if comparison.family == 1 else f"{comparison.family} comparisons"
        others = " whose study declares no claims" if len(_by_declaration(comparison)) > 1 else ""
        families.append(f"the {one_of} of this table{others}")
    for study, declared in _by_declaration(comparison).items():
        if declared.names_claims:
            own = [claim for claim in _claims_of(study, comparison) if not claim.is_exploratory]
            absent = comparison.absent.get(study, 0)
            without = f" ({absent} of them not in this table)" if absent else ""
            families += [f"the {number_of(len(own) + absent, 'claim')} that {study} declares{without}"] if own else []
    if not families:
        return "."
    return f"; p: paired t test, two-sided, Holm-adjusted over {' and, apart, '.join(families)}."


def _looks(comparison: Comparison) -> list[str]:
    """At which looks verdicts are read, and what p and the intervals are therefore."""
    lines = []
    for study, declared in _by_declaration(comparison).items():
        if declared.looks:
            at = enumerated([str(look) for look in declared.looks])
            limits = enumerated([f"{level:.4f}" for level in boundaries(declared.looks)])
            lines.append(
                f"Looks that {study} declares: verdicts are read at {at} pairs, where an unadjusted p of at most "
                f"{limits} decides a single claim, over all looks at α = {ALPHA:g} (boundaries proportional to n "
                "squared). p (Holm) is adjusted for these looks first; the interval of Δ is that of the look's "
                "boundary, so that it holds at all looks together with 95 %. At any other number of pairs there is no "
                "verdict, and the interval is the wider one that may be read at any of them (anytime-valid; Wang and "
                "Ramdas 2023)."
            )
    return lines


def _verdict(comparison: Comparison) -> str:
    verdicts = {claim.verdict for claim in comparison.claims}
    no_margin = all(math.isnan(declared.margin) for declared in _by_declaration(comparison).values())
    better, worse = ("above", "below") if comparison.metric.higher_is_better else ("below", "above")
    return (
        VERDICT_NOTE.format(better=better, worse=worse)
        + NO_EQUALITY_NOTE * no_margin
        + EXPLORATORY_NOTE * (EXPLORATORY in verdicts)
    )


def _margins(comparison: Comparison) -> list[str]:
    return [
        f"Margin that {study} declares: {declared.margin_in_words}. Equivalent, before all other verdicts: two "
        "one-sided t tests show, at the look's level and Holm-adjusted, that the true difference is smaller than that; "
        f"these tests are a family of their own, which errs in at most {ALPHA:.0%} beside that of the verdicts. "
        f"Pairs needed: of an undecided claim, the pairs that would find a true difference of the margin with power "
        f"{POWER:g}, at the level of the first of Holm's family, given the SD of Δ seen here."
        for study, declared in _by_declaration(comparison).items()
        if not math.isnan(declared.margin)
    ]


def _ratios(comparison: Comparison) -> list[str]:
    of_study = {
        variant.study: claim for variant in comparison.variants for claim in variant.claims if claim.is_of_a_ratio
    }
    words = comparison.metric.words
    return [
        RATIO_NOTE.format(study=study, part=claim.part_in_words, ratio=claim.declared.ratio, metric=words)
        for study, claim in of_study.items()
    ]


def _undeclared(comparison: Comparison) -> list[str]:
    """When p is valid where a study declared no looks."""
    by_study = _by_declaration(comparison)
    studies = [study for study, declared in by_study.items() if not declared.looks]
    where = f" of {', '.join(studies)}" if len(studies) < len(by_study) else ""
    return [UNDECLARED_NOTE.format(where=where)] if studies else []


def _detectable(comparison: Comparison) -> str:
    has_looks = any(declared.looks for declared in _by_declaration(comparison).values())
    has_exact = any(not math.isnan(claim.paired.sign_flip_p) for claim in comparison.claims)
    note = DETECTABLE_NOTE.format(level="the look's boundary" if has_looks else f"α = {ALPHA:g}")
    return f"{note} {SIGN_FLIP_NOTE}" if has_exact else note


def _controls(comparison: Comparison) -> list[str]:
    controls = [claim for claim in comparison.claims if claim.is_control]
    declared = any(claim.is_declared_control for claim in controls)
    found = any(not claim.is_declared_control for claim in controls)
    gains = any(claim.over for claim in comparison.claims)
    return [DECLARED_CONTROL_NOTE] * declared + [CONTROL_NOTE] * found + [GAINS_NOTE] * gains


def _by_declaration(comparison: Comparison) -> dict[str, Declaration]:
    """What the studies of the table's claims declared."""
    studies = [variant.study for variant in comparison.variants if variant.claims]
    return {study: comparison.declared[study] for study in dict.fromkeys(studies)}


def _claims_of(study: str, comparison: Comparison) -> list[Claim]:
    return [claim for variant in comparison.variants if variant.study == study for claim in variant.claims]


def _tuned(comparison: Comparison) -> str:
    """What `tuned alike` means, with a clause for each answer in the table that weakens a claim."""
    answers = {claim.tuned for claim in comparison.claims}
    clauses = [clause for answer, clause in TUNED_CLAUSES.items() if answer in answers]
    runs = f"; the {len(comparison.tuning)} runs that tuned are in no mean" if comparison.tuning else ""
    tuning = {declared.tuning for declared in _by_declaration(comparison).values()}
    seeds = f"seeds {' and '.join(map(str, TUNING_SEEDS))}"
    if tuning != {None}:
        seeds = "what the study declares as tuning" + f" (where it declares none, {seeds})" * (None in tuning)
    return "; ".join([TUNED_NOTE.format(seeds=seeds) + runs, *clauses]) + "."


def _few_pairs(comparison: Comparison) -> list[str]:
    few = sorted({claim.paired.difference.n for claim in comparison.claims} & set(range(1, EXACT_PAIRS)))
    if not few:
        return []
    reach = ", ".join(f"{smallest_exact_p(n):.3g} with {number_of(n, 'pair')}" for n in few)
    return [
        f"With fewer than {EXACT_PAIRS} seeds no exact paired test can reach p < {ALPHA:g} (its smallest p "
        f"is {reach}); p and the intervals here rest on the assumption that differences are normal."
    ]
