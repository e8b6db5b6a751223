"""List what a table leaves out or mixes: whatever keeps variants from being comparable is named, not averaged over."""

import itertools
import math
from collections.abc import Callable, Hashable, Iterable
from functools import partial

from ..reading.metrics import METRICS, RESULT_SPLITS
from ..reading.run import Run
from .comparison import Comparison, declared_rows
from .declaration import ABOUT_KEYS, Declaration, recorded
from .variants import Variant
from .words import UNSET, in_words, seed_list

# Config keys in which the variants of one study should agree, unless the study is about them.
SETTINGS = ("trainer.epochs", "trainer.max_steps", "data._target_", "data.split_seed")
# Numbers that all runs of one config have in common.
CONSTANTS = ("parameters", "flops")
MOST_LABELS = 6
MEASURED = tuple(f"{split}_{metric.name}" for split in RESULT_SPLITS for metric in METRICS)
NONE_RECORDED, OTHERS_RECORDED = "did not record them", "recorded others"
NOTHING = "nothing"


def caveats(comparison: Comparison) -> list[str]:
    """One line for each reason to doubt the table, the gravest first; empty when there is none."""
    several = len(comparison.groups) > 1
    keys = [key for key in SETTINGS if key not in comparison.layout.keys]
    lines = _not_counted(comparison.runs) + _doubtful(comparison.runs) + _repeats(comparison)
    for heading, variants in comparison.groups.items():
        checks = [
            _not_finite,
            _several_digests,
            _missing_seeds,
            _same_training,
            _no_spread,
            _not_normal,
            _constants,
            _annealing,
        ]
        checks += [_resumed, _mixed]
        of_group = _declared(variants, comparison.declared[variants[0].study])
        of_group += [*(line for check in checks for line in check(variants)), *_settings(variants, keys)]
        lines += [f"{comparison.layout.titled(heading)}: {line}" if several else line for line in of_group]
    return lines


def _not_counted(runs: Iterable[Run]) -> list[str]:
    alike: dict[Hashable, list[Run]] = {}
    for run in runs:
        if not run.counts:
            alike.setdefault((run.study, run.variant, run.state, run.error), []).append(run)
    lines = []
    for members in alike.values():
        first = members[0]
        place = first.place + (f" and {len(members) - 1} more" if len(members) > 1 else "")
        who = f"{first.variant} {seed_list(run.seed for run in members)}"
        reason = f": {first.error}" if first.error else ""
        lines.append(f"not counted: {who}, {first.state}{reason} ({place})")
    return lines


def _doubtful(runs: Iterable[Run]) -> list[str]:
    return [
        f"{run.variant} seed {run.seed} has a result and counts, but {run.error} ({run.place})"
        for run in runs
        if run.counts and run.error
    ]


def _not_finite(variants: list[Variant]) -> list[str]:
    """Numbers of results that are no numbers: the mean over the seeds is none either, and a dash in a table."""
    numbers = [run.numbers for variant in variants for run in variant.runs]
    keys = dict.fromkeys(key for each in numbers for key, value in each.items() if not math.isfinite(value))
    return [
        f"{key} is {value}, and so is its mean over the seeds: {labels}"
        for key in keys
        for value, labels in _labels_by(variants, partial(_unless_finite, key)).items()
        if value
    ]


def _unless_finite(key: str, run: Run) -> str:
    value = run.numbers.get(key, 0.0)
    return "" if math.isfinite(value) else "NaN" if math.isnan(value) else "infinite"


def _repeats(comparison: Comparison) -> list[str]:
    return [
        f"{repeat.used.variant} seed {repeat.used.seed} is there twice, with "
        f"{'the same' if repeat.agrees else 'another'} test accuracy: {repeat.used.place} is used, "
        f"{repeat.unused.place} is not"
        for repeat in comparison.repeats
    ]


def _several_digests(variants: list[Variant]) -> list[str]:
    labels_by_name: dict[str, list[str]] = {}
    for variant in variants:
        labels_by_name.setdefault(variant.name, []).append(_quoted(variant.label))
    return [
        f"{name} has runs of {len(labels)} different configs, which are not averaged: {_listed(labels)}"
        for name, labels in labels_by_name.items()
        if len(labels) > 1
    ]


def _missing_seeds(variants: list[Variant]) -> list[str]:
    seeds = {seed for variant in variants for seed in variant.seeds}
    labels_by_lack: dict[str, list[str]] = {}
    for variant in variants:
        if variant.runs and (lack := seeds - set(variant.seeds)):
            labels_by_lack.setdefault(seed_list(lack), []).append(_quoted(variant.label))
    return [f"without {lack}, which others have: {_listed(labels)}" for lack, labels in labels_by_lack.items()]


