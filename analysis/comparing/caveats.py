"""What a table leaves out or mixes: whatever keeps rows from being comparable is said, not averaged over."""

from collections.abc import Callable, Hashable, Iterable
from functools import partial

from ..reading.run import Run, seed_list
from ..tables.footer import short_commit
from .arrangement import in_words
from .comparison import Comparison
from .variants import Row

# Config keys in which the variants of one study should agree, unless the study is about them.
SETTINGS = ("trainer.epochs", "trainer.max_steps", "data._target_", "data.split_seed")
# Numbers that all runs of one config have in common.
CONSTANTS = ("parameters", "flops")
LISTED = 6


def caveats(comparison: Comparison) -> list[str]:
    """One line a reason, the gravest first; empty when there is nothing to say."""
    several = len(comparison.groups) > 1
    lines = _not_counted(comparison.runs) + _doubtful(comparison.runs) + _repeats(comparison)
    for heading, rows in comparison.groups.items():
        found = [line for check in CHECKS for line in check(rows)]
        found += _settings(rows, [key for key in SETTINGS if key not in comparison.layout.keys])
        lines += [f"{comparison.layout.titled(heading)}: {line}" if several else line for line in found]
    return lines


def _not_counted(runs: Iterable[Run]) -> list[str]:
    groups: dict[Hashable, list[Run]] = {}
    for run in runs:
        if not run.counts:
            groups.setdefault((run.study, run.variant, run.state, run.error), []).append(run)
    lines = []
    for members in groups.values():
        first = members[0]
        state = "running or killed" if first.state == "running" else first.state
        place = first.place + (f" and {len(members) - 1} more" if len(members) > 1 else "")
        who = f"{first.variant} {seed_list(run.seed for run in members)}"
        lines.append(f"not counted: {who}, {state}{f': {first.error}' if first.error else ''} ({place})")
    return lines


def _doubtful(runs: Iterable[Run]) -> list[str]:
    return [
        f"{run.variant} seed {run.seed} has a result and counts, but "
        f"{run.error or f'its state is {run.state}'} ({run.place})"
        for run in runs
        if run.counts and run.state != "completed"
    ]


def _repeats(comparison: Comparison) -> list[str]:
    return [
        f"{repeat.used.variant} seed {repeat.used.seed} is there twice, with "
        f"{'the same' if repeat.agrees else 'another'} test accuracy: {repeat.used.place} is used, "
        f"{repeat.unused.place} is not"
        for repeat in comparison.repeats
    ]


def _several_digests(rows: list[Row]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(_quoted(row.label))
    return [
        f"{name} has runs of {len(labels)} different configs, which are not averaged: {_listed(labels)}"
        for name, labels in groups.items()
        if len(labels) > 1
    ]


def _missing_seeds(rows: list[Row]) -> list[str]:
    seeds = {seed for row in rows for seed in row.seeds}
    labels_by_lack: dict[str, list[str]] = {}
    for row in rows:
        if row.runs and (lack := seeds - set(row.seeds)):
            labels_by_lack.setdefault(seed_list(lack), []).append(_quoted(row.label))
    return [f"without {lack}, which others have: {_listed(labels)}" for lack, labels in labels_by_lack.items()]


def _no_spread(rows: list[Row]) -> list[str]:
    same = [_quoted(row.label) for row in rows if row.paired and row.paired.difference.sd == 0]
    return [f"the same Δ at every seed, which leaves p and interval undefined: {_listed(same)}"] if same else []


def _settings(rows: list[Row], keys: Iterable[str]) -> list[str]:
    lines = []
    for key in keys:
        values = _rows_by(rows, partial(_setting, key))
        if len(values) > 1:
            lines.append(f"{key} differs: {_in_words(values)}")
    return lines


def _constants(rows: list[Row]) -> list[str]:
    return [
        f"{row.label}: {key} differ between its seeds ({', '.join(f'{value:.15g}' for value in values)})"
        for row in rows
        for key in CONSTANTS
        if len(values := sorted({run.number(key) for run in row.runs if key in run.numbers})) > 1
    ]


def _commits(rows: list[Row]) -> list[str]:
    commits = _rows_by(rows, short_commit)
    return [f"runs of several commits: {_in_words(commits)}"] if len(commits) > 1 else []


def _dirty(rows: list[Row]) -> list[str]:
    trees = _rows_by(rows, lambda run: "dirty" if run.dirty else "clean")
    if "dirty" not in trees:
        return []
    return [f"run with uncommitted changes: {trees['dirty'] if 'clean' in trees else 'all'}"]


def _devices(rows: list[Row]) -> list[str]:
    devices = _rows_by(rows, lambda run: " + ".join(run.devices) or "unknown")
    return [f"training times of several devices: {_in_words(devices)}"] if len(devices) > 1 else []


CHECKS: tuple[Callable[[list[Row]], list[str]], ...] = (
    _several_digests,
    _missing_seeds,
    _no_spread,
    _constants,
    _commits,
    _dirty,
    _devices,
)


def _rows_by(rows: list[Row], value_of: Callable[[Run], str]) -> dict[str, str]:
    """For each value, the rows that have it, with their seeds where only some of them do."""
    found: dict[str, list[str]] = {}
    for row in rows:
        runs_by_value: dict[str, list[Run]] = {}
        for run in row.runs:
            runs_by_value.setdefault(value_of(run), []).append(run)
        for value, runs in runs_by_value.items():
            partly = f" ({seed_list(run.seed for run in runs)})" if len(runs) < len(row.runs) else ""
            found.setdefault(value, []).append(_quoted(row.label) + partly)
    return {value: _listed(labels) for value, labels in found.items()}


def _setting(key: str, run: Run) -> str:
    return in_words(run.setting(key))


def _quoted(label: str) -> str:
    """A label fit for a list with commas."""
    return f"'{label}'" if "," in label else label


def _listed(labels: list[str]) -> str:
    more = len(labels) - LISTED
    return ", ".join(labels) if more <= 1 else ", ".join(labels[:LISTED]) + f" and {more} more"


def _in_words(rows_by_value: dict[str, str]) -> str:
    return "; ".join(f"{value} for {rows}" for value, rows in rows_by_value.items())
