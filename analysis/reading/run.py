"""One run as analysis sees it, and the casts that make it the same whichever source it was read from."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dynfilt.installation import PACKAGES
from dynfilt.run.folder import RunState
from dynfilt.run.identity import LARGEST_EXACT_INTEGER, in_digest, in_todays_terms, shortened
from dynfilt.run.parsing import accuracy_flaw, attempts_of
from dynfilt.wording import printable

NO_SEED = -1
COMMIT_DIGITS = 7
ERROR_LENGTH = 160
LONGEST_TEXT = 1000
# How W&B writes what JSON has no number for.
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

Evaluation = dict[str, float]


@dataclass(frozen=True)
class Run:
    """A run and what it left behind: accuracies are fractions, times seconds, memory is in MiB.

    `numbers` holds result.json's numbers; it is empty when the run does not count, and `error` may say why in one line.
    `failure` is the whole error (`type`, `message`, `traceback`) where the source keeps it.
    `config` may be shared between runs that differ in seed and study only, which it therefore lacks.
    `commits` and `devices` have several entries when a run was resumed elsewhere; `provenance` is all that was noted of
    the first attempt, with the later ones under `resumed`.
    `logged` fetches what the source recorded during training; use `evaluations`.
    """

    source: str
    place: str
    study: str
    variant: str
    seed: int
    state: RunState
    error: str = ""
    failure: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    numbers: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""
    commits: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    dirty: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    logged: Callable[[], Iterable[Mapping[str, Any]]] = field(default=tuple, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("study", "variant", "error", "digest"):
            object.__setattr__(self, name, shortened(printable(getattr(self, name)), LONGEST_TEXT))
        for name in ("commits", "devices"):
            object.__setattr__(self, name, tuple(map(printable, getattr(self, name))))

    @property
    def counts(self) -> bool:
        """Whether the run has a usable result."""
        return bool(self.numbers)

    @property
    def threads(self) -> tuple[int, ...]:
        """The numbers of threads it was computed with; several when it was resumed with another."""
        noted = (attempt.get("threads") for attempt in attempts_of(self.provenance))
        return tuple(dict.fromkeys(number for number in noted if type(number) is int))

    @property
    def sources(self) -> list[Mapping[str, str]]:
        """For each attempt, the modules that compute its numbers with their code's fingerprint; empty where unknown."""
        noted = (attempt.get("source") for attempt in attempts_of(self.provenance))
        return [source if isinstance(source, Mapping) else {} for source in noted]

    @property
    def diverged(self) -> bool:
        """Whether training ended because the loss was no longer finite."""
        return self.failure.get("type") == FloatingPointError.__name__

    @property
    def short_commit(self) -> str:
        """The commit's first digits as `git log --oneline` prints them; several where the run was resumed."""
        return " + ".join(commit[:COMMIT_DIGITS] for commit in self.commits) or "unknown"

    def version(self, package: str) -> str:
        """The version of a package that the run began with."""
        versions = self.provenance.get("versions")
        return str((versions.get(package) if isinstance(versions, Mapping) else None) or "unknown")

    def number(self, key: str) -> float:
        """A number of the result, NaN where it was not recorded."""
        return self.numbers.get(key, math.nan)

    def setting(self, dotted: str) -> Any:
        """The config's value at a dotted key, None where it has no such key."""
        value: Any = self.config
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def evaluations(self) -> list[Evaluation]:
        """The evaluations during training, by rising epoch, with the keys of metrics.jsonl; empty when there is none.

        Accuracies are fractions, times seconds. A key that the run does not have (`temperature` of a static model) is
        absent; NaN is a loss that was NaN. Each call reads the source anew.
        Raises ValueError when the source can no longer be read.
        """
        return by_epoch(self.logged())


