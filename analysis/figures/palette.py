"""Which colour and marker a variant has, the same in every figure."""

from collections.abc import Iterable
from dataclasses import dataclass

from ..comparing.comparison import BASELINE_PREFIX

# Okabe and Ito, "Color Universal Design", 2008, without its yellow, which is too light for lines on white;
# neighbours in this order differ in lightness, for print in grey.
COLOURS = ("#000000", "#0072B2", "#E69F00", "#009E73", "#56B4E9", "#D55E00", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")


@dataclass(frozen=True)
class Look:
    """A colour, a marker, and the variant's rank, by which markers on lines are shifted apart."""

    colour: str
    marker: str
    rank: int


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """A look for each label: static variants first, then by name, whatever the baseline and the order given.

    7 colours and 10 markers are cycled together, so the first 70 looks differ, the first 7 in colour alone.
    """
    ordered = sorted(set(labels), key=lambda label: (not label.startswith(BASELINE_PREFIX), label))
    return {
        label: Look(COLOURS[rank % len(COLOURS)], MARKERS[rank % len(MARKERS)], rank)
        for rank, label in enumerate(ordered)
    }
