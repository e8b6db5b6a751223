"""Arrange runs into rows and groups of a table: by variant, by study, or by any key of the config."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dynfilt.config.compose import NESTED_GROUPS
from dynfilt.run.identity import flatten, in_digest

from ..reading.run import Run
from .words import first_of, in_words

VARIANT, STUDY = "variant", "study"
MOST_KEYS = 8

Order = tuple[int, float, str]


@dataclass(frozen=True)
class Layout:
    """The keys of a table's rows, `variant` or a dotted config key, and of the groups side by side, if any.

    `by` is None (one block of rows a study), `study`, `variant` or a dotted config key. Studies are never pooled.
    """

    rows: str
    by: str | None

    @property
    def keys(self) -> tuple[str, ...]:
        """The config keys among the two."""
        return tuple(key for key in (self.rows, self.by) if key not in (VARIANT, STUDY, None))

    def titled(self, group: str) -> str:
        """A group's heading where it stands alone: the study's name, or the key and its value."""
        return group if self.by in (None, STUDY) else f"{self.by} {group}"


PLAIN = Layout(VARIANT, None)


class Arrangement:
    """Names the row and the group of each run; names are as short as the runs at hand allow.

    Raises ValueError for a key that no run has, and when both keys are the same.
    """

    def __init__(self, layout: Layout, runs: Sequence[Run]) -> None:
        self.layout = layout
        self._by = layout.by or STUDY
        _check(layout, runs)
        self._names_model = layout.rows != VARIANT and len({self._core(run) for run in runs}) > 1
        studies: dict[str, set[str]] = {}
        for run in runs:
            studies.setdefault(in_words(self._value(self._by, run)), set()).add(run.study)
        self._names_study = any(len(several) > 1 for several in studies.values())

    def group(self, run: Run) -> str:
        """Heading of the rows that are compared with each other: the study, or the value of `by` in it."""
        value = in_words(self._value(self._by, run))
        return f"{run.study}: {value}" if self._names_study else value

    def group_order(self, run: Run) -> tuple[Order, str]:
        """Sort key of groups: by value, numbers before words, then by study."""
        return order_of(self._value(self._by, run)), run.study

    def value(self, run: Run) -> str:
        """The value that names the row: the core of the variant's name, or the value of the config key."""
        return in_words(self._value(self.layout.rows, run))

    def name(self, run: Run) -> str:
        """The value, with the rest of the variant's name where the table's rows differ in it."""
        return f"{self.value(run)} ({self._core(run)})" if self._names_model else self.value(run)

    def row_order(self, run: Run) -> tuple[Order, str]:
        """Sort key of rows: by value, numbers before words, then by name."""
        return order_of(self._value(self.layout.rows, run)), self.name(run)

    def _core(self, run: Run) -> str:
        """The variant's name without the keys that stand in rows or groups already."""
        keys = [name for key in self.layout.keys for name in (key, key.removesuffix("._target_"))]
        nested = [group.rpartition("/")[2] for group in NESTED_GROUPS if group.replace("/", ".") in keys]
        elsewhere = {*keys, *nested}
        model, *settings = run.variant.split(",")
        return ",".join([model, *(part for part in settings if part.partition("=")[0] not in elsewhere)])

    def _value(self, key: str, run: Run) -> Any:
        if key == STUDY:
            return run.study
        return self._core(run) if key == VARIANT else run.setting(key)


def order_of(value: Any) -> Order:
    """Sort key of config values: numbers by size, then words, then what is unset."""
    if isinstance(value, int | float):
        return (0, value, "")
    return (2, 0, "") if value is None else (1, 0, in_words(value))


def _check(layout: Layout, runs: Sequence[Run]) -> None:
    if layout.rows == STUDY:
        raise ValueError("rows cannot be studies, which are not compared with each other; --by study puts them abreast")
    if layout.rows == layout.by:
        raise ValueError(f"rows and columns are both {layout.by}; choose another key for one of them")
    for key in layout.keys:
        if all(run.setting(key) is None for run in runs if run.counts):
            raise ValueError(
                f"no run with a result has {key} in its config; rows and columns may be variant, study (columns only) "
                f"or a key of the config; {_differing(runs)}"
            )


def _differing(runs: Sequence[Run]) -> str:
    """The config keys in which the runs differ, in words."""
    shared = {id(run.config): run.config for run in runs if run.counts}
    configs = [flatten(dict(config)) for config in shared.values()]
    keys = sorted({key for config in configs for key in config if in_digest(key)})
    differing = [key for key in keys if any(config.get(key) != configs[0].get(key) for config in configs)]
    if not differing:
        return "the runs differ in none"
    return f"the runs differ in {first_of(differing, MOST_KEYS)}"
