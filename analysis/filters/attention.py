"""`python -m analysis attention`: what the dynamic layers decide for each image, and whether the network needs it."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dynfilt.data.bundle import ImageData, Split
from dynfilt.layers.choice import dynamic_layers

from ..drawing.sheets import Board, new_figure, save, write_captions, write_text
from ..drawing.style import BLACK, BLUE, ORANGE, SIGNED, SKY, VERMILION, picture_style
from ..tables.markdown import table_text
from ..tables.numbers import MISSING
from ..tables.table import Sheet
from . import checks, panels
from .averages import RunTables
from .checks import CHECK_MEANINGS, OF_A_PART, OF_A_PART_MEANING, UNTOUCHED, Check, Score
from .choices import (
    ATTENTION_MEANINGS,
    CHOICE_MEANINGS,
    NUMBERS,
    Attention,
    Choice,
    attentions_of,
    choice_sheet,
    choices_of,
    class_means,
    class_sheet,
    layer_sheet,
)
from .diversity import Diversity
from .replacement import require_sound_layers
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
    """For each run print and draw what its dynamic layers decide, then the checks; in the end averages over runs.

    Raises ValueError for a run without a dynamic layer, with one that breaks the protocol, and for an unknown --layer.
    """
    tables = RunTables()
    for opened in runs_to_draw(options, "attention"):
        needs = "networks with a dynamic layer, one that has the methods of dynfilt/layers/choice.py"
        require(opened, bool(dynamic_layers(opened.model)), "attention", needs)
        require_sound_layers(opened)
        split = opened.data.test.subset(opened.sample(opened.data.test, options.images))
        choices = choices_of(opened, split)
        layers = attentions_of(opened, choices)
        extreme = _layer(layers, options.layer)
        folder = Path(options.out) / opened.place
        print(f"## {opened.title}\n")
        tables.add(opened, "Choices", describe_choices(opened, choices, split.labels.cpu(), folder, options.format))
        if extreme is not None:
            tables.add(opened, "Attention", describe_attention(opened, layers, extreme, split, folder, options.format))
        tables.add(opened, "Checks", describe_checks(opened, options, folder))
        write_captions(
            folder / "captions-attention.md", f"Attention of {opened.title}", captions(opened, len(split), extreme)
        )
    tables.conclude(Path(options.out), "attention")


def captions(run: TrainedRun, images: int, extreme: Attention | None) -> dict[str, str]:
    """The captions of the pictures; those of attention over kernels only where there is any."""
    of = f"{run.title}, over {images:,} test images"
    texts = {
        "attention-choices": f"{of}: the part of the mean squared norm of each layer's choice that varies with "
        "the image, and of it the part that the classes' means account for.",
    }
    if extreme is not None:
        texts |= {
            "attention-entropy": f"{of}: entropy of each image's attention over kernels as a part of log K, by layer; "
            "mean and 5th to 95th percentile of the images, beside the entropy of the mean attention.",
            "attention-classes": f"{of}: mean attention of each class minus that of all images, by layer and kernel.",
            "attention-extremes": f"{of}: the images that give each kernel of {extreme.layer} the least and the most "
            "attention.",
        }
    texts["attention-checks"] = (
        f"{run.title}: test accuracy with every image's choice replaced as named; bars: 95 % intervals, over test "
        "images, of the paired difference to the untouched network (dotted)."
    )
    return texts


def describe_choices(
    run: TrainedRun, choices: list[Choice], labels: Tensor, folder: Path, formats: Sequence[str]
) -> Sheet[tuple[Choice, Diversity]]:
    """Print, write, draw and return how much of every choice the image and its class (N,) decide."""
    table = choice_sheet(choices, labels)
    print(f"What each image decides, over {len(labels):,} test images\n\n{table_text(table.table())}\n")
    print("\n".join(f"- {name}: {meaning}" for name, meaning in CHOICE_MEANINGS.items()))
    if any(choice.size > NUMBERS for choice in choices):
        print(f"- of a choice of more than {NUMBERS} numbers {NUMBERS} are looked at, evenly spread")
    print()
    write_text(folder / "attention-choices.csv", table.csv())
    with picture_style():
        figure = draw_choices(table.entries, f"How much of each choice varies with the image\n{run.title}")
        save(figure, folder, "attention-choices", formats)
    return table


def describe_attention(
    run: TrainedRun, layers: list[Attention], extreme: Attention, split: Split, folder: Path, formats: Sequence[str]
) -> Sheet[tuple[Attention, Diversity]]:
    """Print, write, draw and return the attention over kernels; of the layer `extreme` also the extreme images."""
    labels, names = split.labels.cpu(), run.data.class_names
    table = layer_sheet(layers, labels)
    print(f"Attention over {len(split):,} test images\n\n{table_text(table.table())}\n")
    print("\n".join(f"- {name}: {meaning}" for name, meaning in ATTENTION_MEANINGS.items()))
    if any(attention.temperature > 1 for attention in layers):
        print("- a temperature above 1 keeps softmax attention near uniform, whatever was learned")
    print()
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
            save(figure, folder, name, formats)
    return table


def describe_checks(run: TrainedRun, options: argparse.Namespace, folder: Path) -> Sheet[Check]:
    """Print, write, draw and return the test accuracies with the choice replaced.

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
    return table


