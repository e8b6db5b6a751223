"""The text of a run's files as data: bounded in size, and damage is named."""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

# The same safe loader, compiled where PyYAML was built with libyaml.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A config has about a hundred; YAML's aliases make billions of a few lines.
MOST_VALUES = 10_000
SEED_LINE = re.compile(r"^seed: (0|[1-9]\d*)$", re.MULTILINE | re.ASCII)
RERUN = "; rerun=true sets the run aside, rerun=damaged mends it"


class DamagedFile(ValueError):
    """A file of a run that cannot be read.

    The message is the path, the `problem` that goes on from it, and the way out; `flaw` has the file's name alone.
    """

    def __init__(self, path: Path, problem: str, way_out: str = "") -> None:
        super().__init__(f"{path}{problem}{way_out}")
        self.problem = problem.lstrip(": ")
        self.flaw = f"{path.name}{problem}"


def parse_config(text: str) -> dict[str, Any]:
    """The keys of a config as it was written. Raises ValueError when there are none."""
    seeds = SEED_LINE.findall(text)
    if len(seeds) != 1:
        return _parse(text)
    content = pickle.loads(_parsed_once(SEED_LINE.sub("seed: 0", text)))
    return {**content, "seed": int(seeds[0])}


@lru_cache(maxsize=256)
def _parsed_once(text: str) -> bytes:
    """A config, parsed once for all seeds of a variant, as pickle: each reader needs a copy of its own."""
    return pickle.dumps(_parse(text))


def _parse(text: str) -> dict[str, Any]:
    try:
        content = yaml.load(text, Loader=YAML_LOADER)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not the config of a run ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise ValueError("not the config of a run (no keys)")
    if sum(1 for _ in islice(_values(content), MOST_VALUES + 1)) > MOST_VALUES:
        raise ValueError(f"not the config of a run (more than {MOST_VALUES:,} values)")
    return content


def _values(node: Any) -> Iterator[Any]:
    """What a config holds, lists and mappings counted too, each alias as often as it is used."""
    yield node
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for value in inside:
        yield from _values(value)


def read_json(path: Path, *, strict: bool = True) -> dict[str, Any] | None:
    """The object in a JSON file, None when there is no file. A strict reader raises DamagedFile when it holds none, to
    another that is None too."""
    try:
        return parse_object(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        problem = f" cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = " is not UTF-8 text"
    except ValueError as error:
        problem = f" {error}"
    if strict:
        raise DamagedFile(path, problem, RERUN)
    return None


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object of a text. Raises ValueError, saying what is wrong, when it is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not valid JSON; was its writing cut off?") from error
    if not isinstance(content, dict):
        raise ValueError("holds no JSON object")
    return content


def attempts_of(provenance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What was noted of each attempt at a run, the first one first."""
    resumed = provenance.get("resumed")
    later = [entry for entry in resumed if isinstance(entry, Mapping)] if isinstance(resumed, list) else []
    return [provenance, *later]


def accuracy_flaw(result: Mapping[str, Any], where: str) -> str:
    """What is wrong with a result's accuracy, without which it is none; empty when nothing is."""
    accuracy = result.get("test_accuracy", "absent")
    if type(accuracy) in (float, int) and 0 <= accuracy <= 1 and math.isfinite(accuracy):
        return ""
    return f"test_accuracy in {where} is {accuracy}, not a fraction between 0 and 1"
