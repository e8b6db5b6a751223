"""Names beside points, placed so that they cover neither each other nor a point; all lengths in printer's points."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from . import style

# How far the edge of a name may be from the centre of its point, and from where on a line leads to it.
DISTANCES = (5.0, 9.0, 14.0, 20.0, 27.0, 35.0, 44.0, 54.0)
LEADER_FROM = 12.0
DIRECTIONS = 24
MARKER_RADIUS = 3.5
PADDING = 2.0
LINE_HEIGHT = 1.25


@dataclass(frozen=True)
class Name:
    """A name beside a point in data coordinates."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Spot:
    """A place for a name: its box, and how far it is from its point."""

    box: Bbox
    distance: float

    @property
    def centre(self) -> np.ndarray:
        """Middle of the box."""
        return np.array([(self.box.x0 + self.box.x1) / 2, (self.box.y0 + self.box.y1) / 2])


def place_names(axes: Axes, names: Sequence[Name], lines: Sequence[np.ndarray], size: float) -> list[Annotation]:
    """Write each name near its point in a font size, with a thin line to it where it stands off.

    `lines` are pairs of ends ((x, y), (x, y)) in data coordinates, not covered where that can be helped. The axes must
    have their final place and limits. A name that fits nowhere is left out: the result may be shorter.
    """
    anchors = [_in_points(axes, np.array([name.x, name.y])) for name in names]
    edge = Bbox(axes.bbox.get_points() * style.POINTS_PER_INCH / axes.figure.dpi)
    taken = [_around(anchor, MARKER_RADIUS, MARKER_RADIUS) for anchor in anchors]
    strokes = [_path(*_in_points(axes, line)) for line in lines]
    placed = []
    for i in sorted(range(len(names)), key=lambda i: (-anchors[i][1], anchors[i][0])):
        others = taken[:i] + taken[i + 1 :]
        free = (spot for spot in _spots(anchors[i], names[i].text, size) if _is_free(spot.box, edge, others))
        best = _first_of_least(free, partial(_conflicts, anchor=anchors[i], others=others, strokes=strokes))
        if best is None:
            continue
        taken.append(best.box)
        if best.distance >= LEADER_FROM:
            strokes.append(_path(anchors[i], best.centre))
        placed.append(_write(axes, names[i], best, anchors[i], size))
    return placed


def _spots(anchor: np.ndarray, text: str, size: float) -> Iterator[Spot]:
    """Places around a point, near ones first; to the right first, then in turn to both sides."""
    half_width = style.text_width(text, size) / 2 + PADDING
    half_height = LINE_HEIGHT * size / 2
    for distance in DISTANCES:
        for turn in range(DIRECTIONS):
            angle = 2 * math.pi / DIRECTIONS * ((turn + 1) // 2) * (-1) ** turn
            reach = np.array([half_width + distance, half_height + distance])
            yield Spot(_around(anchor + reach * (math.cos(angle), math.sin(angle)), half_width, half_height), distance)


def _first_of_least(spots: Iterable[Spot], conflicts: Callable[[Spot], int]) -> Spot | None:
    """The first of the spots with the fewest conflicts; the search ends at one without any."""
    best, fewest = None, math.inf
    for spot in spots:
        number = conflicts(spot)
        if number < fewest:
            best, fewest = spot, number
        if not number:
            break
    return best


def _is_free(box: Bbox, edge: Bbox, others: Sequence[Bbox]) -> bool:
    inside = edge.x0 <= box.x0 and box.x1 <= edge.x1 and edge.y0 <= box.y0 and box.y1 <= edge.y1
    return inside and not any(box.overlaps(other) for other in others)


def _conflicts(spot: Spot, anchor: np.ndarray, others: Sequence[Bbox], strokes: Sequence[np.ndarray]) -> int:
    """How many lines the name would cover, and how many names and points its own line would cross."""
    covered = sum(_is_inside(stroke, spot.box) for stroke in strokes)
    if spot.distance < LEADER_FROM:
        return covered
    leader = _path(anchor, spot.centre)
    return covered + 2 * sum(_is_inside(leader, other) for other in others)


def _path(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Places a point apart along a line, shape (n, 2)."""
    return start + np.linspace(0, 1, max(2, int(np.abs(end - start).max())))[:, None] * (end - start)


def _is_inside(path: np.ndarray, box: Bbox) -> bool:
    x, y = path[:, 0], path[:, 1]
    return bool(((x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)).any())


def _write(axes: Axes, name: Name, spot: Spot, anchor: np.ndarray, size: float) -> Annotation:
    leader = {"arrowstyle": "-", "linewidth": 0.4, "color": style.GREY, "shrinkA": 0, "shrinkB": MARKER_RADIUS}
    written = axes.annotate(
        name.text,
        (name.x, name.y),
        xytext=tuple(spot.centre - anchor),
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=size,
        arrowprops=leader if spot.distance >= LEADER_FROM else None,
    )
    written.set_in_layout(False)
    return written


def _in_points(axes: Axes, data: np.ndarray) -> np.ndarray:
    return np.asarray(axes.transData.transform(data)) * style.POINTS_PER_INCH / axes.figure.dpi


def _around(centre: np.ndarray, half_width: float, half_height: float) -> Bbox:
    half = np.array([half_width, half_height])
    return Bbox([centre - half, centre + half])
