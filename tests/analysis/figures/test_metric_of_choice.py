"""Figures of another metric than test accuracy: its values, its unit, its direction."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from analysis.comparing.comparison import compare
from analysis.comparing.variants import Variant
from analysis.drawing import style
from analysis.figures import cost, differences
from analysis.figures.study import FigureOptions, StudyFigures
from analysis.reading.metrics import COMPARED
from analysis.reading.sources import read_runs
from tests.analysis.figures.looks import looks

STATIC, DYNAMIC = [0.80, 0.82, 0.85], [0.70, 0.75, 0.74]
LOOKS = looks(["static", "dynamic"])


@pytest.fixture
def variants(write_run: Callable[..., Path]) -> Sequence[Variant]:
    for seed, (static, dynamic) in enumerate(zip(STATIC, DYNAMIC, strict=True)):
        write_run("static", seed, 0.6, val_loss=static)
        write_run("dynamic", seed, 0.6, val_loss=dynamic)
    return compare(read_runs(["outputs"]), None, metric="val_loss").variants


def test_differences_are_those_of_the_metric_in_its_unit(variants: Sequence[Variant]) -> None:
    found = differences.differences_of(variants)
    assert list(found[0].by_seed.values()) == pytest.approx(np.subtract(DYNAMIC, STATIC))
    assert differences.in_words(found[0], 200).splitlines()[1].startswith("−0.093 [")
    with style.figure_style():
        figure = differences.differences_to_baseline(found, "static", LOOKS, "page")
        axes = figure.subfigs[0].axes[0]
        figure.draw_without_rendering()
    assert figure.subfigs[0].get_supxlabel() == "Validation loss minus that of static (cross-entropy)"
    assert max(abs(float(tick.get_text().replace("−", "-"))) for tick in axes.get_xticklabels()) < 0.5
    told = differences.caption("lab", found, "static")
    assert "lab: validation loss minus that of static with the same seed, in cross-entropy." in told
    assert told.endswith("better than on new images. Lower is better.")


def test_costs_stand_against_the_metric(variants: Sequence[Variant]) -> None:
    panels, metric = cost.cost_points(variants), COMPARED["val_loss"]
    assert panels["parameters"][0].accuracy.mean == pytest.approx(np.mean(STATIC))
    with style.figure_style():
        figure = cost.accuracy_against_cost(panels, LOOKS, "page", metric)
    assert figure.subfigs[0].get_supylabel() == "Validation loss (cross-entropy)"
    assert cost.caption("lab", panels, metric).startswith("lab: validation loss against trainable parameters, FLOPs")


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["static", "dynamic"])
def test_a_loss_that_is_not_finite_has_no_place_and_is_named(odd: str, write_run: Callable[..., Path]) -> None:
    for variant in ("static", "dynamic", "third"):
        for seed in range(2):
            write_run(variant, seed, 0.6, test_loss=np.inf if (variant, seed) == (odd, 1) else 1.0 + seed / 10)
    variants = compare(read_runs(["outputs"]), None, metric="test_loss").variants
    study = StudyFigures("lab", variants, looks(row.label for row in variants), FigureOptions("epochs", "page"))
    with style.figure_style():
        assert [drawing.name for drawing in study.accuracies("page")][:1] == ["accuracy_against_cost"]
    points = cost.cost_points(variants)["parameters"]
    assert sorted([*(point.label for point in points), odd]) == ["dynamic", "static", "third"]
    assert [each.label for each in differences.differences_of(variants)] == (["third"] if odd == "dynamic" else [])
    told = [line for line in study.gaps() if not line.startswith("no curves")]
    assert told == [f"{odd}: its test loss is not finite at every seed, so no mean or difference of it is drawn"]


def test_the_caption_names_the_costs_that_are_drawn(write_run: Callable[..., Path]) -> None:
    write_run("static", 0, 0.6, flops=None)
    told = cost.caption("lab", cost.cost_points(compare(read_runs(["outputs"]), None).variants))
    assert told.startswith("lab: test accuracy against trainable parameters and measured training time. ")
