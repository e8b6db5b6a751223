"""A variant looks the same in every figure, and no two look alike, not even in grey."""

from itertools import pairwise

import matplotlib.colors
import pytest

from analysis.figures.legend import COLOURS, MARKERS
from tests.analysis.figures.looks import looks


def test_a_look_depends_neither_on_the_order_nor_on_repeats() -> None:
    assert looks(["dynamic", "static", "bypass"]) == looks(["bypass", "static", "dynamic", "static"])


def test_static_variants_come_first() -> None:
    assert [label for label, _ in sorted(looks(["a", "static_b", "c"]).items(), key=lambda item: item[1].rank)] == [
        "static_b",
        "a",
        "c",
    ]


def test_seventy_variants_differ_in_colour_or_marker() -> None:
    chosen = looks(f"variant{i:02}" for i in range(70)).values()
    assert len({(look.colour, look.marker) for look in chosen}) == 70
    assert len({look.colour for look in looks("abcdefg").values()}) == 7
    assert len(set(MARKERS)) == len(MARKERS)


def relative_luminance(colour: str) -> float:
    """WCAG 2, section 'relative luminance'."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in matplotlib.colors.to_rgb(colour)]
    return sum(share * value for share, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_stands_out_from_paper(colour: str) -> None:
    assert 1.05 / (relative_luminance(colour) + 0.05) > 2


def test_neighbours_differ_in_grey() -> None:
    greys = [relative_luminance(colour) for colour in COLOURS]
    for one, next_one in pairwise(greys):
        assert abs(one - next_one) > 0.05
