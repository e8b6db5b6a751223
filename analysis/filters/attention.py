"""`python -m analysis attention`: DY-Conv's attention a layer, and whether a network's dynamic part is needed."""

import argparse
import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dynfilt.data.bundle import ImageData
from dynfilt.layers.dyconv import DYConv2d

from ..drawing.sheets import Board, new_figure, save, write_text
from ..drawing.style import BLACK, BLUE, ORANGE, SIGNED, SKY, VERMILION, picture_style
from ..tables.markdown import table_text
from ..tables.numbers import MISSING
from . import checks, panels
from .checks import CHECK_MEANINGS, UNTOUCHED, Check, Score
from .choices import ATTENTION_MEANINGS, Choices, choices_of, class_means, class_sheet, layer_sheet
from .replacement import dynamic_layers
from .trained import TrainedRun, add_picture_arguments, add_run_arguments, require, runs_to_draw

EXTREMES = 5
TILE = 0.6  # inches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `attention`."""
    add_run_arguments(parser)
    add_picture_arguments(parser)
    parser.add_argument("--images", type=int, metavar="N", help="use N images of the test split (default: all)")
    parser.add_argument(
        "--train-images",
        type=int,
        default=5000,
        metavar="N",
        help="training images for BatchNorm re-estimation (default: 5000)",
    )
    parser.add_argument("--layer", metavar="NAME", help="layer of the extreme images; default: the most varied one")


def run(options: argparse.Namespace) -> None:
    """For each run print and draw the attention, where there is attention, then the checks."""
    for opened in runs_to_draw(options, "attention"):
        layers = dynamic_layers(opened.model)
        needs = "networks with a dynamic layer (dyconv_resnet18 with 2 or more kernels, dynamic_3x3 and its faults)"
        require(opened, bool(layers), "attention", needs)
        folder = Path(options.out) / opened.place
        print(f"## {opened.title}\n")
        describe_choices(opened, options, folder)
        describe_checks(opened, options, folder)


def describe_choices(run: TrainedRun, options: argparse.Namespace, folder: Path) -> None:
    """Print, write and draw the attention of each DY-Conv layer; nothing for a run without one.

    Raises ValueError for an unknown --layer.
    """
    split = run.data.test.subset(run.sample(run.data.test, options.images))
    labels, names = split.labels.cpu(), run.data.class_names
    has_attention = any(isinstance(layer, DYConv2d) for layer in dynamic_layers(run.model).values())
    layers = choices_of(run, split) if has_attention else []
    extreme = _layer(layers, options.layer)
    if extreme is None:
        return
    table = layer_sheet(layers, labels)
    print(f"Attention over {len(split):,} test images\n\n{table_text(table.table())}\n")
    print("\n".join(f"- {name}: {meaning}" for name, meaning in ATTENTION_MEANINGS.items()))
    if max(choice.temperature for choice in layers) > 1:
        print("- a temperature above 1 keeps softmax attention near uniform, whatever was learned")
    write_text(folder / "attention-layers.csv", table.csv())
    write_text(folder / "attention-classes.csv", class_sheet(layers, labels, names).csv())
    with picture_style():
        title = f"Extreme attention in {extreme.layer}\n{run.title}"
        pictures = {
            "attention-entropy": draw_entropy(layers, f"Entropy of attention\n{run.title}"),
            "attention-classes": draw_classes(layers, labels, names, f"Attention of each class\n{run.title}"),
            "attention-extremes": draw_extremes(extreme, split.images, labels, run.data, title),
        }
        for name, figure in pictures.items():
            save(figure, folder, name, options.format)
    print()


def describe_checks(run: TrainedRun, options: argparse.Namespace, folder: Path) -> None:
    """Print, write and draw the test accuracies with the choice replaced.

    Raises ValueError for a count of images that is too small.
    """
    results = checks.checks(run, options.images, options.train_images)
    table = checks.sheet(results)
    print(f"Is it dynamic?\n\n{table_text(table.table())}\n")
    print("\n".join(f"- {line}" for line in _explained(results)))
    print()
    write_text(folder / "attention-checks.csv", table.csv())
    with picture_style():
        figure = draw_checks(results, f"Is it dynamic?\n{run.title}")
        save(figure, folder, "attention-checks", options.format)


def _explained(results: list[Check]) -> list[str]:
    lines = [f"{result.name}: {CHECK_MEANINGS[result.name]}" for result in results if result.name != UNTOUCHED]
    lines.append(f"Δ against the untouched network, {MISSING} for itself; ± over test images only, of this one run")
    if results[0].reestimated:
        lines.append(
            "after re-estimation: BatchNorm statistics averaged anew over training images, under the same rule"
        )
    else:
        lines.append("no BatchNorm layer follows the dynamic layer, so re-estimating statistics changes nothing")
    return lines


