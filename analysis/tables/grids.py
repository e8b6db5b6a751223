"""A comparison as grids of printable cells, the same for every format that people read."""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass

from ..comparing.comparison import Comparison
from ..comparing.test_images import ImageLevel
from ..comparing.variants import Row
from .columns import Column, Entry, Heading, entry
from .numbers import MISSING
from .quantities import ON_IMAGES, PAIRING, VERDICTS

RESULTS_TITLE = "Results"


@dataclass(frozen=True)
class Line:
    """One row's cells and which of them are bold."""

    cells: tuple[str, ...]
    bold: tuple[bool, ...]


@dataclass(frozen=True)
class Grid:
    """A titled table of some studies: headings, and lines in blocks, whose name is empty where there is but one."""

    title: str
    of: str
    headings: tuple[Heading, ...]
    blocks: dict[str, list[Line]]


def grids(comparison: Comparison, columns: Sequence[Column], images: ImageLevel) -> list[Grid]:
    """The results in these columns; then verdicts, paired analysis and test images, where there are any.

    With `by` the results are a two-way table for each column.
    """
    entries = [entry(row, claim, images) for row in comparison.rows for claim in row.claims]
    by_image = [each for row in comparison.rows for each in _of(row, images) if each.accuracy_over_images.n]
    made = _results(comparison, columns, images)
    if entries:
        made.append(_by_group("Verdicts", comparison, VERDICTS, entries))
        made.append(_by_group("Paired analysis", comparison, PAIRING, entries))
    if by_image:
        made.append(_by_group("Test images", comparison, ON_IMAGES, by_image))
    return made


def _results(comparison: Comparison, columns: Sequence[Column], images: ImageLevel) -> list[Grid]:
    shown = [column for column in columns if comparison.claims or not column.compares]
    best = _best(comparison, shown)
    if comparison.layout.by is not None:
        return [_two_way(comparison, column, images, best) for column in shown]
    entries = [_of(row, images)[0] for row in comparison.rows]
    return [_by_group(RESULTS_TITLE, comparison, shown, entries, best)]


def _of(row: Row, images: ImageLevel) -> list[Entry]:
    """The row's entries, one a claim; a row without claims has one all the same."""
    return [entry(row, claim, images) for claim in row.claims or (None,)]


def _by_group(
    title: str,
    comparison: Comparison,
    columns: Sequence[Column],
    entries: Sequence[Entry],
    best: Set[tuple[str, str, str]] = frozenset(),
) -> Grid:
    """A line for each entry, the columns side by side."""
    blocks: dict[str, list[Line]] = {}
    for each in entries:
        group, label = each.row.group, each.row.label
        bold = ((group, label, column.key) in best for column in columns)
        line = Line((label, *(column.cell(each) for column in columns)), (False, *bold))
        name = comparison.layout.titled(group) if len(comparison.groups) > 1 else ""
        blocks.setdefault(name, []).append(line)
    headings = Heading(comparison.layout.rows, is_text=True), *(column.heading for column in columns)
    return Grid(title, _studies(comparison), headings, blocks)


def _two_way(comparison: Comparison, column: Column, images: ImageLevel, best: Set[tuple[str, str, str]]) -> Grid:
    """A line for each label, the groups side by side."""
    headings = [Heading(comparison.layout.rows, is_text=True)]
    headings += [Heading(group, column.heading.unit, column.heading.direction) for group in comparison.groups]
    places = {(row.group, row.label): row for row in comparison.rows}
    ordered = sorted(comparison.rows, key=lambda row: (not row.is_baseline, row.order))
    lines = []
    for label in dict.fromkeys(row.label for row in ordered):
        rows = [places.get((group, label)) for group in comparison.groups]
        cells = [column.cell(_of(row, images)[0]) if row else MISSING for row in rows]
        bold = ((group, label, column.key) in best for group in comparison.groups)
        lines.append(Line((label, *cells), (False, *bold)))
    title = f"{column.heading.name[:1].upper()}{column.heading.name[1:]} by {comparison.layout.by}"
    return Grid(title, _studies(comparison), tuple(headings), {"": lines})


def _best(comparison: Comparison, columns: Sequence[Column]) -> set[tuple[str, str, str]]:
    """Group, label and column key of the best values of each group; where all values are equal none is best."""
    found = set()
    for column in columns:
        if column.best is None or not column.heading.direction:
            continue
        for group, rows in comparison.groups.items():
            values = {row.label: column.best(row) for row in rows}
            known = [value for value in values.values() if not math.isnan(value)]
            if known and min(known) < max(known):
                best = max(known) if column.heading.direction == "↑" else min(known)
                found |= {(group, label, column.key) for label, value in values.items() if value == best}
    return found


def _studies(comparison: Comparison) -> str:
    return ", ".join(dict.fromkeys(row.study for row in comparison.rows))
