"""What was run: of each variant the config, where its runs come from, and the runs themselves as a table."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from dynfilt.identity import flatten

from ..comparing.variants import Variant
from ..comparing.words import seed_list
from ..reading.run import Run
from ..tables import numbers
from ..tables.columns import COLUMNS
from ..tables.table import Column, Heading, Sheet, Table, column

INDENT = "  "
ABSENT = object()
WIDE = 10**6
HEADINGS = {column.key: column.heading for column in COLUMNS}
RUN_COLUMNS: tuple[Column[Run], ...] = (
    column("seed", Heading("seed"), lambda run: run.seed),
    column("test_accuracy", HEADINGS["accuracy"], lambda run: run.number("test_accuracy"), numbers.percent),
    column("val_accuracy", HEADINGS["val"], lambda run: run.number("val_accuracy"), numbers.percent),
    column("best_epoch", HEADINGS["best_epoch"], lambda run: run.number("best_epoch"), numbers.amount),
    column("train_seconds", HEADINGS["train"], lambda run: run.number("train_seconds"), numbers.amount),
    column("state", Heading("state", is_text=True), lambda run: run.state),
    column("place", Heading("place", is_text=True), lambda run: run.place),
)


@dataclass(frozen=True)
class ConfigLine:
    """One line of YAML; `instead` is what the other config has there, None where both agree."""

    text: str
    instead: str | None = None

    @property
    def yaml(self) -> str:
        """The line with the other's value as a comment."""
        return self.text if self.instead is None else f"{self.text}  # {self.instead}"


@dataclass(frozen=True)
class Details:
    """Of one variant: its config, with what differs from the baseline's; facts by name; its runs."""

    group: str
    label: str
    is_baseline: bool
    config: list[ConfigLine]
    facts: dict[str, str]
    runs: Table


def details_of(variants: Sequence[Variant]) -> list[Details]:
    """The details of the variants of one group that have runs, in the table's order."""
    baseline = next((variant for variant in variants if variant.is_baseline), None)
    return [_details(variant, baseline) for variant in variants if variant.runs]


def config_lines(config: Mapping[str, Any], other: Mapping[str, Any] | None, name: str) -> list[ConfigLine]:
    """A config as lines of YAML; where it differs from `other`, the config of `name`, they show what that has.

    Keys that only the other has come last. Without another config nothing is marked.
    """
    if other is None:
        return list(_lines(config, config, name, ""))
    here, there = flatten(dict(config)), flatten(dict(other))
    lacking = [
        key
        for key in there
        if not any(key == own or key.startswith(f"{own}.") or own.startswith(f"{key}.") for own in here)
    ]
    only_there = [ConfigLine(f"# not here: {key}", f"{name}: {_yaml(there[key])}") for key in lacking]
    return [*_lines(config, other, name, ""), *only_there]


def _details(variant: Variant, baseline: Variant | None) -> Details:
    other = None if baseline is None or variant is baseline else baseline.runs[0].config
    lines = config_lines(variant.runs[0].config, other, variant.baseline)
    facts = {name: _for_all(variant.runs, fact) for name, fact in FACTS.items()}
    runs = Sheet(RUN_COLUMNS, variant.runs).table()
    return Details(variant.group, variant.label, variant.is_baseline, lines, facts, runs)


def _lines(config: Mapping[str, Any], other: Any, name: str, indent: str) -> Iterator[ConfigLine]:
    for key, value in config.items():
        theirs = other.get(key, ABSENT) if isinstance(other, Mapping) else ABSENT
        instead = f"{name}: {'absent' if theirs is ABSENT else _yaml(theirs)}"
        if isinstance(value, Mapping) and value:
            yield ConfigLine(f"{indent}{_yaml(key)}:", None if isinstance(theirs, Mapping) else instead)
            yield from _lines(value, theirs, name, indent + INDENT)
        else:
            agrees = theirs == value and type(theirs) is type(value)
            yield ConfigLine(f"{indent}{_yaml(key)}: {_yaml(value)}", None if agrees else instead)


def _yaml(value: Any) -> str:
    """A value, list or word on one line of YAML; what would take several is written as JSON, which is YAML too."""
    text = yaml.safe_dump(value, default_flow_style=True, width=WIDE, allow_unicode=True, sort_keys=False)
    line = text.removesuffix("\n").removesuffix("\n...")
    return line if len(line.splitlines()) == 1 else json.dumps(value, default=str)


def _for_all(runs: Sequence[Run], fact: Callable[[Run], str]) -> str:
    """A fact of all runs, or each value with the seeds that have it."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(fact(run) or "not recorded", []).append(run.seed)
    if len(seeds) == 1:
        return next(iter(seeds))
    return "; ".join(f"{value} ({seed_list(some)})" for value, some in seeds.items())


def _commit(run: Run) -> str:
    return f"{run.short_commit}, with uncommitted changes" if run.dirty else run.short_commit


def _versions(run: Run) -> str:
    versions = run.provenance.get("versions")
    pairs = versions.items() if isinstance(versions, Mapping) else ()
    return ", ".join(f"{name} {version}" for name, version in pairs if version)


def _device(run: Run) -> str:
    threads = run.provenance.get("threads")
    device = " + ".join(run.devices)
    return f"{device}, {threads} thread{'s' * (threads != 1)}" if device and threads else device


def _platform(run: Run) -> str:
    return _text(run.provenance.get("platform"))


def _command(run: Run) -> str:
    words = run.provenance.get("command")
    return shlex.join(str(word) for word in words) if isinstance(words, list) else _text(words)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


FACTS: dict[str, Callable[[Run], str]] = {
    "commit": _commit,
    "versions": _versions,
    "device": _device,
    "platform": _platform,
    "command": _command,
}
