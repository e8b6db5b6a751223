"""Runs read from run folders, found at any depth; metrics and checkpoints are never opened."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from .find_runs import SEED_FOLDER, search
from .results import one_line, provenance_of, settings, usable_numbers
from .run import NO_SEED, Run

STUDY_OR_SEED_LINE = re.compile(r"^(study|seed):[ \t]*(.*?)[ \t\r]*$\n?", re.MULTILINE)
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
        places = search(source).run_folders
        if not places:
            raise ValueError(
                f"no runs found in {source}: looked at any depth for folders with result.json or "
                "status.json, or named seed<number> with config.yaml"
            )
        return self.read_places(source, places)

    def read_places(self, source: str, places: Iterable[str]) -> list[Run]:
        """The runs of these run folders, in the given order, without those read before."""
        fresh = {os.path.realpath(place): place for place in places}
        runs = [self._run(source, place) for real, place in fresh.items() if real not in self._read]
        self._read.update(fresh)
        return runs

    def _run(self, source: str, place: str) -> Run:
        result = _json_file(place, "result.json")
        provenance = _json_file(place, "provenance.json").content
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
            config=config,
            **provenance_of(provenance),
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
    return settings(content) if isinstance(content, dict) else {}


def _numbers(result: Document) -> tuple[dict[str, float], str]:
    """Numbers of a usable result, else none and the flaw."""
    if not result.exists or result.flaw:
        return {}, result.flaw
    return usable_numbers(result.content, "result.json")


def _state(status: Document, has_result: bool, flaw: str) -> tuple[str, str]:
    """State and one-line error of a run, from its status.json and from what is wrong with its result."""
    state = str(status.content.get("state") or "")
    if flaw:
        return "unreadable", flaw
    if has_result:
        return state or "completed", status.flaw
    if state in ("", "completed"):
        return "incomplete", status.flaw or f"{f'state {state}' if state else 'no state'} and no result.json"
    return state, one_line(status.content.get("error"))


def _identity(place: str, told: Mapping[str, Any]) -> tuple[str, str, int]:
    """Study, variant and seed as the run's files tell them, else from the path's `study/variant/seed<k>`."""
    study, variant, folder = ["", "", "", *os.path.abspath(place).split(os.sep)][-3:]
    match = SEED_FOLDER.fullmatch(folder)
    try:
        seed = int(told["seed"])
    except (KeyError, TypeError, ValueError, OverflowError):
        seed = int(match[1]) if match else NO_SEED
    return str(told.get("study") or study), str(told.get("variant") or variant), seed