def _layer(layers: list[Choices], name: str | None) -> Choices | None:
    """The layer of that name, by default the one whose attention varies most; None where there is none at all."""
    if name is None:
        return max(layers, key=lambda choice: choice.spread, default=None)
    for choice in layers:
        if choice.layer == name:
            return choice
    allowed = ", ".join(choice.layer for choice in layers) or "none, since no layer of this run has attention"
    raise ValueError(f"--layer {name}: unknown; the layers are {allowed}")


def draw_entropy(layers: list[Choices], title: str) -> Figure:
    """Draw the entropy of each layer: mean and percentiles over images, beside the entropy of the mean attention."""
    figure = new_figure(1.2 + 0.2 * len(layers), title)
    axes = figure.subplots()
    rows = range(len(layers))
    ends = [choice.entropy_range for choice in layers]
    axes.axvline(1, color=BLACK, linewidth=0.6, linestyle=":")
    axes.hlines(rows, *zip(*ends, strict=True), color=SKY, linewidth=3, label="5th to 95th percentile of images")
    means = [choice.mean_entropy for choice in layers]
    axes.scatter(means, rows, s=16, color=BLUE, zorder=3, label="mean over images")
    of_mean = [choice.entropy_of_mean for choice in layers]
    axes.scatter(of_mean, rows, marker="|", s=60, color=VERMILION, zorder=3, label="of the mean attention")
    axes.set_yticks(list(rows), [choice.layer for choice in layers])
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("entropy as a part of log K: 1 all kernels alike, 0 one kernel alone")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_classes(layers: list[Choices], labels: Tensor, names: tuple[str, ...], title: str) -> Figure:
    """Draw for each layer how much more attention than the mean over images a class gives to each kernel.

    `labels` (N,) are those of the N images whose attention the layers hold.
    """
    columns = min(4, len(layers))
    rows = math.ceil(len(layers) / columns)
    figure = new_figure(0.9 + rows * max(1.2, 0.13 * len(names)), title)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    excess = [class_means(choice.pi, labels, len(names)) - choice.pi.mean(0) for choice in layers]
    limit = panels.largest_magnitude(*(values.nan_to_num() for values in excess))
    for axes in grid.flat[len(layers) :]:
        axes.set_visible(False)
    for axes, choice, values in zip(grid.flat, layers, excess, strict=False):
        drawn = axes.imshow(values.numpy(), cmap=SIGNED, vmin=-limit, vmax=limit, aspect="auto")
        axes.set_title(choice.layer, fontsize=7)
        axes.set_xticks(range(choice.pi.shape[1]), range(1, choice.pi.shape[1] + 1))
        axes.set_yticks(range(len(names)), names, fontsize=6)
        axes.tick_params(length=0)
    figure.supxlabel("kernel", fontsize=8)
    bar = figure.colorbar(drawn, ax=grid, location="right", fraction=0.03, aspect=40)
    bar.set_label("mean attention of the class - mean of all images")
    return figure


def draw_extremes(choice: Choices, images: Tensor, labels: Tensor, data: ImageData, title: str) -> Figure:
    """Draw for each kernel of one layer the images (N, 3, H, W) that give it the least and the most attention.

    `labels` (N,) are the images'.
    """
    kernels = choice.pi.shape[1]
    board = Board(0.2 + kernels * (TILE + 0.42), title)
    for side, heading in enumerate(("least attention", "most attention")):
        board.write(0.7 + side * 3.3 + 2.5 * (TILE + 0.03), 0.08, heading, ha="center")
    for kernel in range(kernels):
        order = choice.pi[:, kernel].argsort()
        top = 0.15 + kernel * (TILE + 0.42)
        board.write(0.12, top + TILE / 2, f"kernel\n{kernel + 1}", va="center")
        for side, indices in enumerate((order[:EXTREMES].tolist(), order[-EXTREMES:].flip(0).tolist())):
            for column, index in enumerate(indices):
                axes = board.axes(0.7 + side * 3.3 + column * (TILE + 0.03), top, TILE, TILE)
                panels.show_image(axes, images[index])
                name = data.class_names[int(labels[index])]
                axes.set_xlabel(f"{name}\n{choice.pi[index, kernel]:.3f}", fontsize=6, labelpad=1)
    return board.figure


def draw_checks(results: list[Check], title: str) -> Figure:
    """Draw the test accuracy of each check, its interval that of the paired difference, before and after
    re-estimation."""
    figure = new_figure(1.3 + 0.3 * len(results), title)
    axes = figure.subplots()
    after = [result.reestimated for result in results if result.reestimated]
    offset = 0.12 if after else 0.0
    _points(axes, [result.as_trained for result in results], -offset, "o", BLUE, "BatchNorm statistics as trained")
    if after:
        _points(axes, after, offset, "s", ORANGE, "re-estimated under the replacement")
    axes.set_yticks(range(len(results)), [result.name for result in results])
    axes.set_ylim(len(results) - 0.5, -0.5)
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
