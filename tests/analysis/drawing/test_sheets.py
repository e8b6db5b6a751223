"""Places of a figure that is laid out for good."""

import numpy as np
from matplotlib.axes import Axes

from analysis.drawing import style
from analysis.drawing.sheets import PLACES, new_sheet, settle
from analysis.figures.legend import explaining_handles


def test_places_are_those_of_the_layout_without_their_last_bits() -> None:
    with style.figure_style():
        figure, upper = new_sheet("page", 2.0, explaining_handles(True, True))
        upper.subplots(2, 1, sharex=True, height_ratios=(0.7, 0.3))
        figure.draw_without_rendering()
        before = [axes.get_position().bounds for axes in figure.findobj(Axes)]
        settle(figure)
        after = [axes.get_position().bounds for axes in figure.findobj(Axes)]
        figure.draw_without_rendering()
    assert [axes.get_position().bounds for axes in figure.findobj(Axes)] == after
    np.testing.assert_allclose(after, before, atol=2 * 10**-PLACES)
    np.testing.assert_array_equal(np.round(after, PLACES + 3), np.round(after, PLACES))
