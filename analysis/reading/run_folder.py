"""What a run folder holds, file by file: the one page of analysis that knows their names and bears damage."""

import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import yaml

from .find_runs import SEED_FOLDER
from .run import NO_SEED, Run, one_line, provenance_of, settings, usable_numbers

STUDY_OR_SEED_LINE = re.compile(r"^(study|seed):[ \t]*(.*?)[ \t\r]*$\n?", re.MULTILINE)
# The same safe loader, compiled where PyYAML was built with libyaml.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
METRICS = "metrics.jsonl"
PREDICTIONS = "test_predictions.npz"


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

    def read(self, source: str, places: Iterable[str]) -> list[Run]:
        """The runs of these run folders of a source, in the given order, without those read before.

        Metrics, predictions and checkpoints stay closed.
        """
        fresh = {os.path.realpath(place): place for place in places}
        runs = [self._run(source, place) for real, place in fresh.items() if real not in self._read]
        self._read.update(fresh)
        return runs

    def _run(self, source: str, place: str) -> Run:
        result, status = _read_json(place, "result.json"), _read_json(place, "status.json")
        numbers, flaw = _numbers(result)
        header, config = self._config(place)
        study, variant, seed = _identity(place, {**header, **result.content})
        if numbers and seed == NO_SEED:
            numbers, flaw = {}, "neither result.json, config.yaml nor the folder's name tells the seed"
        state, error = _state(status, result.exists, flaw)
        failure = status.content.get("error")
        return Run(
            source=source,
            place=place,
            study=study,
            variant=variant,
            seed=seed,
            state=state,
            error=error,
            failure=failure if isinstance(failure, Mapping) else {},
            numbers=numbers,
            digest=str(result.content.get("config_digest") or ""),
            config=config,
            logged=partial(read_metrics, place),
            **provenance_of(_read_json(place, "provenance.json").content),
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


def read_metrics(place: str) -> Iterator[dict[str, Any]]:
    """The lines of metrics.jsonl, up to one torn by a crash; none when there is no file.

    Raises ValueError when the file is there and cannot be read.
    """
    path = os.path.join(place, METRICS)
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        return


def has_predictions(run: Run) -> bool:
    """Whether the predictions for the test images lie beside the run."""
    return os.path.exists(os.path.join(run.place, PREDICTIONS))


def read_predictions(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """True classes of the test images, and 1 where the best weights classify one correctly, else 0; both (images,).

    Raises ValueError, with the reason, for a file that is damaged, has no classes or contradicts the run's result.
    """
    try:
        with np.load(os.path.join(run.place, PREDICTIONS), allow_pickle=False) as arrays:
            if "label" not in arrays:
                raise ValueError(f"{PREDICTIONS} has no labels (it was written before they were saved)")
            labels, correct = arrays["label"], arrays["best_class"] == arrays["label"]
    except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{PREDICTIONS} cannot be read ({type(error).__name__})") from error
    if not len(labels) or abs(float(correct.mean()) - run.number("test_accuracy")) > 1e-9:
        raise ValueError(f"{PREDICTIONS} contradicts the test accuracy in result.json")
    return labels, correct.astype(np.float64)


def _read_json(place: str, name: str) -> Document:
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


def _identity(place: str, recorded: Mapping[str, Any]) -> tuple[str, str, int]:
    """Study, variant and seed as the run's files record them, else from the path's `study/variant/seed<k>`."""
    study, variant, folder = ["", "", "", *os.path.abspath(place).split(os.sep)][-3:]
    match = SEED_FOLDER.fullmatch(folder)
    try:
        seed = int(recorded["seed"])
    except (KeyError, TypeError, ValueError, OverflowError):
        seed = int(match[1]) if match else NO_SEED
    return str(recorded.get("study") or study), str(recorded.get("variant") or variant), seed
