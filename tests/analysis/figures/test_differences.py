"""Paired differences as drawn, against scipy's paired test."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection

from analysis.comparing.comparison import compare
from analysis.comparing.variants import Variant
from analysis.drawing import style
from analysis.figures.differences import caption, differences_of, differences_to_baseline, draw_differences, in_words
from analysis.reading.sources import read_runs
from tests.analysis.figures.looks import looks

STATIC, DYNAMIC = [0.66, 0.70, 0.71, 0.64], [0.68, 0.71, 0.75, 0.65]
LOOKS = looks(["static", "dynamic", "other"])


@pytest.fixture
def variants(write_run: Callable[..., Path]) -> Sequence[Variant]:
    for seed, (static, dynamic) in enumerate(zip(STATIC, DYNAMIC, strict=True)):
        write_run("static", seed, static)
        write_run("dynamic", seed, dynamic)
    write_run("dynamic", 7, 0.99)
    write_run("other", 0, 0.60)
    write_run("unpaired", 8, 0.60)
    return compare(read_runs(["outputs"]), None).variants


def test_only_shared_seeds_are_paired(variants: Sequence[Variant]) -> None:
    found = {difference.label: dict(difference.by_seed) for difference in differences_of(variants)}
    assert list(found) == ["dynamic", "other"]
    assert found["dynamic"] == pytest.approx({0: 0.02, 1: 0.01, 2: 0.04, 3: 0.01})
    assert found["other"] == pytest.approx({0: -0.06})


def test_dots_mean_and_interval_are_those_of_scipy(axes: Axes, variants: Sequence[Variant]) -> None:
    draw_differences(axes, differences_of(variants)[:1], LOOKS)
    expected = scipy.stats.ttest_rel(DYNAMIC, STATIC).confidence_interval(0.95)
    (dots,) = [found for found in axes.collections if isinstance(found, PathCollection)]
    assert np.asarray(dots.get_offsets())[:, 0] == pytest.approx(np.subtract(DYNAMIC, STATIC))
    (bar,) = [segment for c in axes.collections if isinstance(c, LineCollection) for segment in c.get_segments()]
    assert bar[:, 0] == pytest.approx([expected.low, expected.high]) and bar[:, 1].tolist() == [0, 0]
    (mean,) = [line for line in axes.get_lines() if line.get_marker() == LOOKS["dynamic"].marker]
    assert mean.get_xdata() == pytest.approx([0.02])


def test_there_is_a_line_at_zero_and_the_first_row_is_on_top(axes: Axes, variants: Sequence[Variant]) -> None:
    draw_differences(axes, differences_of(variants), LOOKS)
    assert any(list(line.get_xdata()) == [0, 0] for line in axes.get_lines())
    bottom, top = axes.get_ylim()
    assert top < 0 < 1 < bottom


def test_one_pair_has_no_interval(axes: Axes, variants: Sequence[Variant]) -> None:
    draw_differences(axes, differences_of(variants)[1:], LOOKS)
    assert not [segment for c in axes.collections if isinstance(c, LineCollection) for segment in c.get_segments()]


def test_a_caption_tells_of_bars_where_there_are_any(variants: Sequence[Variant]) -> None:
    every = differences_of(variants)
    alone = [each for each in every if each.summary.n == 1]
    assert alone and "bar" not in caption("lab", alone, "static").lower()
    assert "bars: 95 %" in caption("lab", every, "static")


def test_the_numbers_stand_beside_the_name(variants: Sequence[Variant]) -> None:
    dynamic, other = differences_of(variants)
    assert in_words(dynamic, 200) == "dynamic\n+2.00 [−0.25, +4.25], n = 4"
    assert in_words(other, 200) == "other\n−6.00, n = 1"


@pytest.mark.slow
@pytest.mark.parametrize("width", style.WIDTHS)
def test_the_figure_names_rows_baseline_and_numbers_of_pairs(variants: Sequence[Variant], width: str) -> None:
    with style.figure_style():
        figure = differences_to_baseline(differences_of(variants), "static", LOOKS, width)
        figure.draw_without_rendering()
    (axes,) = figure.findobj(Axes)
    assert [label.get_text().splitlines()[0] for label in axes.get_yticklabels()] == ["dynamic", "other"]
    assert figure.subfigs[0].get_supxlabel().startswith("Test accuracy minus that of static")
    assert all(label.get_text().strip("+−0123456789") == "" for label in axes.get_xticklabels())
    assert figure.subfigs[1].legends[0].get_texts()[1].get_text() == "mean and 95 % t interval, n = 1–4"


def test_the_differences_to_the_control_stand_in_a_panel_below(variants: Sequence[Variant]) -> None:
    from dataclasses import replace

    dynamic, other = (next(each for each in variants if each.label == label) for label in ("dynamic", "other"))
    to_other = {"rival": "other", "is_control": True, "is_exploratory": True, "by_seed": {0: 0.68 - 0.60}}
    against = replace(dynamic.claims[0], **to_other)
    with_control = [replace(dynamic, claims=(*dynamic.claims, against)), other]
    (found,) = differences_of(with_control, "control")
    assert (found.label, found.rival, found.is_exploratory) == ("dynamic", "other", True)
    assert dict(found.by_seed) == pytest.approx({0: 0.68 - 0.60})
    with style.figure_style():
        figure = differences_to_baseline(differences_of(with_control), "static", LOOKS, "page", [found])
    upper, lower = figure.findobj(Axes)
    assert [label.get_text().splitlines()[0] for label in upper.get_yticklabels()] == ["dynamic", "other"]
    (row,) = lower.get_yticklabels()
    assert row.get_text().splitlines()[1] == "− other" and row.get_text().endswith("exploratory")


@pytest.mark.slow
@pytest.mark.parametrize("width", style.WIDTHS)
def test_the_title_of_a_panel_stays_on_the_paper_however_long_the_baseline(
    variants: Sequence[Variant], width: str
) -> None:
    found, baseline = differences_of(variants), f"resnet18,{'model.width=1.0625,' * 6}seed_of_split=0"
    with style.figure_style():
        figure = differences_to_baseline(found, baseline, LOOKS, width, list(found))
        figure.draw_without_rendering()
    upper, lower = figure.findobj(Axes)
    title = upper.get_title(loc="left")
    assert (
        title.replace("\n", "").startswith("Minus the baseline,") and lower.get_title(loc="left") == "Minus the control"
    )
    assert upper._left_title.get_window_extent().x1 <= figure.bbox.x1  # type: ignore[attr-defined]
