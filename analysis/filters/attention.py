"""`python -m analysis attention`: DY-Conv's attention a layer, and whether a network's dynamic part is needed."""

import argparse
from pathlib import Path

from dynfilt.layers.dyconv import DYConv2d

from ..drawing import canvas
from ..tables.numbers import MISSING
from ..tables.sheet import markdown, records
from . import attention_figures as figures
from . import choices
from .checks import MEANINGS, UNTOUCHED, Check, checks
from .checks import sheet as check_sheet
from .replacement import dynamic_layers
from .trained import TrainedRun, add_run_arguments, require, runs_to_draw


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_run_arguments(parser)
    canvas.add_picture_arguments(parser)
    parser.add_argument("--images", type=int, metavar="N", help="use N images of the test split (default: all)")
    parser.add_argument(
        "--train-images",
        type=int,
        default=5000,
        metavar="N",
        help="training images for BatchNorm re-estimation (default: 5000)",
    )
    parser.add_argument("--layer", metavar="NAME", help="layer of the extreme images; default: the most varied one")


def run(options: argparse.Namespace) -> int:
    """For each run the attention's tables and pictures, where there is attention, then the checks."""
    for opened in runs_to_draw(options, "attention"):
        layers = dynamic_layers(opened.model)
        needs = "networks with a dynamic layer (dyconv_resnet18 with 2 or more kernels, dynamic_3x3 and its faults)"
        require(opened, bool(layers), "attention", needs)
        folder = Path(options.out) / opened.place
        print(f"## {opened.title}\n")
        describe_choices(opened, options, folder)
        describe_checks(opened, options, folder)
    return 0


def describe_choices(run: TrainedRun, options: argparse.Namespace, folder: Path) -> None:
    """Print, write and draw the attention of each DY-Conv layer; nothing for a run without one.

    Raises ValueError for an unknown --layer.
    """
    split = run.data.test.subset(run.sample(run.data.test, options.images))
    labels = split.labels.cpu()
    found = choices.choices(run, split) if _has_attention(run) else []
    chosen = _layer(found, options.layer)
    if chosen is None:
        return
    table = choices.layer_sheet(found, labels)
    print(f"Attention over {len(split):,} test images\n\n{markdown(table)}")
    print("\n".join(f"- {name}: {meaning}" for name, meaning in choices.MEANINGS.items()))
    if max(choice.temperature for choice in found) > 1:
        print("- a temperature above 1 keeps softmax attention near uniform, whatever was learned")
    canvas.write_text(folder / "attention-layers.csv", records(table))
    by_class = choices.class_sheet(found, labels, run.data.class_names)
    canvas.write_text(folder / "attention-classes.csv", records(by_class))
    with canvas.style():
        pictures = {
            "attention-entropy": figures.draw_entropy(found, f"Entropy of attention\n{run.title}"),
            "attention-classes": figures.draw_classes(
                found, labels, run.data.class_names, f"Attention of each class\n{run.title}"
            ),
            "attention-extremes": figures.draw_extremes(
                chosen, split.images, labels, run.data, f"Extreme attention in {chosen.layer}\n{run.title}"
            ),
        }
        for name, figure in pictures.items():
            canvas.save(figure, folder, name, options.format)
    print()


def describe_checks(run: TrainedRun, options: argparse.Namespace, folder: Path) -> None:
    """Print, write and draw the test accuracies with the choice replaced."""
    rows = checks(run, options.images, options.train_images)
    table = check_sheet(rows)
    print(f"Is it dynamic?\n\n{markdown(table)}")
    print("\n".join(f"- {line}" for line in _explained(rows)))
    print()
    canvas.write_text(folder / "attention-checks.csv", records(table))
    with canvas.style():
        canvas.save(
            figures.draw_checks(rows, f"Is it dynamic?\n{run.title}"), folder, "attention-checks", options.format
        )


def _explained(rows: list[Check]) -> list[str]:
    lines = [f"{row.name}: {MEANINGS[row.name]}" for row in rows if row.name != UNTOUCHED]
    lines.append(f"Δ against the untouched network, {MISSING} for itself; ± over test images only, of this one run")
    if rows[0].reestimated:
        lines.append(
            "after re-estimation: BatchNorm statistics averaged anew over training images, under the same rule"
        )
    else:
        lines.append("no BatchNorm layer follows the dynamic layer, so re-estimating statistics changes nothing")
    return lines


def _has_attention(run: TrainedRun) -> bool:
    return any(isinstance(layer, DYConv2d) for layer in dynamic_layers(run.model).values())


def _layer(found: list[choices.Choices], name: str | None) -> choices.Choices | None:
    """The layer of that name, by default the one whose attention varies most; None where there is none at all."""
    if name is None:
        return max(found, key=lambda choice: choice.spread, default=None)
    for choice in found:
        if choice.layer == name:
            return choice
    known = ", ".join(choice.layer for choice in found) or "none, since no layer of this run has attention"
    raise ValueError(f"--layer {name}: unknown; the layers are {known}")
