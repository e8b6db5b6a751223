"""A comparison as grids of printable cells, the same for every format that people read."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from analysis.comparison import Comparison, Row
from analysis.formats import numbers
from analysis.formats.numbers import MISSING
from analysis.statistics import Interval, Paired, Summary

BASELINE = "baseline"
NO_SUMMARY = Summary(0, math.nan, math.nan, math.nan, math.nan)
NO_PAIRS = Paired(NO_SUMMARY, math.nan, math.nan, math.nan, math.nan)
NO_INTERVAL = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Column:
    """How a row fills one column, below a name, a unit and a direction (↑ where more is better, ↓ less)."""

    name: str
    unit: str
    direction: str
    cell: Callable[[Row], str]
    compares: bool = False
    marks_best: bool = False

    @property
    def heading(self) -> str:
        """Name, unit and direction in one line: `test accuracy, % ↑`."""
        name = f"{self.name}, {self.unit}" if self.unit else self.name
        return f"{name} {self.direction}".rstrip()

    @property
    def measure(self) -> str:
        """Unit and direction, for a line below the name."""
        return f"{self.unit} {self.direction}".strip()


@dataclass(frozen=True)
class Line:
    """One row's cells and which of them are bold."""

    cells: tuple[str, ...]
    bold: tuple[bool, ...]


@dataclass(frozen=True)
class Grid:
    """A titled table: columns, and lines grouped by study."""

    title: str
    columns: tuple[Column, ...]
    studies: dict[str, list[Line]]


def _pairs(row: Row) -> Paired:
    return row.paired or NO_PAIRS


def _difference(row: Row) -> str:
    difference = _pairs(row).difference
    if row.is_baseline:
        return BASELINE
    mean, interval = numbers.points(difference.mean), numbers.points_interval(difference.low, difference.high)
    return mean if interval == MISSING else f"{mean} {interval}"


def _paired_interval(row: Row) -> str:
    difference = _pairs(row).difference
    return numbers.points_interval(difference.low, difference.high)


def _welch_interval(row: Row) -> str:
    unpaired = row.welch or NO_INTERVAL
    return numbers.points_interval(unpaired.low, unpaired.high)


RESULTS = (
    Column("variant", "", "", lambda row: row.label),
    Column("n", "", "", lambda row: str(row.accuracy.n)),
    Column(
        "test accuracy",
        "%",
        "↑",
        lambda row: numbers.mean_and_sd(row.accuracy.mean, row.accuracy.sd),
        marks_best=True,
    ),
    Column("95 % interval", "%", "", lambda row: numbers.percent_interval(row.accuracy.low, row.accuracy.high)),
    Column("Δ", "points", "↑", _difference, compares=True),
    Column("p (Holm)", "", "", lambda row: numbers.p_value(row.p_holm), compares=True),
    Column("detectable Δ", "points", "", lambda row: numbers.percent(_pairs(row).detectable), compares=True),
    Column("params", "", "↓", lambda row: numbers.count(row.mean("parameters"))),
    Column("FLOPs", "", "↓", lambda row: numbers.count(row.mean("flops"))),
    Column("train", "s", "↓", lambda row: numbers.seconds(row.mean("train_seconds"))),
)
PAIRING = (
    Column("variant", "", "", lambda row: row.label),
    Column("pairs", "", "", lambda row: str(_pairs(row).difference.n)),
    Column("Δ", "points", "↑", lambda row: numbers.points(_pairs(row).difference.mean)),
    Column("SD of Δ", "points", "", lambda row: numbers.percent(_pairs(row).difference.sd)),
    Column("paired 95 % interval", "points", "", _paired_interval),
    Column("Welch 95 % interval", "points", "", _welch_interval),
    Column("correlation", "", "", lambda row: numbers.signed(_pairs(row).correlation)),
    Column("effect size", "d_z", "", lambda row: numbers.signed(_pairs(row).effect_size)),
    Column("p", "unadjusted", "", lambda row: numbers.p_value(_pairs(row).p)),
)


def grids(comparison: Comparison) -> list[Grid]:
    """The table of results and, where there is anything to compare, the paired analysis."""
    compared = {study: [row for row in rows if row.welch] for study, rows in comparison.studies.items()}
    compared = {study: rows for study, rows in compared.items() if rows}
    columns = [column for column in RESULTS if compared or not column.compares]
    results = _grid("Results", columns, comparison.studies)
    return [results, _grid("Paired analysis", list(PAIRING), compared)] if compared else [results]


def _grid(title: str, columns: list[Column], studies: dict[str, list[Row]]) -> Grid:
    lines = {study: [_line(columns, row) for row in rows] for study, rows in studies.items()}
    return Grid(title, tuple(columns), lines)


def _line(columns: list[Column], row: Row) -> Line:
    cells = tuple(column.cell(row) for column in columns)
    return Line(cells, tuple(row.is_best and column.marks_best for column in columns))
