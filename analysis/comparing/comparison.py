"""Runs become variants, each compared with the baseline of its group and, if there is one, with its control."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..reading.metrics import COMPARED, TEST_ACCURACY, Metric, metric_named
from ..reading.predicted import with_metric
from ..reading.run import Run
from .arrangement import PLAIN, Arrangement, Layout
from .beside_reference import beside_own
from .claims import Claim, claim
from .declaration import UNDECLARED, Declaration, declarations_of, read_declaration
from .holm_family import absent_claims, adjusted
from .tuning import Tuning, split_off_tuning
from .variants import Variant, variants_of

BASELINE_PREFIX, STATIC_CONVOLUTION = "static", "torch.nn.Conv2d"
CONTROL_KEY = "second_head"
CONTROL_TOLERANCE = 0.05


@dataclass(frozen=True)
class Repeat:
    """Two results of the same study, row, digest and seed: one is used, the other is not."""

    used: Run
    unused: Run

    @property
    def agrees(self) -> bool:
        """Whether both report the same test accuracy."""
        return self.used.number("test_accuracy") == self.unused.number("test_accuracy")


@dataclass(frozen=True)
class Comparison:
    """What a table prints: variants by the heading of their group, the baseline first.

    `metric` is what they are compared by. `runs` are all, counted or not; `tuning` are the runs that chose the recipes
    and belong to no variant; `declared` is what each study declared; `absent` is the number of the claims that it
    declared and that have no results to be compared with each other, which are of Holm's family all the same.
    """

    layout: Layout
    metric: Metric
    groups: dict[str, list[Variant]]
    runs: tuple[Run, ...]
    repeats: tuple[Repeat, ...]
    tuning: tuple[Run, ...]
    declared: Mapping[str, Declaration]
    absent: Mapping[str, int]

    @property
    def variants(self) -> list[Variant]:
        """The variants of all groups."""
        return [variant for members in self.groups.values() for variant in members]

    @property
    def claims(self) -> list[Claim]:
        """The claims of all variants."""
        return [claim for variant in self.variants for claim in variant.claims]

    @property
    def family(self) -> int:
        """Number of p-values that Holm's adjustment covers in the studies that declare no claims: all of the table."""
        undeclared = [claim for claim in self.claims if not claim.declared.names_claims]
        return sum(not math.isnan(claim.p_holm) for claim in undeclared)

    @property
    def studies(self) -> str:
        """The names of all studies, separated by commas."""
        return ", ".join(dict.fromkeys(variant.study for variant in self.variants))


def compare(
    runs: Sequence[Run],
    baseline: str | None,
    layout: Layout = PLAIN,
    about: str | None = None,
    metric: str | None = None,
) -> Comparison:
    """Compare the variants of all studies with `baseline` or, where a group has none, its declared or default one.

    `about` is a sweep file whose declaration counts for its study, instead of what the runs recorded.
    `metric` is a key of COMPARED; without it, what the studies declare. Runs that lack it do not count.
    Raises ValueError when no run counts, when the layout names a key that no run has, when `baseline` is no variant
    with results or several of one group, for metrics that are unknown or differ, and as `read_declaration`
    and `beside_own` do.
    """
    runs = beside_own(runs)
    declared = declarations_of([run for run in runs if run.study])
    if about is not None:
        declared |= read_declaration(about, declared)
    chosen = metric_of(declared, metric)
    # A margin and a ratio are of the declared metric.
    declared = {
        study: each if each.metric == chosen else replace(each, margin=math.nan, ratio=math.nan)
        for study, each in declared.items()
    }
    finished = [run.counts for run in runs]
    if not any(finished):
        raise ValueError(_nothing_counts(runs))
    runs = [with_metric(run, chosen) for run in runs]
    if not any(run.counts for run in runs):
        first = next(itertools.compress(runs, finished))
        raise ValueError(f"no run can be compared by {chosen.name}; {first.place}: {first.error}")
    # A W&B log without content does not even name its run: a caveat, but no variant.
    named = [run for run in runs if run.study]
    arrangement = Arrangement(layout, named)
    kept, repeats = without_repeats(named, arrangement.name)
    reported, tuning_runs = split_off_tuning(kept, declared)
    if not any(run.counts for run in reported):
        raise ValueError(f"all {sum(run.counts for run in kept)} runs with results chose recipes; none is reported yet")
    groups = variants_of(reported, arrangement, declared, chosen)
    if baseline is not None:
        check_baseline(groups, baseline)
    tuning = Tuning(tuning_runs, declared)
    compared = {
        heading: _compared(variants, baseline, tuning, declared[variants[0].study])
        for heading, variants in groups.items()
    }
    absent = absent_claims(compared, declared)
    return Comparison(
        layout,
        chosen,
        adjusted(compared, absent),
        tuple(runs),
        tuple(repeats),
        tuple(tuning_runs),
        declared,
        absent,
    )


