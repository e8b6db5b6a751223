"""The text of a run's files as data: bounded in size, and damage is named."""

from __future__ import annotations

import errno
import json
import math
import pickle
import re
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

# The same safe loader, compiled where PyYAML was built with libyaml.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A config has about a hundred; YAML's aliases make billions of a few lines.
MOST_VALUES = 10_000
DEEPEST = 50
# Those files have some kilobytes, and metrics.jsonl a few hundred bytes an evaluation.
MOST_BYTES, MOST_BYTES_OF_ROWS = 10_000_000, 100_000_000
MOST_DIGITS = 19  # more are no count of anything; as a float such a number is harmless
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


def bounded(path: Path, most: int = MOST_BYTES) -> Path:
    """The path of a file that can be read whole. Raises OSError for one that has more bytes, and for a pipe or a
    device, at which reading may not end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return path


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
    if flaw := _size_flaw(content):
        raise ValueError(f"not the config of a run ({flaw})")
    return content


def _size_flaw(content: Any) -> str:
    """What is too much of a config, lists and mappings counted too, each alias as often as it is used."""
    pending, number = [(content, 1)], 0
    while pending:
        node, depth = pending.pop()
        inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        number += 1
        if number + len(pending) > MOST_VALUES:
            return f"more than {MOST_VALUES:,} values"
        if inside and depth > DEEPEST:
            return f"nested more than {DEEPEST} deep"
        pending += [(value, depth + 1) for value in inside]
    return ""


def read_json(path: Path, *, strict: bool = True) -> dict[str, Any] | None:
    """The object in a JSON file, None when there is no file. A strict reader raises DamagedFile when it holds none, to
    another that is None too."""
    try:
        return parse_object(bounded(path).read_text(encoding="utf-8"))
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


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)


JSON = json.JSONDecoder(parse_int=_integer)


def parse_object(text: str) -> dict[str, Any]:
    """The JSON object of a text. Raises ValueError, saying what is wrong, when it is none."""
    try:
        content = JSON.decode(text)
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