def _same_training(variants: list[Variant]) -> list[str]:
    """Variants whose runs of a seed measured the same losses and accuracies: what they differ in reached nothing."""
    labels_by_outcome: dict[tuple[int, Hashable], list[str]] = {}
    for variant in variants:
        for run in variant.runs:
            outcome = {key: value for key, value in sorted(run.numbers.items()) if key.startswith(MEASURED)}
            if math.isfinite(outcome.get("test_loss", math.nan)):
                labels_by_outcome.setdefault((run.seed, tuple(outcome.items())), []).append(_quoted(variant.label))
    seeds_by_labels: dict[tuple[str, ...], list[int]] = {}
    for (seed, _), labels in labels_by_outcome.items():
        if len(labels) > 1:
            seeds_by_labels.setdefault(tuple(labels), []).append(seed)
    return [
        "every loss and accuracy is the same to the last digit, so that the settings in which these differ had no "
        f"effect: {_listed(list(labels))} ({seed_list(seeds)})"
        for labels, seeds in seeds_by_labels.items()
    ]


def _no_spread(variants: list[Variant]) -> list[str]:
    same = [
        _quoted(claim.subject(variant.label))
        + ("" if claim.is_to_baseline else f" against {_quoted(claim.rival_in_words)}")
        for variant in variants
        for claim in variant.claims
        if claim.part.difference.sd == 0
    ]
    return [f"the same Δ at every seed, which leaves p and interval undefined: {_listed(same)}"] if same else []


def _not_normal(variants: list[Variant]) -> list[str]:
    return [
        f"{claim.subject(variant.label)} against {claim.rival_in_words}: the exact sign-flip p "
        f"{claim.part.sign_flip_p:.3f} decides otherwise than the t test's {claim.part.p:.3f}, so much rests on normal "
        "differences"
        for variant in variants
        for claim in variant.claims
        if claim.is_normal_in_doubt
    ]


def _declared(variants: list[Variant], declared: Declaration) -> list[str]:
    """What the runs of a study declare differently, and rows that a declaration names and no run has brought about."""
    differing = [f"{line}; what the first seed's runs declare counts" for line in _declarations(variants)]
    if declared.flaw:
        differing = [declared.flaw, *differing]
    metric = variants[0].metric
    if declared.origin:
        differing = _applied(variants, declared) if declared.metric == metric else []
    if declared.names_claims and declared.metric != metric:
        differing.append(
            f"compared by {metric.words}, but {declared.metric.words} is declared: no comparison is a claim"
        )
    named = {"baseline": [declared.baseline] if declared.baseline else []}
    named["row"] = list(dict.fromkeys([*declared.controls, *declared.gains]))
    named |= {f"control of {variant}": list(controls) for variant, controls in declared.controls.items()}
    named |= {f"gain of {row}": list(dict.fromkeys(itertools.chain(*gains))) for row, gains in declared.gains.items()}
    missing = [
        f"the declared {role} {name} has no result"
        for role, names in named.items()
        for name in names
        if any(variant.runs for variant in variants) and not declared_rows(name, variants, declared)
    ]
    return differing + missing


def _declarations(variants: list[Variant]) -> list[str]:
    """How the declarations of runs differ, key by key; whole, in one line, where some declare nothing."""
    lines, wholes = _settings(variants, ABOUT_KEYS), _labels_by(variants, _declaration)
    return [f"about differs: {_each(wholes)}"] if len(lines) > 1 and NOTHING in wholes else lines


def _declaration(run: Run) -> str:
    told = {key.removeprefix("about."): _setting(key, run) for key in ABOUT_KEYS}
    return ", ".join(f"{key} {value}" for key, value in told.items() if value != UNSET) or NOTHING


def _applied(variants: list[Variant], declared: Declaration) -> list[str]:
    """That a file declares claims and looks for runs which recorded none, or others."""
    labels = _labels_by(variants, partial(_recorded, declared))
    who = [f"{labels[answer]} {answer}" for answer in (NONE_RECORDED, OTHERS_RECORDED) if answer in labels]
    if labels.keys() == {NONE_RECORDED}:
        who = [f"these runs {NONE_RECORDED}"]
    return [f"claims and looks are those of {declared.origin}, applied afterwards: {'; '.join(who)}"] if who else []


def _recorded(declared: Declaration, run: Run) -> str:
    """Whether a run recorded these claims and looks, as what is said of it; empty where it did."""
    own = recorded(run)
    if own.makes_claims_of(declared):
        return ""
    return OTHERS_RECORDED if own.names_claims or own.looks or own.flaw else NONE_RECORDED


def _settings(variants: list[Variant], keys: Iterable[str]) -> list[str]:
    lines = []
    for key in keys:
        labels = _labels_by(variants, partial(_setting, key))
        if len(labels) > 1:
            lines.append(f"{key} differs: {_each(labels)}")
    return lines


