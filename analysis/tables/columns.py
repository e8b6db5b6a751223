"""What a column is: a heading, how a row fills it in print, and which fields it is in CSV."""

from collections.abc import Callable
from dataclasses import dataclass

from ..comparing.claims import NO_CLAIM, Claim
from ..comparing.statistics import Summary, summarise
from ..comparing.test_images import ImageLevel
from ..comparing.variants import Row

NO_SUMMARY = summarise([])


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
class Entry:
    """What one line of a table is about: a row, one of its claims, and what the test images say to both."""

    row: Row
    claim: Claim
    accuracy_over_images: Summary
    difference_over_images: Summary


@dataclass(frozen=True)
class Column:
    """A quantity that `--columns` knows as `key`; `best` is the number by which the best row is marked."""

    key: str
    heading: Heading
    cell: Callable[[Entry], str]
    fields: tuple[str, ...]
    compares: bool = False
    best: Callable[[Row], float] | None = None


def entry(row: Row, claim: Claim | None, images: ImageLevel) -> Entry:
    """An entry of the row, whose claim may be None."""
    claim = claim or NO_CLAIM
    return Entry(
        row,
        claim,
        images.accuracy.get((row.group, row.label), NO_SUMMARY),
        images.differences.get((row.group, row.label, claim.rival), NO_SUMMARY),
    )
