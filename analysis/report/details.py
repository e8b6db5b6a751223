"""The details of each variant: the config, where its runs come from, and the runs themselves as a table."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from dynfilt.run.identity import flatten

from ..comparing.variants import Variant
from ..comparing.words import in_words, seed_list
from ..reading.run import Run
from ..tables import numbers
from ..tables.columns import COLUMNS
from ..tables.numbers import MISSING
from ..tables.table import Column, Heading, Row, Sheet, Table, column

INDENT = "  "
ABSENT = object()
WIDE = 10**6
# Up to so many variants have their whole config.
IN_FULL = 24
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
    """The details of the variants of one group that have runs, in the table's order.

    Of very many only the baseline's config is given in full, of the others what differs from it.
    """
    baseline = next((variant for variant in variants if variant.is_baseline), None)
    with_results = [variant for variant in variants if variant.runs]
    return [_details(variant, baseline, in_full=len(with_results) <= IN_FULL) for variant in with_results]


def differing(variants: Sequence[Variant]) -> Table | None:
    """A row a variant, a column for each config key in which some of them differ; None where none do."""
    configs = {variant.label: flatten(dict(variant.config)) for variant in variants if variant.runs}
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    words = {key: [in_words(config[key]) if key in config else MISSING for config in configs.values()] for key in keys}
    keys_that_differ = [key for key, values in words.items() if len(set(values)) > 1]
    if not keys_that_differ:
        return None
    headings = [Heading("variant", is_text=True), *(Heading(key, is_text=True) for key in keys_that_differ)]
    rows = [
        Row((label, *(words[key][place] for key in keys_that_differ)), (False,) * len(headings))
        for place, label in enumerate(configs)
    ]
    return Table("What differs", "", tuple(headings), {"": rows})


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


def _details(variant: Variant, baseline: Variant | None, in_full: bool) -> Details:
    other = None if baseline is None or variant is baseline else baseline.config
    if in_full or other is None:
        lines = config_lines(variant.config, other, variant.baseline)
    else:
        here, there = flatten(dict(variant.config)), flatten(dict(other))
        changed = {key: value for key, value in here.items() if there.get(key, ABSENT) != value}
        lines = [*_lines(changed, there, variant.baseline, ""), ConfigLine(f"# all else as in {variant.baseline}")]
    runs = Sheet(RUN_COLUMNS, variant.runs).table()
    return Details(variant.group, variant.label, variant.is_baseline, lines, _facts(variant.runs), runs)


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


def _facts(runs: Sequence[Run]) -> dict[str, str]:
    """Each fact of all runs, or each of its values with the seeds that have it."""
    seeds: dict[str, dict[str, list[int]]] = {}
    for run in runs:
        for name, fact in _facts_of_run(run).items():
            seeds.setdefault(name, {}).setdefault(fact or "not recorded", []).append(run.seed)
    return {
        name: "; ".join(f"{fact} ({seed_list(some)})" if len(facts) > 1 else fact for fact, some in facts.items())
        for name, facts in seeds.items()
    }


def _facts_of_run(run: Run) -> dict[str, str]:
    versions, command, platform = (run.provenance.get(key) for key in ("versions", "command", "platform"))
    threads, device = run.provenance.get("threads"), " + ".join(run.devices)
    packages = versions.items() if isinstance(versions, Mapping) else ()
    return {
        "commit": f"{run.short_commit}, with uncommitted changes" if run.dirty else run.short_commit,
        "versions": ", ".join(f"{name} {version}" for name, version in packages if version),
        "device": f"{device}, {threads} thread{'s' * (threads != 1)}" if device and threads else device,
        "platform": str(platform or ""),
        "command": shlex.join(map(str, command)) if isinstance(command, list) else str(command or ""),
    }