def _explained(results: list[Check]) -> list[str]:
    names = [result.name for result in results if result.name != UNTOUCHED]
    lines = [f"{name}: {CHECK_MEANINGS[name]}" for name in names if name in CHECK_MEANINGS]
    if not set(names) <= set(CHECK_MEANINGS):
        lines.insert(1, f"{OF_A_PART.format('...')}: {OF_A_PART_MEANING}")
    lines.append(f"Δ against the untouched network, {MISSING} for itself; ± over test images only, of this one run")
    if results[0].reestimated:
        lines.append(
            "after re-estimation: BatchNorm statistics averaged anew over training images, under the same rule"
        )
    else:
        lines.append("no BatchNorm layer follows the dynamic layer, so re-estimating statistics changes nothing")
    return lines


def _layer(layers: list[Attention], name: str | None) -> Attention | None:
    """The layer of that name, by default the one whose attention varies most; None where there is none at all."""
    if name is None:
        return max(layers, key=lambda attention: attention.spread, default=None)
    for attention in layers:
        if attention.layer == name:
            return attention
    allowed = ", ".join(attention.layer for attention in layers) or "none, since no layer of this run has attention"
    raise ValueError(f"--layer {name}: unknown; the layers are {allowed}")


def draw_choices(rows: Sequence[tuple[Choice, Diversity]], title: str) -> Figure:
    """Draw for each choice the part of its squared norm that varies with the image, and of that the classes' part."""
    figure = new_figure(1.3 + 0.17 * len(rows), title)
    axes = figure.subplots()
    by_image = [100 * spread.input_share for _, spread in rows]
    by_class = [100 * spread.input_share * _or_zero(spread.class_share) for _, spread in rows]
    axes.barh(range(len(rows)), by_image, height=0.7, color=SKY, label="varies with the image")
    axes.barh(range(len(rows)), by_class, height=0.7, color=BLUE, label="of it by class")
    axes.set_yticks(range(len(rows)), [f"{choice.layer}: {choice.name}" for choice, _ in rows], fontsize=6)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("part of the mean squared norm, %")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def draw_entropy(layers: list[Attention], title: str) -> Figure:
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


def draw_classes(layers: list[Attention], labels: Tensor, names: tuple[str, ...], title: str) -> Figure:
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
        axes.set_xticks(range(choice.pi.shape[1]))
        axes.set_yticks(range(len(names)), names, fontsize=6)
        axes.tick_params(length=0)
    figure.supxlabel("kernel", fontsize=8)
    bar = figure.colorbar(drawn, ax=grid, location="right", fraction=0.03, aspect=40)
    bar.set_label("mean attention of the class - mean of all images")
    return figure


def draw_extremes(choice: Attention, images: Tensor, labels: Tensor, data: ImageData, title: str) -> Figure:
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
        board.write(0.12, top + TILE / 2, f"kernel\n{kernel}", va="center")
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