def _setting(key: str, run: Run) -> str:
    value = run.setting(key)
    return in_words(None if value == {} else value)


def _constants(variants: list[Variant]) -> list[str]:
    return [
        f"{variant.label}: {key} differ between its seeds ({', '.join(f'{value:.15g}' for value in values)})"
        for variant in variants
        for key in CONSTANTS
        if len(values := sorted({run.number(key) for run in variant.runs if key in run.numbers})) > 1
    ]


def _annealing(variants: list[Variant]) -> list[str]:
    """Temperatures that training left before their annealing had ended."""
    ends = _labels_by(variants, _hot_end)
    return [f"training ended at {end}: {labels}" for end, labels in ends.items() if end]


def _hot_end(run: Run) -> str:
    final, epochs, trained = (
        run.setting(f"{key}") for key in ("temperature.final", "temperature.epochs", "trainer.epochs")
    )
    if not all(isinstance(value, int | float) for value in (final, epochs, trained)) or epochs <= trained:
        return ""
    try:
        rows = run.evaluations()
    except ValueError:  # a server that no longer answers; its runs are in the table all the same
        return ""
    last = rows[-1].get("temperature") if rows else None
    return f"temperature {last:.3g}, before its annealing to {final:g}" if last is not None and last > final else ""


def _resumed(variants: list[Variant]) -> list[str]:
    threads = _labels_by(variants, lambda run: " + ".join(map(str, run.threads)) if len(run.threads) > 1 else "")
    return [
        f"resumed on another number of threads ({numbers}), so its last bits are not those of an uninterrupted run: "
        f"{labels}"
        for numbers, labels in threads.items()
        if numbers
    ]


def _mixed(variants: list[Variant]) -> list[str]:
    trees = _labels_by(variants, lambda run: "dirty" if run.dirty else "clean")
    devices = _labels_by(variants, lambda run: " + ".join(run.devices) or "unknown")
    torch = _labels_by(variants, lambda run: run.version("torch"))
    lines = _code(variants)
    lines += [f"runs with several versions of torch: {_each(torch)}"] if len(torch) > 1 else []
    if "dirty" in trees:
        lines.append(f"run with uncommitted changes: {trees['dirty'] if 'clean' in trees else 'all'}")
    return [*lines, f"training times of several devices: {_each(devices)}"] if len(devices) > 1 else lines


def _code(variants: list[Variant]) -> list[str]:
    """Runs of several commits, where the code of these numbers is not known to be the same on all of them."""
    commits = _labels_by(variants, lambda run: run.short_commit)
    sources = [source for variant in variants for run in variant.runs for source in run.sources]
    if not all(sources):
        return [f"runs of several commits: {_each(commits)}"] if len(commits) > 1 else []
    codes: dict[str, set[str]] = {}
    for module, code in (item for source in sources for item in source.items()):
        codes.setdefault(module, set()).add(str(code))
    differing = _listed(sorted(module for module, each in codes.items() if len(each) > 1))
    where = f": {_each(commits)}" if len(commits) > 1 else ""
    return [f"runs of several versions of {differing}{where}"] if differing else []


def _labels_by(variants: list[Variant], value_of: Callable[[Run], str]) -> dict[str, str]:
    """For each value, the variants that have it, with their seeds where only some of them do."""
    labels: dict[str, dict[str, str]] = {}
    for variant in variants:
        runs_by_value: dict[str, list[Run]] = {}
        for run in variant.runs:
            runs_by_value.setdefault(value_of(run), []).append(run)
        for value, runs in runs_by_value.items():
            partly = f" ({seed_list(run.seed for run in runs)})" if len(runs) < len(variant.runs) else ""
            labels.setdefault(value, {})[_quoted(variant.label)] = partly
    return {value: _rows(several, len(variants)) for value, several in labels.items()}


def _rows(seeds: dict[str, str], count: int) -> str:
    """Variants with the words of their seeds; in one where these are the same seeds of all of them."""
    same = set(seeds.values())
    if len(seeds) == count > 1 and len(same) == 1 and same != {""}:
        return f"all {count} rows{same.pop()}"
    return _listed([label + partly for label, partly in seeds.items()])


def _quoted(label: str) -> str:
    """A label fit for a list with commas."""
    return f"'{label}'" if "," in label else label


def _listed(labels: list[str]) -> str:
    more = len(labels) - MOST_LABELS
    return ", ".join(labels) if more <= 1 else ", ".join(labels[:MOST_LABELS]) + f" and {more} more"


def _each(labels_by_value: dict[str, str]) -> str:
    return "; ".join(f"{value} for {labels}" for value, labels in labels_by_value.items())
