"""Accuracy of each class, and what is taken for what, from the predictions that lie beside the runs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dynfilt.data.class_names import CLASS_NAMES
from dynfilt.run.folder import PREDICTIONS

from ..comparing.image_level import runs_with_predictions
from ..comparing.statistics import summarise
from ..comparing.variants import Variant
from ..comparing.words import seeds_each
from ..drawing import style
from ..reading.run_folder import read_classes
from ..tables.numbers import MISSING, mean_and_sd, percent
from ..tables.table import Heading, Row, Table

# Up to so many classes are named, with the accuracy of each on the diagonal.
NAMED = 20
NAME_SIZE = 6
MOST_CLASSES = 2000
# On paper white is none; the darkest is still lighter than the frame.
COLOURS = "Blues"


@dataclass(frozen=True)
class Confusion:
    """For test images of each true class (row) the share that is predicted as each class, mean over `n` seeds.

    `by_seed` has the same of each seed, shape (n, classes, classes).
    """

    label: str
    names: tuple[str, ...]
    by_seed: np.ndarray

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.by_seed)

    @property
    def shares(self) -> np.ndarray:
        """The mean, shape (classes, classes)."""
        return np.asarray(self.by_seed.mean(axis=0))


def confusions_of(variants: Sequence[Variant]) -> tuple[list[Confusion], list[str]]:
    """Of each variant whose runs all have usable predictions; and why others that have some are left out."""
    found, reasons = [], []
    for variant in variants:
        try:
            if runs := runs_with_predictions(variant):
                kept = [read_classes(run) for run in runs]
                classes = max(int(max(each.max() for each in pair)) + 1 for pair in kept)
                matrices = [_matrix(*pair, classes) for pair in kept]
                found.append(Confusion(variant.label, _names(variant, len(matrices[0])), np.stack(matrices)))
        except ValueError as error:
            reasons.append(f"{variant.label}: no accuracy by class: {error}")
    return found, reasons


def confusion_figure(confusions: Sequence[Confusion], width: str) -> Figure:
    """A panel a variant: errors on one colour scale, on the diagonal the accuracy of each class in percent."""
    columns = min(len(confusions), 3 if width == "page" else 1)
    rows = math.ceil(len(confusions) / columns)
    side = style.WIDTHS[width] / columns
    figure = Figure(figsize=(style.WIDTHS[width], rows * (side + 0.1) + 0.5), layout="constrained")
    is_one_axis = len({each.names for each in confusions}) == 1  # panels of other data sets have other classes
    grid = figure.subplots(rows, columns, squeeze=False, sharex=is_one_axis, sharey=is_one_axis)
    errors = [np.where(np.eye(len(each.names), dtype=bool), math.nan, 100 * each.shares) for each in confusions]
    named = [name for each in confusions if len(each.names) <= NAMED for name in each.names]
    beside = max((style.text_width(name, NAME_SIZE) for name in named), default=0.0)
    highest = max(float(np.nanmax(each, initial=0.0)) for each in errors) or 1.0
    for axes, each, values in zip(grid.flat, confusions, errors, strict=False):
        drawn = axes.imshow(values, cmap=COLOURS, vmin=0, vmax=highest, interpolation="nearest")
        _label(axes, each)
        axes.set_title(style.panel_title(style.with_count(each.label, each.n), width, columns, beside))
    for axes in grid.flat[len(confusions) :]:
        axes.remove()
    bar = figure.colorbar(drawn, ax=list(grid.flat[: len(confusions)]), location="bottom", fraction=0.03, aspect=60)
    bar.set_label("Taken for another class (%)")
    for axes in grid.flat[max(0, len(confusions) - columns) : len(confusions)]:
        axes.set_xlabel("Predicted class")
        axes.xaxis.set_tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("True class")
    return figure


def caption(heading: str, confusions: Sequence[Confusion]) -> str:
    """Caption of the figure."""
    are_named = [len(each.names) <= NAMED for each in confusions]
    where = "" if all(are_named) else f", where there are at most {NAMED} classes"
    sentences = [
        f"{heading}: of the test images of each true class (row) the share taken for each other class, in percent.",
        f"On the diagonal: the accuracy of the class{where}." if any(are_named) else "",
        "All panels have one colour scale.",
        seeds_each(each.n for each in confusions),
        f"{'Means over the seeds, with' if max(each.n for each in confusions) > 1 else 'With'} the weights that were "
        "best on the validation split.",
    ]
    return " ".join(filter(None, sentences))


def accuracy_by_class(confusions: Sequence[Confusion]) -> Table:
    """A row a class, a column a variant: its test accuracy, mean ± SD over the seeds, if its data has the class."""
    names = dict.fromkeys(name for each in confusions for name in each.names)
    headings = [Heading("class", is_text=True), *(Heading(each.label, "%", "↑") for each in confusions)]
    rows = [Row((name, *(_accuracy(each, name) for each in confusions)), (False,) * len(headings)) for name in names]
    return Table("Accuracy by class", "", tuple(headings), {"": rows})


def _accuracy(confusion: Confusion, name: str) -> str:
    if name not in confusion.names:
        return MISSING
    place = confusion.names.index(name)
    summary = summarise(confusion.by_seed[:, place, place].tolist())
    return mean_and_sd(summary.mean, summary.sd) if summary.n > 1 else percent(summary.mean)


def _matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Rows of true classes, which add up to 1; NaN for a class without images."""
    if classes > MOST_CLASSES:
        raise ValueError(f"{PREDICTIONS} has a class {classes - 1}; figures have up to {MOST_CLASSES:,} classes")
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels.astype(np.int64), predicted.astype(np.int64)), 1)
    of_class = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, of_class, out=np.full_like(counts, math.nan), where=of_class > 0)


def _names(variant: Variant, classes: int) -> tuple[str, ...]:
    """Those of the published data sets, else numbers."""
    names = CLASS_NAMES.get(str(variant.runs[0].setting("data._target_")), ())
    return names if len(names) == classes else tuple(map(str, range(classes)))


def _label(axes: Axes, confusion: Confusion) -> None:
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(confusion.names) > NAMED:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    places = range(len(confusion.names))
    axes.set_xticks(places, confusion.names, rotation=90, fontsize=NAME_SIZE)
    axes.set_yticks(places, confusion.names, fontsize=NAME_SIZE)
    for place in places:
        share = confusion.shares[place, place]
        percentage = MISSING if math.isnan(share) else f"{100 * share:.0f}"
        axes.text(place, place, percentage, ha="center", va="center", fontsize=6)
