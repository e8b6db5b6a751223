"""A table that is too wide loses columns, in one stated order, instead of wrapping or shrinking."""

from collections.abc import Callable
from dataclasses import dataclass

from .columns import DISPENSABLE
from .table import Table

FEWEST_COLUMNS = 2
# Without any other column a table says nothing.
NAMING = {"against"}


@dataclass(frozen=True)
class Narrowed:
    """What is left of a table, and the names of the columns that it lost, in the order in which they went."""

    table: Table
    lost: list[str]

    @property
    def is_empty(self) -> bool:
        """Whether it lost all that it says of what its rows name."""
        return bool(self.lost) and set(self.table.keys) <= NAMING

    @property
    def note(self) -> str:
        """What it lost, in words; empty where it is whole."""
        if self.is_empty:
            return f"left out for its width: {self.table.title}"
        return f"left out of {self.table.title} for its width: {', '.join(self.lost)}" if self.lost else ""


def narrowed(table: Table, width_of: Callable[[Table], float], available: float) -> Narrowed:
    """The table with as many columns as fit: it loses those of DISPENSABLE first, then its last ones."""
    lost = []
    while len(table.headings) > FEWEST_COLUMNS and width_of(table) > available:
        key = next((key for key in DISPENSABLE if key in table.keys), table.keys[-1])
        place = max(place for place, each in enumerate(table.keys, 1) if each == key)
        lost.append(table.headings[place].name)
        table = table.without(place)
    return Narrowed(table, lost)