def metric_of(declared: Mapping[str, Declaration], named: str | None) -> Metric:
    """The named metric, else the one that the studies declare.

    Raises ValueError for an unknown name, and when the studies declare several.
    """
    if named is not None:
        return metric_named(named)
    metrics = {
        study: each.metric.name
        for study, each in declared.items()
        if each.names_claims or each.looks or each.metric != TEST_ACCURACY
    }
    if len(set(metrics.values())) > 1:
        each = ", ".join(f"{study} {name}" for study, name in metrics.items())
        raise ValueError(f"the studies declare several metrics ({each}); choose one by --metric")
    return COMPARED[next(iter(metrics.values()), TEST_ACCURACY.name)]


def without_repeats(runs: Iterable[Run], name_of: Callable[[Run], str]) -> tuple[list[Run], list[Repeat]]:
    """The runs with each result once (the first one given), and the pairs of which one was dropped.

    Runs of one study that `name_of` names alike, with one digest and seed, are the same result.
    """
    first: dict[tuple[str, str, str, int], Run] = {}
    kept, repeats = [], []
    for run in runs:
        key = (run.study, name_of(run), run.digest, run.seed)
        if run.counts and key in first:
            repeats.append(Repeat(first[key], run))
            continue
        if run.counts:
            first[key] = run
        kept.append(run)
    return kept, repeats


def baseline_of(variants: Sequence[Variant], named: str | None, declared: Declaration = UNDECLARED) -> Variant:
    """The variant that a group's others are compared with, of those with results.

    It is the named one where the group has it, else the declared one, else the first variant named static*, else
    the one with the fewest parameters: of those with nn.Conv2d for the convolution that varies, if there are any.
    """
    with_results = [variant for variant in variants if variant.runs]
    asked = [variant for variant in with_results if named in variant.names] or declared_rows(
        declared.baseline, variants, declared
    )
    static = [variant for variant in with_results if variant.recorded_name.startswith(BASELINE_PREFIX)]
    return (asked or static or sorted(with_results, key=_plain_and_small))[0]


def declared_rows(name: str, variants: Sequence[Variant], declared: Declaration) -> list[Variant]:
    """The variants with results that a declared name means among all of a group.

    A row that is still without any is not replaced by another that would be meant if it were not there.
    """
    meant = declared.rows_meant(name, [variant.recorded_name for variant in variants])
    return [variant for variant in variants if variant.runs and variant.recorded_name in meant]


def control_of(variant: Variant, variants: Sequence[Variant], baseline: Variant) -> Variant | None:
    """The variant that has the capacity of this one without its filter, if there is one.

    A control is the baseline's network with a second head beside it (the config's `model` differs from the baseline's
    in `model.second_head` alone) that brings its parameters within 5 % of the variant's. Among several, the one whose
    config agrees with the variant's in all but `model` is chosen, else none.
    """
    if variant is baseline or _is_control(variant, baseline):
        return None
    controls = [
        other for other in variants if other.runs and _is_control(other, baseline) and is_equal_in_size(other, variant)
    ]
    if len(controls) > 1:
        rest = _without(variant.config, "model")
        controls = [other for other in controls if _without(other.config, "model") == rest]
    return controls[0] if len(controls) == 1 else None


def check_baseline(groups: Mapping[str, Sequence[Variant]], baseline: str) -> None:
    """Raise ValueError when a baseline names several variants of a group, or none with results anywhere."""
    for heading, variants in groups.items():
        labels = [variant.label for variant in variants if baseline in variant.names]
        if len(labels) > 1:
            raise ValueError(
                f"baseline {baseline} is several rows of {heading}; choose one of {', '.join(map(repr, labels))}"
            )
    with_results = [variant for variants in groups.values() for variant in variants if variant.runs]
    if not any(baseline in variant.names for variant in with_results):
        labels = sorted({variant.label for variant in with_results})
        raise ValueError(
            f"no variant {baseline} with results to serve as baseline; the variants are: {', '.join(labels)}"
        )


def _compared(variants: list[Variant], named: str | None, tuning: Tuning, declared: Declaration) -> list[Variant]:
    """Variants of one group with their claims, the baseline first."""
    if not any(variant.runs for variant in variants):
        return variants
    baseline = baseline_of(variants, named, declared)
    (kind, value, word), name = baseline.order
    first = (kind - 3, value, word), name  # kinds are 0 to 2, so it is before every row that is no baseline
    compared = [baseline, *(variant for variant in variants if variant is not baseline)]
    return [
        replace(
            variant,
            order=first if variant is baseline else variant.order,
            baseline=baseline.label,
            claims=_claims(variant, baseline, variants, tuning, declared),
        )
        for variant in compared
    ]


