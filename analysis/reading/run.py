"""One run as analysis sees it, whatever source it was read from."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NO_SEED = -1


@dataclass(frozen=True)
class Run:
    """A run and what it left behind; accuracies are fractions, times seconds.

    `numbers` holds result.json's numbers; it is empty when the run does not count, and `error` may say why.
    `config` may be shared between runs that differ in seed and study only, which it therefore lacks.
    `commits` and `devices` have several entries when a run was resumed elsewhere; `provenance` is all that was noted of
    the first attempt, with the later ones under `resumed`.
    `rows` fetches the evaluations during training; None where `place` is a run folder. Ask `analysis.curves`.
    """

    source: str
    place: str
    study: str
    variant: str
    seed: int
    state: str
    error: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""
    commits: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    dirty: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    rows: Callable[[], Iterable[Mapping[str, Any]]] | None = field(default=None, compare=False, repr=False)

    @property
    def counts(self) -> bool:
        """Whether the run has a usable result."""
        return bool(self.numbers)

    def number(self, key: str) -> float:
        """A number of the result, NaN where it was not recorded."""
        return self.numbers.get(key, math.nan)

    def setting(self, dotted: str) -> Any:
        """The config's value at a dotted key, None where it has no such key."""
        value: Any = self.config
        for part in dotted.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value


@dataclass(frozen=True)
class Repeat:
    """Two results of the same study, row, digest and seed: one is used, the other is not."""

    used: Run
    unused: Run

    @property
    def agrees(self) -> bool:
        """Whether both report the same test accuracy."""
        return self.used.number("test_accuracy") == self.unused.number("test_accuracy")


def without_repeats(runs: Iterable[Run], name_of: Callable[[Run], str]) -> tuple[list[Run], list[Repeat]]:
    """The runs with each result once (the first one given), and the pairs of which one was dropped.

    Runs of one study that `name_of` names alike, with one digest and seed, are the same result.
    """
    first: dict[tuple[str, str, str, int], Run] = {}
    kept, repeats = [], []
    for run in runs:
        key = (run.study, name_of(run), run.digest, run.seed)
        if run.counts and key in first:
            repeats.append(Repeat(first[key], run))
            continue
        if run.counts:
            first[key] = run
        kept.append(run)
    return kept, repeats


def seed_list(seeds: Iterable[int]) -> str:
    """Seeds in words for a sentence: `seed 4`, `seeds 0-2, 5`."""
    ordered = sorted(set(seeds) - {NO_SEED})
    if not ordered:
        return "no known seed"
    spans: list[list[int]] = []
    for seed in ordered:
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    words = [str(a) if a == b else f"{a}, {b}" if b == a + 1 else f"{a}-{b}" for a, b in spans]
    return ("seed " if len(ordered) == 1 else "seeds ") + ", ".join(words)
