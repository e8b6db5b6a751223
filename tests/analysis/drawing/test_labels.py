"""Names beside points, measured as they are rendered."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

from analysis.drawing.labels import Name, place_names

SIZE = 6.5


def boxes(axes: Axes, placed: list[Annotation]) -> list[Bbox]:
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    for written in placed:
        written.update_positions(renderer)
    return [Text.get_window_extent(written, renderer) for written in placed]


def assert_nothing_is_covered(axes: Axes, names: list[Name], placed: list[Annotation]) -> None:
    found = boxes(axes, placed)
    for i, box in enumerate(found):
        assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
        assert not any(box.overlaps(other) for other in found[:i])
        for name in names:
            assert not box.contains(*axes.transData.transform((name.x, name.y)))


@pytest.mark.parametrize("seed", range(5))
def test_names_cover_neither_each_other_nor_a_point_nor_the_frame(axes: Axes, seed: int) -> None:
    spread = np.random.default_rng(seed).random((6, 2))
    names = [Name(f"variant_{i}", float(x), float(y)) for i, (x, y) in enumerate(spread)]
    placed = place_names(axes, names, [], SIZE)
    assert {written.get_text() for written in placed} == {name.text for name in names}
    assert_nothing_is_covered(axes, names, placed)


def test_names_of_points_in_one_place_stand_apart(axes: Axes) -> None:
    names = [Name(f"same_{i}", 0.5, 0.5 + i / 1000) for i in range(4)]
    placed = place_names(axes, names, [], SIZE)
    assert len(placed) == 4
    assert_nothing_is_covered(axes, names, placed)


def test_a_logarithmic_axis_is_measured_as_drawn(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_xlim(1e4, 1e7)
    names = [Name("small", 2e4, 0.5), Name("large", 5e6, 0.5), Name("larger", 8e6, 0.5)]
    placed = place_names(axes, names, [], SIZE)
    assert len(placed) == 3
    assert_nothing_is_covered(axes, names, placed)


def test_a_free_point_has_its_name_close_to_its_right_without_a_line(axes: Axes) -> None:
    (written,) = place_names(axes, [Name("alone", 0.5, 0.5)], [], SIZE)
    (box,) = boxes(axes, [written])
    x, y = axes.transData.transform((0.5, 0.5))
    assert 0 < box.x0 - x < 12 * axes.figure.dpi / 72 and abs((box.y0 + box.y1) / 2 - y) < 2
    assert written.arrow_patch is None


def test_an_error_bar_is_not_covered_where_there_is_room(axes: Axes) -> None:
    bar = np.array([[0.5, 0.5], [0.9, 0.5]])
    (written,) = place_names(axes, [Name("barred", 0.5, 0.5)], [bar], SIZE)
    (box,) = boxes(axes, [written])
    ends = axes.transData.transform(bar)
    assert box.y0 > ends[0, 1] or box.y1 < ends[0, 1] or box.x1 < ends[0, 0]


def test_a_name_without_any_room_is_left_out_rather_than_laid_over_another(axes: Axes) -> None:
    names = [Name("a_name_of_thirty_two_characters_", 0.5, 0.4 + i / 200) for i in range(40)]
    placed = place_names(axes, names, [], SIZE)
    assert 0 < len(placed) < 40
    assert_nothing_is_covered(axes, names, placed)