def _claims(
    variant: Variant, baseline: Variant, variants: list[Variant], tuning: Tuning, declared: Declaration
) -> tuple[Claim, ...]:
    """Against the baseline, the declared controls, and the one that `control_of` finds; then those on gains.

    Where a study declares claims, those that it does not declare, or declares by another metric, are exploratory. A row
    that became the baseline keeps its declared controls and gains, which do not depend on what is the baseline, and a
    declared control that became the baseline is to be beaten all the same.
    """
    if not variant.runs:
        return ()
    is_declared_baseline = not declared.baseline or baseline in declared_rows(declared.baseline, variants, declared)
    rivals = {baseline.label: (baseline, is_declared_baseline)}
    for name in declared.controls_of(variant.recorded_name, [row.recorded_name for row in variants]):
        if controls := declared_rows(name, variants, declared):
            control = max(controls, key=lambda row: len(_settings(row) & _settings(variant)))
            rivals[control.label] = (control, True)
    if found := control_of(variant, variants, baseline):
        rivals.setdefault(found.label, (found, False))
    is_declared_metric = declared.metric == variant.metric
    beating = tuple(
        claim(
            variant.by_seed(variant.metric.name),
            rival.by_seed(variant.metric.name),
            rival.label,
            is_control=rival is not baseline,
            tuned=tuning.answer(variant.runs[0], rival.runs[0]),
            declared=declared if rival is not baseline or is_declared_baseline else replace(declared, ratio=math.nan),
            is_exploratory=declared.names_claims and not (is_declared and is_declared_metric),
            higher_is_better=variant.metric.higher_is_better,
            by_rule=rival is not baseline and not is_declared,
        )
        for rival, is_declared in rivals.values()
        if rival is not variant
    )
    return beating + tuple(_claims_on_gains(variant, variants, tuning, declared))


def _claims_on_gains(
    variant: Variant, variants: list[Variant], tuning: Tuning, declared: Declaration
) -> Iterator[Claim]:
    """The declared claims that it gains more over a row than a second row over a third, of rows with results."""
    for names in declared.gains_of(variant.recorded_name, [row.recorded_name for row in variants]):
        found = [declared_rows(name, variants, declared)[:1] for name in names]
        if not all(found):
            continue
        over, rival, rival_over = itertools.chain.from_iterable(found)
        yield claim(
            _gain(variant, over),
            _gain(rival, rival_over),
            f"{rival.label} over {rival_over.label}",
            is_control=False,
            tuned=tuning.answer_on_gains(*(row.runs[0] for row in (variant, over, rival, rival_over))),
            declared=declared,
            is_exploratory=declared.metric != variant.metric,
            higher_is_better=variant.metric.higher_is_better,
            of_gain=(over.label, rival.label, rival_over.label),
        )


def _gain(variant: Variant, over: Variant) -> dict[int, float]:
    """The difference of each seed that both have."""
    ours, theirs = (row.by_seed(row.metric.name) for row in (variant, over))
    return {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}


def _settings(variant: Variant) -> set[str]:
    return set(variant.recorded_name.split(",")[1:])


def _plain_and_small(variant: Variant) -> tuple[bool, float]:
    parameters, convolution = variant.mean("parameters"), variant.runs[0].setting("model.conv._target_")
    return convolution not in (None, STATIC_CONVOLUTION), math.inf if math.isnan(parameters) else parameters


def _is_control(variant: Variant, baseline: Variant) -> bool:
    model, plain = variant.config.get("model"), baseline.config.get("model")
    if not isinstance(model, Mapping) or not isinstance(plain, Mapping):
        return False
    heads = model.get(CONTROL_KEY), plain.get(CONTROL_KEY)
    return bool(heads[0]) and not heads[1] and _without(model, CONTROL_KEY) == _without(plain, CONTROL_KEY)


def is_equal_in_size(control: Variant, variant: Variant) -> bool:
    """Whether a variant has as many parameters as another, within CONTROL_TOLERANCE."""
    size = variant.mean("parameters")
    return abs(control.mean("parameters") - size) <= CONTROL_TOLERANCE * size


def _without(config: Mapping[str, Any], left_out: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != left_out}


def _nothing_counts(runs: Sequence[Run]) -> str:
    states = sorted({run.state for run in runs})
    counts = ", ".join(f"{sum(run.state == state for run in runs)} {state}" for state in states)
    failed = next((run for run in runs if run.error), None)
    example = f"; {failed.place}: {failed.error}" if failed else ""
    sources = ", ".join(dict.fromkeys(run.source for run in runs))
    return f"none of the {len(runs)} runs in {sources} has a result yet ({counts}){example}"
