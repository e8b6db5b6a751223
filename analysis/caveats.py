"""What a table leaves out or mixes: every reason for which its rows may not be comparable, said and not averaged over."""

from collections.abc import Callable, Iterable
from typing import Any

from analysis.comparison import Comparison, Row
from analysis.footer import short_commit
from analysis.runs import Run, seed_list

SETTINGS = ("trainer.epochs", "trainer.max_steps", "data._target_", "data.split_seed")
"""Config keys in which the variants of one study should agree, unless the study is about them."""
CONSTANTS = ("parameters", "flops")
"""Numbers that all runs of one config have in common."""

LISTED = 6


def caveats(comparison: Comparison) -> list[str]:
    """One line for each reason, the gravest first; empty when there is nothing to say."""
    several = len(comparison.studies) > 1
    lines = _not_counted(comparison.runs) + _doubtful(comparison.runs) + _repeats(comparison)
    for study, rows in comparison.studies.items():
        found = (
            _several_digests(rows)
            + _missing_seeds(rows)
            + _settings(rows)
            + _constants(rows)
            + _commits(rows)
        )
        lines += [f"{study}: {line}" if several else line for line in found]
    return lines


def _grouped(runs: Iterable[Run], key: Callable[[Run], Any]) -> dict[Any, list[Run]]:
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def _not_counted(runs: Iterable[Run]) -> list[str]:
    left_out = [run for run in runs if not run.counts]
    groups = _grouped(left_out, lambda run: (run.variant, run.state, run.error, run.study))
    lines = []
    for (variant, state, error, _), members in groups.items():
        known = {"running": "running or killed", "set aside": "set aside"}.get(state, state)
        where = members[0].place + (f" and {len(members) - 1} more" if len(members) > 1 else "")
        reason = f": {error}" if error else ""
        lines.append(
            f"not counted: {variant} {seed_list(r.seed for r in members)}, {known} ({where}){reason}"
        )
    return lines


def _doubtful(runs: Iterable[Run]) -> list[str]:
    doubtful = [run for run in runs if run.counts and run.state != "completed"]
    return [
        f"{run.variant} seed {run.seed} counts, since it has a result, but {run.error or f'its state is {run.state}'} ({run.place})"
        for run in doubtful
    ]


def _repeats(comparison: Comparison) -> list[str]:
    return [
        f"{repeat.used.variant} seed {repeat.used.seed} is there twice, with {'the same' if repeat.agrees else 'another'} test "
        f"accuracy: {repeat.used.place} is used, {repeat.unused.place} is not"
        for repeat in comparison.repeats
    ]


def _several_digests(rows: list[Row]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row.variant, []).append(row.label)
    return [
        f"{variant} has runs of {len(labels)} different configs, which are not averaged: {_listed(labels)}"
        for variant, labels in groups.items()
        if len(labels) > 1
    ]


def _missing_seeds(rows: list[Row]) -> list[str]:
    seeds = {seed for row in rows for seed in row.seeds}
    labels_by_lack: dict[str, list[str]] = {}
    for row in rows:
        if row.runs and (lack := seeds - set(row.seeds)):
            labels_by_lack.setdefault(seed_list(lack), []).append(row.label)
    return [
        f"without {lack}, which others have: {_listed(labels)}" for lack, labels in labels_by_lack.items()
    ]


def _settings(rows: list[Row]) -> list[str]:
    lines = []
    for key in SETTINGS:
        values = _labels_by_value(
            rows, lambda run, key=key: "unset" if run.setting(key) is None else str(run.setting(key))
        )
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
    lines = []
    commits = _labels_by_value(rows, short_commit)
    if len(commits) > 1:
        lines.append(f"runs of several commits: {_in_words(commits)}")
    dirty = _labels_by_value(rows, lambda run: "dirty" if run.dirty else "")
    if "dirty" in dirty:
        lines.append(f"run from a tree with uncommitted changes: {dirty['dirty']}")
    return lines


def _labels_by_value(rows: list[Row], value_of: Callable[[Run], str]) -> dict[str, str]:
    """For each value, the rows that have it, with their seeds where only some of them do."""
    found: dict[str, list[str]] = {}
    for row in rows:
        for value, runs in _grouped(row.runs, value_of).items():
            partly = f" {seed_list(run.seed for run in runs)}" if len(runs) < len(row.runs) else ""
            found.setdefault(value, []).append(row.label + partly)
    return {value: _listed(labels) for value, labels in found.items()}


def _listed(labels: list[str]) -> str:
    more = len(labels) - LISTED
    return ", ".join(labels) if more <= 1 else ", ".join(labels[:LISTED]) + f" and {more} more"


def _in_words(labels_by_value: dict[str, str]) -> str:
    return "; ".join(f"{value} ({labels})" for value, labels in labels_by_value.items())
