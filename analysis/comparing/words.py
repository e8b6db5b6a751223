"""Seeds, counts, names, sources and config values as words of a sentence."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..reading.run import NO_SEED, Run

UNSET = "unset"


def seed_list(seeds: Iterable[int]) -> str:
    """Seeds, each once and in order: `seed 4`, `seeds 0-2, 5`."""
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


def number_of(n: int, thing: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def enumerated(names: Sequence[str]) -> str:
    """`a, b and c`; a single name alone."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def first_of(names: Sequence[str], most: int, between: str = ", ") -> str:
    """`a, b and 3 more`: the first names, at most so many, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{between.join(names[:most])}{more}"


def counted(names: Iterable[str]) -> str:
    """What runs are named after, the commonest first: `a6f42ab (15 runs), 27b20e9 (10 runs)`; a single name alone."""
    counts = Counter(names).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{name} ({number_of(n, 'run')})" for name, n in counts)


def origin(read: Iterable[Run], shown: Iterable[Run]) -> str:
    """`Source: outputs; commits a6f42ab (15 runs), 27b20e9 (10 runs).`: where runs were read, what made those shown."""
    sources = dict.fromkeys(run.source.rstrip(os.sep) or os.sep for run in read)
    commits = [run.short_commit for run in shown]
    return f"Source: {', '.join(sources)}; commit{'s' * (len(set(commits)) > 1)} {counted(commits)}."


def in_words(value: Any) -> str:
    """A config value in one line; a group of keys is named by the last part of its target."""
    if isinstance(value, Mapping) and value.get("_target_"):
        return str(value["_target_"]).rpartition(".")[2]
    if value is None:
        return UNSET
    return value if isinstance(value, str) else json.dumps(value, default=str)


def seeds_each(counts: Iterable[int]) -> str:
    """`n = 3 seeds each.`, or the range where they differ."""
    few, many = min(counts := list(counts)), max(counts)
    if few < many:
        return f"n = {few} to {many} seeds, as the names say."
    return f"n = {many} seeds each." if many > 1 else "n = 1 seed each, so how much of this is chance is unknown."
