"""Runs read from run folders, found at any depth; metrics and checkpoints are never opened."""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from analysis.runs import NO_SEED, Run

SEED_FOLDER = re.compile(r"seed(\d+)")
STUDY_OR_SEED_LINE = re.compile(r"^(study|seed):[ \t]*(.*?)[ \t\r]*$\n?", re.MULTILINE)
ERROR_LENGTH = 160
# The same safe loader, compiled where PyYAML was built with libyaml.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """A JSON file of a run folder: its object, empty when the file is absent or, as `flaw` says, unusable."""

    content: Mapping[str, Any] = field(default_factory=dict)
    flaw: str = ""
    exists: bool = True


class RunFolders:
    """Reads run folders; remembers which it has read, so that overlapping sources count a run once."""

    def __init__(self) -> None:
        self._read: set[str] = set()
        self._configs: dict[str, Mapping[str, Any]] = {}

    def read(self, source: str) -> list[Run]:
        """Runs at or below the folder, sorted by path, without those read before.

        Raises ValueError when it is no folder, cannot be listed, or holds no run at all.
        """
        if not os.path.isdir(source):
            raise ValueError(f"{source} is not a folder; a SOURCE is a folder with runs, e.g. outputs/lab_3x3")
        places = {os.path.realpath(place): place for place in run_folders(source)}
        if not places:
            raise ValueError(
                f"no runs found in {source}: looked at any depth for folders with result.json or "
                "status.json, or named seed<number> with config.yaml"
            )
        runs = [self._run(source, place) for real, place in places.items() if real not in self._read]
        self._read.update(places)
        return runs

    def _run(self, source: str, place: str) -> Run:
        result = _json_file(place, "result.json")
        provenance = _json_file(place, "provenance.json").content
        attempts = [provenance, *_objects(provenance.get("resumed"))]
        numbers, flaw = _numbers(result)
        header, config = self._config(place)
        study, variant, seed = _identity(place, {**header, **result.content})
        if numbers and seed == NO_SEED:
            numbers, flaw = {}, "neither result.json, config.yaml nor the folder's name tells the seed"
        state, error = _state(_json_file(place, "status.json"), result.exists, flaw)
        return Run(
            source=source,
            place=place,
            study=study,
            variant=variant,
            seed=seed,
            state=state,
            error=error,
            numbers=numbers,
            digest=str(result.content.get("config_digest") or ""),
            commits=_distinct(attempt.get("commit") for attempt in attempts),
            devices=_distinct(attempt.get("device") for attempt in attempts),
            dirty=any(attempt.get("dirty") is True for attempt in attempts),
            config=config,
        )

    def _config(self, place: str) -> tuple[dict[str, str], Mapping[str, Any]]:
        """Study and seed line of config.yaml, and the rest of it, parsed once for all runs that share it."""
        try:
            with open(os.path.join(place, "config.yaml"), encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError):
            return {}, {}
        header = {key: value.strip("'\"") for key, value in STUDY_OR_SEED_LINE.findall(text)}
        shared = STUDY_OR_SEED_LINE.sub("", text)
        if shared not in self._configs:
            self._configs[shared] = _parsed(shared)
        return header, self._configs[shared]


def run_folders(source: str) -> Iterator[str]:
    """Paths of the run folders at or below a folder, sorted; nothing inside a run folder is a run of its own.

    Hidden folders, where `rerun=true` sets old runs aside, and W&B's are left out. Raises ValueError for a
    folder that cannot be listed.
    """
    pending, visited = [source], set()
    while pending:
        folder = pending.pop()
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            raise ValueError(f"cannot list {folder}: {error.strerror}") from error
        if _is_run_folder(real, {entry.name for entry in entries}):
            yield folder
        else:
            pending += [e.path for e in entries if e.is_dir() and e.name != "wandb" and e.name[0] != "."]


def _is_run_folder(real: str, names: set[str]) -> bool:
    if names & {"result.json", "status.json"}:
        return True
    return "config.yaml" in names and SEED_FOLDER.fullmatch(os.path.basename(real)) is not None


def _json_file(place: str, name: str) -> Document:
    try:
        with open(os.path.join(place, name), encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        return Document(exists=False)
    except OSError as error:
        return Document(flaw=f"{name} cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        return Document(flaw=f"{name} is not valid JSON; was its writing cut off?")
    if not isinstance(content, dict):
        return Document(flaw=f"{name} holds no JSON object")
    return Document(content)


def _parsed(config: str) -> Mapping[str, Any]:
    try:
        content = yaml.load(config, Loader=YAML_LOADER)
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _numbers(result: Document) -> tuple[dict[str, float], str]:
    """Numbers of a usable result, else none and the flaw."""
    if not result.exists or result.flaw:
        return {}, result.flaw
    numbers = {
        key: float(value)
        for key, value in result.content.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if 0 <= numbers.get("test_accuracy", math.nan) <= 1:
        return numbers, ""
    found = result.content.get("test_accuracy", "absent")
    return {}, f"test_accuracy in result.json is {found}, not a fraction between 0 and 1"


def _state(status: Document, has_result: bool, flaw: str) -> tuple[str, str]:
    """State and one-line error of a run, from its status.json and from what is wrong with its result."""
    state = str(status.content.get("state") or "")
    if flaw:
        return "unreadable", flaw
    if has_result:
        return state or "completed", status.flaw
    if state in ("", "completed"):
        return "incomplete", status.flaw or f"{f'state {state}' if state else 'no state'} and no result.json"
    return state, _one_line(status.content.get("error"))


def _one_line(error: Any) -> str:
    if isinstance(error, Mapping):
        error = ": ".join(str(error[key]) for key in ("type", "message") if error.get(key))
    text = next((line.strip() for line in str(error or "").splitlines() if line.strip()), "")
    return text if len(text) <= ERROR_LENGTH else text[: ERROR_LENGTH - 3] + "..."


def _identity(place: str, told: Mapping[str, Any]) -> tuple[str, str, int]:
    """Study, variant and seed as the run's files tell them, else from the path's `study/variant/seed<k>`."""
    study, variant, folder = ["", "", "", *os.path.abspath(place).split(os.sep)][-3:]
    match = SEED_FOLDER.fullmatch(folder)
    try:
        seed = int(told["seed"])
    except (KeyError, TypeError, ValueError, OverflowError):
        seed = int(match[1]) if match else NO_SEED
    return str(told.get("study") or study), str(told.get("variant") or variant), seed


def _distinct(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(value) for value in values if value))


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
