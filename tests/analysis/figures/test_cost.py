"""Accuracy against cost: points and error bars against scipy, names beside the points."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.text import Annotation

from analysis.comparing.comparison import compare
from analysis.comparing.variants import Variant
from analysis.drawing import style
from analysis.figures.cost import COST_AXES, Point, accuracy_against_cost, cost_frame, cost_points, draw_cost
from analysis.reading.sources import read_runs
from tests.analysis.figures.looks import looks

ACCURACIES, TIMES = [0.66, 0.70, 0.71], [500.0, 520.0, 590.0]
WriteRun = Callable[..., Path]


@pytest.fixture
def variants(write_run: WriteRun) -> Sequence[Variant]:
    for seed, (accuracy, seconds) in enumerate(zip(ACCURACIES, TIMES, strict=True)):
        write_run("static", seed, accuracy, train_seconds=seconds, parameters=80_000)
    write_run("dynamic", 0, 0.73, train_seconds=800.0)
    return compare(read_runs(["outputs"]), None).variants


def points(variants: Sequence[Variant], key: str) -> list[Point]:
    return cost_points(variants)[key]


def cuts(framed: list[Point], drawn: list[Point]) -> bool:
    return cost_frame(framed).cuts([point.cost.low for point in drawn], [point.cost.high for point in drawn])


def error_bars(axes: Axes) -> list[np.ndarray]:
    """Both ends of each bar."""
    return [
        segment for found in axes.collections if isinstance(found, LineCollection) for segment in found.get_segments()
    ]


def test_a_point_is_the_mean_and_its_bars_end_at_scipys_intervals(axes: Axes, variants: Sequence[Variant]) -> None:
    shown = points(variants[:1], "train_seconds")
    draw_cost(axes, shown, looks(["static"]))
    (marker,) = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert marker.get_xydata() == pytest.approx(np.array([[np.mean(TIMES), np.mean(ACCURACIES)]]))
    horizontal, vertical = error_bars(axes)
    expected = [
        scipy.stats.t.interval(0.95, 2, loc=np.mean(values), scale=scipy.stats.sem(values))
        for values in (TIMES, ACCURACIES)
    ]
    assert horizontal[:, 0] == pytest.approx(expected[0]) and vertical[:, 1] == pytest.approx(expected[1])
    assert horizontal[:, 1] == pytest.approx([np.mean(ACCURACIES)] * 2)


def test_every_seed_is_a_dot(axes: Axes, variants: Sequence[Variant]) -> None:
    draw_cost(axes, points(variants[:1], "train_seconds"), looks(["static"]))
    (dots,) = [found for found in axes.collections if isinstance(found, PathCollection)]
    assert np.asarray(dots.get_offsets()).tolist() == [list(pair) for pair in zip(TIMES, ACCURACIES, strict=True)]


def test_one_seed_has_neither_bars_nor_a_dot_beside_it(axes: Axes, variants: Sequence[Variant]) -> None:
    draw_cost(axes, points(variants[1:], "train_seconds"), looks(["dynamic"]))
    assert not error_bars(axes) and not axes.collections


def test_a_cost_that_is_the_same_for_all_seeds_has_no_bar_of_its_own(axes: Axes, variants: Sequence[Variant]) -> None:
    draw_cost(axes, points(variants[:1], "parameters"), looks(["static"]))
    assert len(error_bars(axes)) == 1


def test_a_row_without_the_number_is_no_point(write_run: WriteRun) -> None:
    write_run("static", 0, 0.7)
    write_run("dynamic", 0, 0.7, flops=None)
    variants = compare(read_runs(["outputs"]), None).variants
    assert [point.label for point in points(variants, "flops")] == ["static"]
    assert [point.label for point in points(variants, "parameters")] == ["static", "dynamic"]


def test_the_frame_is_logarithmic_for_costs_far_apart_only_and_says_what_it_cuts(variants: Sequence[Variant]) -> None:
    assert not cost_frame(points(variants, "parameters")).is_logarithmic
    assert not cost_frame(points(variants, "train_seconds")).is_logarithmic
    static = points(variants[:1], "train_seconds")
    assert cuts(static, static)
    assert not cuts(static, points(variants[1:], "train_seconds"))


@pytest.mark.parametrize("width", style.WIDTHS)
def test_each_cost_has_a_panel_in_which_the_variants_are_named(variants: Sequence[Variant], width: str) -> None:
    with style.figure_style():
        figure = accuracy_against_cost(cost_points(variants), looks(row.label for row in variants), width)
    panels = figure.findobj(Axes)
    assert [axes.get_xlabel() for axes in panels] == list(COST_AXES.values())
    for axes in panels:
        names = {text.get_text().replace("\xa0", " ") for text in axes.findobj(Annotation)}
        assert names == {"static (n = 3)", "dynamic (n = 1)"}
    legend = [text.get_text() for text in figure.subfigs[1].legends[0].get_texts()]
    assert legend == ["one seed", "mean and 95 % t interval, n = 1–3"]


@pytest.mark.slow
def test_names_that_do_not_fit_go_to_the_legend(write_run: WriteRun) -> None:
    labels = [f"a_variant_with_a_long_name,optimizer.lr=0.{i:02}1" for i in range(30)]
    for label in labels:
        write_run(label, 0, 0.7)
    variants = compare(read_runs(["outputs"]), None).variants
    with style.figure_style():
        figure = accuracy_against_cost(cost_points(variants), looks(labels), "column")
    assert not figure.findobj(Annotation)
    legend = [text.get_text() for text in figure.subfigs[1].legends[0].get_texts()]
    assert sum("a_variant" in text for text in legend) == 30