def by_epoch(logged: Iterable[Mapping[str, Any]]) -> list[Evaluation]:
    """Sort what was logged by epoch and keep each epoch once: of a key logged again, the last value.

    A run that was killed and resumed logs some epochs twice. Entries without an epoch, W&B's own keys (`_step`) and
    everything that is no number are left out.
    """
    merged: dict[float, Evaluation] = {}
    for entry in logged:
        numbers = {key: _float(value) for key, value in entry.items() if type(value) in (float, int)}
        if len(numbers) < len(entry):
            numbers |= {key: NOT_FINITE[value] for key, value in entry.items() if str(value) in NOT_FINITE}
        epoch = numbers.get("epoch", math.nan)
        if math.isfinite(epoch):
            earlier = merged.setdefault(epoch, numbers)
            if earlier is not numbers:
                earlier |= numbers
    return [
        {printable(key): value for key, value in merged[epoch].items() if key[:1] != "_"} for epoch in sorted(merged)
    ]


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def usable_numbers(result: Mapping[str, Any], where: str) -> tuple[dict[str, float], str]:
    """Cast the numbers of a result, W&B stores 1.0 as 1; or give none and what is wrong with it."""
    if flaw := accuracy_flaw(result, where):
        return {}, flaw
    try:
        numbers = {printable(key): float(value) for key, value in result.items() if type(value) in (float, int)}
    except OverflowError:
        return {}, f"{where} holds a number beyond all floats"
    if endless := next((key for key, value in numbers.items() if math.isinf(value) and not key.endswith("_loss")), ""):
        return (
            {},
            f"{endless} in {where} is {numbers[endless]}",
        )  # a loss may be, of a network that is certain and wrong
    return numbers, ""


def settings(config: Any) -> Any:
    """A config, or part of one, as W&B's server gives it back: keys in any order, so sorted here, 1.0 as 1, without
    `{}`; what makes the run what it is in today's names, with the keys that came after it."""
    if isinstance(config, Mapping):
        what_it_is = {key: node for key, node in config.items() if in_digest(str(key))}
        config = {**config, **in_todays_terms(what_it_is, in_digest)}
    return _sorted(config)


def _sorted(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {printable(str(key)): _sorted(config[key]) for key in sorted(config, key=str) if config[key] != {}}
    if isinstance(config, list):
        return [_sorted(value) for value in config]
    if isinstance(config, str):
        return printable(config)
    is_whole = isinstance(config, float) and config.is_integer() and abs(config) < LARGEST_EXACT_INTEGER
    return int(config) if is_whole else config


def error_message(error: Mapping[str, Any]) -> str:
    """`type: message` of an error object, as far as it has them."""
    return ": ".join(str(error[key]) for key in ("type", "message") if error.get(key))


def first_line(error: Any) -> str:
    """The first line of an error, given as text or as an object with `type` and `message`, at most 160 characters."""
    text = error_message(error) if isinstance(error, Mapping) else str(error or "")
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= ERROR_LENGTH else line[: ERROR_LENGTH - 3] + "..."


def provenance_of(content: Any) -> dict[str, Any]:
    """Fields of a Run from provenance.json's content: itself, and `commits`, `devices`, `dirty` of all attempts."""
    first = content if isinstance(content, Mapping) else {}
    attempts = attempts_of(first)
    return {
        "commits": tuple(dict.fromkeys(str(attempt["commit"]) for attempt in attempts if attempt.get("commit"))),
        "devices": tuple(dict.fromkeys(str(attempt["device"]) for attempt in attempts if attempt.get("device"))),
        "dirty": any(attempt.get("dirty") is True for attempt in attempts),
        "provenance": {**first, **_versions_in_order(first)},
    }


def _versions_in_order(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The versions as a run notes them; a W&B server gives them back in any order."""
    versions = provenance.get("versions")
    if not isinstance(versions, Mapping):
        return {}
    known = [name for name in ("python", *PACKAGES) if name in versions]
    return {"versions": {name: versions[name] for name in [*known, *sorted(versions.keys() - set(known))]}}
