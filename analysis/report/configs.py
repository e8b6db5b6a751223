"""A config as YAML, line by line, with what differs from another one marked."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from dynfilt.run.identity import flatten

INDENT = "  "
ABSENT = object()
WIDE = 10**6


@dataclass(frozen=True)
class ConfigLine:
    """One line of YAML; `instead` is what the other config has there, None where both agree."""

    text: str
    instead: str | None = None

    @property
    def yaml(self) -> str:
        """The line with the other's value as a comment."""
        return self.text if self.instead is None else f"{self.text}  # {self.instead}"


def config_lines(config: Mapping[str, Any], other: Mapping[str, Any] | None, name: str) -> list[ConfigLine]:
    """The lines of `config`; where it differs from `other`, the config of `name`, they tell what that has.

    Keys that only the other has come last. Without another config nothing is marked.
    """
    if other is None:
        return list(_lines(config, config, name, ""))
    here, there = flatten(dict(config)), flatten(dict(other))
    lacking = [
        key
        for key in there
        if not any(key == known or key.startswith(f"{known}.") or known.startswith(f"{key}.") for known in here)
    ]
    only_there = [ConfigLine(f"# not here: {key}", f"{name}: {_value(there[key])}") for key in lacking]
    return [*_lines(config, other, name, ""), *only_there]


def _lines(config: Mapping[str, Any], other: Any, name: str, indent: str) -> Iterator[ConfigLine]:
    for key, value in config.items():
        theirs = other.get(key, ABSENT) if isinstance(other, Mapping) else ABSENT
        if isinstance(value, Mapping) and value:
            instead = None if isinstance(theirs, Mapping) else _told(theirs, name)
            yield ConfigLine(f"{indent}{_value(key)}:", instead)
            yield from _lines(value, theirs, name, indent + INDENT)
        else:
            instead = None if theirs == value and type(theirs) is type(value) else _told(theirs, name)
            yield ConfigLine(f"{indent}{_value(key)}: {_value(value)}", instead)


def _told(theirs: Any, name: str) -> str:
    if theirs is ABSENT:
        return f"{name}: absent"
    return f"{name}: {_value(theirs)}"


def _value(value: Any) -> str:
    """A value, list or word on one line of YAML; what would take several is written as JSON, which is YAML too."""
    text = yaml.safe_dump(value, default_flow_style=True, width=WIDE, allow_unicode=True, sort_keys=False)
    line = text.removesuffix("\n").removesuffix("\n...")
    return line if len(line.splitlines()) == 1 else json.dumps(value, default=str)
