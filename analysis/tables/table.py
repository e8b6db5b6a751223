"""A table before it is printed: headings and rows; and columns, each declared once for every format."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

from .numbers import MISSING

T = TypeVar("T")

# To a spreadsheet; an apostrophe before it makes it text.
STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# The one table that needs no title where it stands first.
RESULTS_TITLE = "Results"


@dataclass(frozen=True)
class Heading:
    """A name, a unit and a direction (↑ where more is better, ↓ less); words stand left, numbers right."""

    name: str
    unit: str = ""
    direction: str = ""
    is_text: bool = False

    @property
    def line(self) -> str:
        """All in one line: `test accuracy, % ↑`."""
        name = f"{self.name}, {self.unit}" if self.unit else self.name
        return f"{name} {self.direction}".rstrip()

    @property
    def measure(self) -> str:
        """Unit and direction, for a line below the name."""
        return f"{self.unit} {self.direction}".strip()


@dataclass(frozen=True)
class Row:
    """One row's cells and which of them are bold."""

    cells: tuple[str, ...]
    bold: tuple[bool, ...]


@dataclass(frozen=True)
class Table:
    """A titled table `of` some studies: headings, and rows in blocks, whose name is empty where there is but one.

    `keys` are those of the columns after the first, as the command line knows them.
    """

    title: str
    of: str
    headings: tuple[Heading, ...]
    blocks: dict[str, list[Row]]
    keys: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """The rows of all blocks."""
        return [row for rows in self.blocks.values() for row in rows]

    def without(self, place: int) -> Self:
        """The table without one of its columns."""

        def cut(cells: tuple[Any, ...]) -> tuple[Any, ...]:
            return cells[:place] + cells[place + 1 :]

        blocks = {name: [Row(cut(row.cells), cut(row.bold)) for row in rows] for name, rows in self.blocks.items()}
        keys = self.keys[: place - 1] + self.keys[place:]
        return replace(self, headings=cut(self.headings), blocks=blocks, keys=keys)


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of what the rows are about: for people a heading and a cell, for programs the values of CSV fields.

    The command line knows it as `key`. `form` prints its values, `compares` marks what needs a claim.
    """

    key: str
    heading: Heading
    values: Mapping[str, Callable[[T], Any]]
    cell: Callable[[T], str]
    compares: bool = False
    form: Callable[..., str] = str


def column(
    key: str,
    heading: Heading,
    values: Callable[[T], Any] | Mapping[str, Callable[[T], Any]],
    form: Callable[..., str] = str,
    compares: bool = False,
) -> Column[T]:
    """A column whose cell is `form` of its values, a dash where the first is undefined; a lone field is the key."""
    fields = {key: values} if callable(values) else values

    def cell(entry: T) -> str:
        first, *others = (value(entry) for value in fields.values())
        return MISSING if is_undefined(first) else form(first, *others)

    return Column(key, heading, fields, cell, compares, form)


@dataclass(frozen=True)
class Sheet(Generic[T]):
    """A small table of entries under columns; `total` is a last row of cells for people, or empty."""

    columns: Sequence[Column[T]]
    entries: Sequence[T]
    total: tuple[str, ...] = ()

    def table(self) -> Table:
        """The cells of all entries, then the total."""
        cells = [tuple(column.cell(entry) for column in self.columns) for entry in self.entries]
        cells += [self.total] if self.total else []
        rows = [Row(each, (False,) * len(each)) for each in cells]
        return Table("", "", tuple(column.heading for column in self.columns), {"": rows})

    def csv(self) -> str:
        """A record for each entry, in full precision, without the total."""
        fields = {field: value for column in self.columns for field, value in column.values.items()}
        return csv_text(fields, ([value(entry) for value in fields.values()] for entry in self.entries))


def is_undefined(value: Any) -> bool:
    """Whether there is nothing to print: None, NaN or no text."""
    return value is None or value == "" or value != value


def csv_text(fields: Iterable[str], records: Iterable[Iterable[Any]]) -> str:
    """CSV with a header; what is undefined is empty, and no text is a formula to a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows([_csv_cell(value) for value in record] for record in records)
    return text.getvalue()


def _csv_cell(value: Any) -> Any:
    if is_undefined(value):
        return ""
    return no_formula(value)


def no_formula(value: Any) -> Any:
    """A value that a spreadsheet takes as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(STARTS_A_FORMULA) else value
