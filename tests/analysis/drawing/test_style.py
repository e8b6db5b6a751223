"""Names that break where they may, and numbers on axes."""

import pytest
from matplotlib.axes import Axes

from analysis.drawing import style
from analysis.drawing.sheets import new_sheet
from analysis.figures.legend import summary_handles

NAME = "dyconv_resnet18,model.num_kernels=4,model.reduction=0.25,optimizer.lr=0.05"


@pytest.mark.parametrize("width", [80.0, 120.0, 200.0])
def test_long_names_break_after_commas_and_lose_nothing(width: float) -> None:
    lines = style.wrapped(NAME, width, 7).split("\n")
    assert "".join(lines) == NAME
    assert all(style.text_width(line, 7) <= 1.1 * width for line in lines)
    assert all(line.endswith(",") for line in lines[:-1]) or width < 100


def test_a_number_of_seeds_is_not_torn_apart() -> None:
    assert any(line.endswith("(n\xa0=\xa03)") for line in style.wrapped(style.with_count(NAME, 3), 60, 7).split("\n"))


def test_text_is_measured_in_points() -> None:
    assert style.text_width("m" * 20, 14) == pytest.approx(2 * style.text_width("m" * 20, 7), rel=0.02)
    assert style.text_width("", 7) == 0


def tick_labels(axes: Axes, axis: str) -> list[str]:
    axes.figure.draw_without_rendering()
    return [label.get_text() for label in getattr(axes, f"get_{axis}ticklabels")()]


def test_fractions_are_shown_in_percent(axes: Axes) -> None:
    axes.set_ylim(0.55, 0.75)
    style.percent_ticks(axes.yaxis)
    assert tick_labels(axes, "y") == ["55", "60", "65", "70", "75"]


def test_differences_have_a_sign_but_zero(axes: Axes) -> None:
    axes.set_xlim(-0.1, 0.1)
    style.percent_ticks(axes.xaxis, signed=True)
    assert {"−5", "0", "+5"} <= set(tick_labels(axes, "x"))


def test_steps_are_whole_and_their_thousands_separated(axes: Axes) -> None:
    axes.set_xlim(0, 14_000)
    style.plain_ticks(axes.xaxis)
    assert {"0", "10,000"} <= set(tick_labels(axes, "x"))


@pytest.mark.parametrize("width", style.WIDTHS)
def test_a_legend_never_runs_out_of_the_figure(width: str) -> None:
    for count in (1, 5, 12):
        with style.figure_style():
            handles = summary_handles([3])[:1] * count
            for handle, name in zip(handles, (NAME, "short") * 6, strict=False):
                handle.set_label(name)
            figure, _ = new_sheet(width, 2.0, handles)
            figure.draw_without_rendering()
            box = figure.subfigs[1].legends[0].get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.subfigs[0].bbox.y0
