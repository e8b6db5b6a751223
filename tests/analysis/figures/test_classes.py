"""Accuracy by class and confusions, counted image by image; what is left out says why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from analysis.comparing.comparison import compare
from analysis.comparing.variants import Variant
from analysis.drawing import style
from analysis.figures.classes import Confusion, accuracy_by_class, caption, confusion_figure, confusions_of
from analysis.reading.sources import read_runs
from dynfilt.data.class_names import CLASS_NAMES

WriteRun = Callable[..., Path]
LABELS = np.random.default_rng(0).integers(0, 10, 200)


@pytest.fixture
def write(write_run: WriteRun) -> WriteRun:
    def write(variant: str, seed: int, predicted: np.ndarray, **run: object) -> Path:
        kept = {"label": LABELS.astype(np.uint8), "best_class": predicted.astype(np.uint8)}
        return write_run(variant, seed, float((predicted == LABELS).mean()), predictions=kept, **run)

    return write


def predictions(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed + 1)
    return np.where(generator.random(200) < 0.6, LABELS, generator.integers(0, 10, 200))


def variants() -> list[Variant]:
    return compare(read_runs(["outputs"]), None).variants


def test_shares_are_those_counted_image_by_image_and_averaged_over_seeds(write: WriteRun) -> None:
    for seed in range(2):
        write("static", seed, predictions(seed))
    ((found,), reasons) = confusions_of(variants())
    assert reasons == [] and found.n == 2 and found.names[3] == "cat"
    expected = np.zeros((2, 10, 10))
    for seed in range(2):
        for true, guess in zip(LABELS, predictions(seed), strict=True):
            expected[seed, true, guess] += 1 / (true == LABELS).sum()
    np.testing.assert_allclose(found.by_seed, expected)
    table = accuracy_by_class([found])
    cat = 100 * expected[:, 3, 3]
    assert table.blocks[""][3].cells == ("cat", f"{cat.mean():.2f} ± {cat.std(ddof=1):.2f}")


def test_runs_without_usable_predictions_are_left_out_with_the_reason(write: WriteRun, write_run: WriteRun) -> None:
    write("static", 0, predictions(0), settings={"data._target_": "mine.data"})
    write("some", 0, predictions(1))
    write_run("some", 1, 0.5)
    write_run("none", 0, 0.5)
    found, reasons = confusions_of(variants())
    assert [(each.label, each.names[0]) for each in found] == [("static", "0")]
    assert reasons == ["some: no accuracy by class: test_predictions.npz is missing in some runs"]


def test_a_class_that_only_one_run_predicts_is_one_of_all(write: WriteRun) -> None:
    classes, first = int(LABELS.max()) + 1, int(LABELS[0])
    for seed in (0, 1):
        predicted = LABELS.copy()
        predicted[0] = classes if seed == 0 else first
        write("static", seed, predicted)
    [found], reasons = confusions_of(variants())
    assert not reasons and found.by_seed.shape == (2, classes + 1, classes + 1)
    assert found.by_seed[:, first, classes].tolist() == [pytest.approx(1 / (first == LABELS).sum()), 0.0]


def test_each_variant_has_a_panel_with_errors_alone_on_the_scale(write: WriteRun) -> None:
    for variant in ("static", "b", "c", "d"):
        write(variant, 0, predictions(0))
    found, _ = confusions_of(variants())
    with style.figure_style():
        figure = confusion_figure(found, "page")
    panels = [axes for axes in figure.findobj(Axes) if axes.get_images() and axes.get_title()]
    assert [axes.get_title().partition(" (")[0] for axes in panels] == ["static", "b", "c", "d"]
    (image,) = panels[0].get_images()
    shown = np.ma.filled(image.get_array(), np.nan)
    assert np.isnan(np.diag(shown)).all() and np.nanmax(shown) == pytest.approx(image.get_clim()[1])
    diagonal = [text.get_text() for text in panels[0].texts]
    assert diagonal == [f"{100 * share:.0f}" for share in np.diag(found[0].shares)]


def test_classes_of_different_data_sets_are_neither_one_row_nor_one_axis() -> None:
    pets, many = ("cat", "dog"), tuple(map(str, range(30)))
    found = [Confusion("a", pets, np.full((1, 2, 2), 0.5)), Confusion("b", many, np.full((1, 30, 30), 1 / 30))]
    rows = {row.cells[0]: row.cells[1:] for row in accuracy_by_class(found).rows}
    assert len(rows) == 32 and rows["cat"] == ("50.00", "–") and rows["0"] == ("–", "3.33")
    with style.figure_style():
        figure = confusion_figure(found, "page")
    panels = [axes for axes in figure.findobj(Axes) if axes.get_images() and axes.get_title()]
    assert [axes.get_xlim() for axes in panels] == [(-0.5, 1.5), (-0.5, 29.5)]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == list(pets)
    assert "where there are at most 20 classes" in caption("study", found)


def test_a_class_without_test_images_has_no_accuracy() -> None:
    shares = np.array([[[0.25, 0.75], [np.nan, np.nan]]])
    with style.figure_style():
        figure = confusion_figure([Confusion("a", ("cat", "dog"), shares)], "page")
    (panel,) = [axes for axes in figure.findobj(Axes) if axes.get_images() and axes.get_title()]
    assert [text.get_text() for text in panel.texts] == ["25", "–"]


@pytest.mark.parametrize("width", style.WIDTHS)
def test_a_title_stays_on_the_figure_beside_the_names_of_classes(width: str) -> None:
    label, classes = "w" * 80, CLASS_NAMES["dynfilt.data.cifar.cifar10"]  # lines as long as they may be
    found = [Confusion(label, classes, np.full((1, 10, 10), 0.1))] * 3
    with style.figure_style():
        figure = confusion_figure(found, width)
        figure.draw_without_rendering()
    panels = [axes for axes in figure.findobj(Axes) if axes.get_images() and axes.get_title()]
    boxes = [axes.title.get_window_extent() for axes in panels]
    assert len(boxes) == 3 and all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
