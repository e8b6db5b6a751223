"""Diagrams of attention: entropy a layer, means a class, images with extreme attention, the checks."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dynfilt.data.bundle import ImageData

from ..drawing import canvas
from . import panels
from .checks import UNTOUCHED, Check, Score
from .choices import Choices, class_means

SHOWN = 5
TILE = 0.6  # inches


def draw_entropy(found: list[Choices], title: str) -> Figure:
    """Entropy of each layer: mean and percentiles over images, beside the entropy of the mean attention."""
    figure = canvas.new_figure(1.2 + 0.2 * len(found), title)
    axes = figure.subplots()
    rows = range(len(found))
    ends = [choice.entropy_range for choice in found]
    axes.axvline(1, color=canvas.BLACK, linewidth=0.6, linestyle=":")
    axes.hlines(rows, *zip(*ends, strict=True), color=canvas.SKY, linewidth=3, label="5th to 95th percentile of images")
    means = [choice.entropies.mean().item() for choice in found]
    axes.scatter(means, rows, s=16, color=canvas.BLUE, zorder=3, label="mean over images")
    of_mean = [choice.entropy_of_mean for choice in found]
    axes.scatter(of_mean, rows, marker="|", s=60, color=canvas.VERMILION, zorder=3, label="of the mean attention")
    axes.set_yticks(list(rows), [choice.layer for choice in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("entropy as a part of log K: 1 all kernels alike, 0 one kernel alone")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_classes(found: list[Choices], labels: Tensor, names: tuple[str, ...], title: str) -> Figure:
    """For each layer, how much more or less attention than the mean over images a class gives to each kernel."""
    columns = min(4, len(found))
    rows = math.ceil(len(found) / columns)
    figure = canvas.new_figure(0.9 + rows * max(1.2, 0.13 * len(names)), title)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    excess = [class_means(choice.pi, labels, len(names)) - choice.pi.mean(0) for choice in found]
    limit = panels.largest_magnitude(*(values.nan_to_num() for values in excess))
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    for axes, choice, values in zip(grid.flat, found, excess, strict=False):
        drawn = axes.imshow(values.numpy(), cmap=canvas.SIGNED, vmin=-limit, vmax=limit, aspect="auto")
        axes.set_title(choice.layer, fontsize=7)
        axes.set_xticks(range(choice.pi.shape[1]), range(1, choice.pi.shape[1] + 1))
        axes.set_yticks(range(len(names)), names, fontsize=6)
        axes.tick_params(length=0)
    figure.supxlabel("kernel", fontsize=8)
    bar = figure.colorbar(drawn, ax=grid, location="right", fraction=0.03, aspect=40)
    bar.set_label("mean attention of the class - mean of all images")
    return figure


def draw_extremes(choice: Choices, images: Tensor, labels: Tensor, data: ImageData, title: str) -> Figure:
    """For each kernel of one layer, the images (N, 3, H, W) that give it the least and the most attention."""
    kernels = choice.pi.shape[1]
    board = canvas.Board(0.2 + kernels * (TILE + 0.42), title)
    for side, heading in enumerate(("least attention", "most attention")):
        board.write(0.7 + side * 3.3 + 2.5 * (TILE + 0.03), 0.08, heading, ha="center")
    for kernel in range(kernels):
        order = choice.pi[:, kernel].argsort()
        top = 0.15 + kernel * (TILE + 0.42)
        board.write(0.12, top + TILE / 2, f"kernel\n{kernel + 1}", va="center")
        for side, indices in enumerate((order[:SHOWN].tolist(), order[-SHOWN:].flip(0).tolist())):
            for column, index in enumerate(indices):
                axes = board.axes(0.7 + side * 3.3 + column * (TILE + 0.03), top, TILE, TILE)
                panels.show_image(axes, images[index])
                name = data.class_names[int(labels[index])]
                axes.set_xlabel(f"{name}\n{choice.pi[index, kernel]:.3f}", fontsize=6, labelpad=1)
    return board.figure


def draw_checks(rows: list[Check], title: str) -> Figure:
    """Test accuracy of each check, its interval that of the paired difference, before and after re-estimation."""
    figure = canvas.new_figure(1.3 + 0.3 * len(rows), title)
    axes = figure.subplots()
    after = [row.reestimated for row in rows if row.reestimated]
    offset = 0.12 if after else 0.0
    _points(axes, [row.as_trained for row in rows], -offset, "o", canvas.BLUE, "BatchNorm statistics as trained")
    if after:
        _points(axes, after, offset, "s", canvas.ORANGE, "re-estimated under the replacement")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"test accuracy, %; dotted: {UNTOUCHED}; bars: 95 % interval of the difference to that line")
    if after:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _points(axes: Axes, scores: list[Score], offset: float, marker: str, colour: str, label: str) -> None:
    axes.axvline(100 * scores[0].accuracy, color=colour, linewidth=0.8, linestyle=":", zorder=0)
    margins = [0.0 if math.isnan(score.margin) else 100 * score.margin for score in scores]
    axes.errorbar(
        [100 * score.accuracy for score in scores],
        [row + offset for row in range(len(scores))],
        xerr=margins, fmt=marker, markersize=4, capsize=2, linewidth=1, color=colour, label=label,
    )  # fmt: skip
