"""`python -m analysis kernels`: the kernels that a layer applies to several images, and how they differ."""

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from inspect import ismethod
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dynfilt.layers.choice import image_filters, is_dynamic
from dynfilt.layers.generated import SATURATED

from ..drawing import style
from ..drawing.sheets import Board, save, write_captions, write_text
from ..tables.markdown import table_text
from ..tables.table import Heading, Sheet, column
from . import panels
from .averages import RunTables
from .diversity import diversity
from .replacement import inputs_of, require_sound_layers
from .trained import TrainedRun, add_picture_arguments, add_run_arguments, evenly_spread, require, runs_to_draw

IMAGES_A_SIDE = 3
COUNTED = {1: "an image", 2: "two images", 3: "three images"}
HALF, PHOTO, MOSAIC = 3.5, 0.95, 2.1  # inches
# Of a filter with more kernels, one for each pair of output and input, so many are looked at.
KERNELS = 64
# Key -> heading and meaning.
MEASURES = {
    "within_class": ("within class", "mean cosine distance of the filters of two images of one class, over all pairs"),
    "between_classes": ("between classes", "the same for two images of different classes"),
    "input_share": (
        "explained by input",
        "mean squared distance to the mean filter / mean squared norm; 0 for a filter that ignores its input",
    ),
    "class_share": (
        "of it by class",
        "the part of those squared distances that the classes' mean filters account for",
    ),
    "class_share_by_chance": ("by chance", "what that part is expected to be with labels dealt out at random"),
    "saturated": (
        "saturated",
        f"part of the generator's outputs beyond ±{SATURATED}, where tanh lets hardly any gradient through",
    ),
}


@dataclass(frozen=True)
class ImageFilters:
    """The kernels of some test images: `indices` (N,) into the split, labels and predicted classes (N,); of the named
    layer's `count` kernels up to KERNELS, evenly spread, (N, kernels, kh, kw); and the part of the generator's outputs
    that is saturated, NaN without a generator."""

    layer: str
    indices: Tensor
    labels: Tensor
    predictions: Tensor
    kernels: Tensor
    count: int
    saturated: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `kernels`."""
    add_run_arguments(parser)
    add_picture_arguments(parser)
    parser.add_argument("--class", dest="label", metavar="NAME", help="class of the images on the left; default: first")
    parser.add_argument("--images", type=int, metavar="N", help="use N images of the test split (default: all)")
    parser.add_argument(
        "--layer", metavar="NAME", help="whose kernels; default: the first layer that gives its filters"
    )


def run(options: argparse.Namespace) -> None:
    """Draw the pictures of each run; print one row of numbers a run, averages over runs, and what one has to know."""
    measured, lines = [], [f"{heading}: {meaning}" for heading, meaning in MEASURES.values()]
    tables = RunTables()
    for opened in runs_to_draw(options, "kernels"):
        layers = layers_with_filters(opened)
        name = _chosen(opened, layers, options.layer)
        images = filters_of(opened, name, opened.sample(opened.data.test, options.images))
        measured.append((opened, draw_run(opened, images, options)))
        tables.add(opened, "Kernels", sheet(measured[-1:]))
        lines += notes(opened, images, layers)
    print(f"{table_text(sheet(measured).table())}\n")
    tables.conclude(Path(options.out), "kernels")
    print("\n".join(f"- {line}" for line in dict.fromkeys(lines)))


def layers_with_filters(run: TrainedRun) -> dict[str, bool]:
    """The layers that have a method `filters`, in the order in which they run, and whether it gives whole filters.

    Raises ValueError for a layer that breaks the protocol, and when no layer gives its filters.
    """
    require_sound_layers(run)
    layers = {name: layer for name, layer in run.model.named_modules() if ismethod(getattr(layer, "filters", None))}
    with torch.no_grad():
        given = {name: image_filters(layers[name], x) is not None for name, x in inputs_of(run, layers).items()}
    needs = "networks with a layer that gives each image's whole filter, by a method `filters(x)`"
    require(run, any(given.values()), "kernels", needs)
    return given


def draw_run(run: TrainedRun, images: ImageFilters, options: argparse.Namespace) -> dict[str, float]:
    """Write kernels.json and the pictures of one run, and return its numbers.

    Raises ValueError for an unknown class and too few images.
    """
    kernels, name = images.kernels, images.layer
    measures = {**asdict(diversity(kernels, images.labels)), "saturated": images.saturated}
    chosen = choose(images.labels, run.data.class_names, options.label)
    folder = Path(options.out) / run.place
    content = {
        "run": str(run.folder),
        "title": run.title,
        "layer": name,
        **{key: None if math.isnan(value) else value for key, value in measures.items()},
        "definitions": {key: meaning for key, (_, meaning) in MEASURES.items()},
        "test_images_shown": {side: images.indices[positions].tolist() for side, positions in chosen.items()},
    }
    write_text(folder / "kernels.json", json.dumps(content, indent=2) + "\n")
    write_captions(folder / "captions-kernels.md", f"Kernels of {run.title}", captions(run, images, chosen))
    differences = kernels - kernels.double().mean(0).float()  # exactly 0 for a filter that is always the same
    size = "×".join(map(str, kernels.shape[2:]))
    with style.picture_style():
        title = f"{size} kernels of {name}\n{run.title}"
        figure = draw(run, images, chosen, kernels, title, style.KERNELS, "weight")
        save(figure, folder, "kernels", options.format)
        title = f"{size} kernels of {name} minus their mean over {len(kernels):,} test images\n{run.title}"
        figure = draw(run, images, chosen, differences, title, style.SIGNED, "weight - mean weight")
        save(figure, folder, "kernels-differences", options.format)
    return measures


def captions(run: TrainedRun, images: ImageFilters, chosen: dict[str, list[int]]) -> dict[str, str]:
    """The captions of both pictures."""
    names, labels = run.data.class_names, images.labels
    (one, *_), others = ([names[int(labels[position])] for position in positions] for positions in chosen.values())
    size = "×".join(map(str, images.kernels.shape[2:]))
    shown = f"{images.kernels.shape[1]} of {images.count:,}" if images.kernels.shape[1] < images.count else "all"
    what = (
        f"{size} kernels of {images.layer} ({shown}) of {run.title}, for three test images of {one} (left) and one "
        f"image {'each ' if len(others) > 1 else ''}of {', '.join(others)} (right)"
    )
    return {
        "kernels": f"{what}. Dark: below 0, light: above; one scale for all images.",
        "kernels-differences": f"{what}, minus their mean over {len(images.kernels):,} test images: without any "
        "dependence on the input all would be 0. One scale for all images.",
    }


@torch.inference_mode()
def filters_of(run: TrainedRun, name: str, indices: Tensor) -> ImageFilters:
    """The kernels of a layer for the test images at `indices` (N,), in that order, on the CPU."""
    layer, split = run.model.get_submodule(name), run.data.test.subset(indices)
    kernels: list[Tensor] = []
    counts: list[int] = []
    saturated: list[Tensor] = []

    def keep(layer: Any, arguments: tuple[Tensor], output: Tensor) -> None:
        filters = image_filters(layer, arguments[0])
        assert filters is not None
        of_batch = filters.flatten(1, 2)
        counts.append(of_batch.shape[1])
        kernels.append(of_batch[:, evenly_spread(of_batch.shape[1], KERNELS).to(filters.device)].float().cpu())
        if hasattr(layer, "saturated"):
            saturated.append(layer.saturated(arguments[0]).cpu())

    hook = layer.register_forward_hook(keep)
    predictions = torch.empty(len(split), dtype=torch.int64)
    order = []
    for positions, images, _ in run.batches(split):
        predictions[positions.cpu()] = run.apply(images).argmax(1).cpu()
        order.append(positions.cpu())
    hook.remove()
    in_order = torch.cat(kernels)[torch.cat(order).argsort()]
    share = torch.cat(saturated).mean().item() if saturated else math.nan
    return ImageFilters(name, indices.cpu(), split.labels.cpu(), predictions, in_order, counts[0], share)


def _chosen(run: TrainedRun, layers: dict[str, bool], name: str | None) -> str:
    usable = [layer for layer, is_given in layers.items() if is_given]
    if name is not None and name not in usable:
        raise ValueError(f"--layer {name}: unknown; the layers of {run.folder} are {', '.join(usable)}")
    return name or usable[0]


def choose(labels: Tensor, names: tuple[str, ...], label: str | None) -> dict[str, list[int]]:
    """Positions in labels (N,) of three images of one class, by default the first that has as many, and of one image
    of each of up to three other classes, spread over those that there are: the first of each.

    Raises ValueError, listing the classes, for an unknown one, and when there are too few images.
    """
    if label is not None and label not in names:
        raise ValueError(f"--class {label}: unknown; the classes are {', '.join(names)}")
    places = {one: (labels == one).nonzero().flatten().tolist() for one in range(len(names))}
    wanted = list(places) if label is None else [names.index(label)]
    one = next((each for each in wanted if len(places[each]) >= IMAGES_A_SIDE), wanted[0])
    others = [(one + step) % len(names) for step in range(1, len(names)) if places[(one + step) % len(names)]]
    if len(places[one]) < IMAGES_A_SIDE or not others:
        raise ValueError(
            f"{IMAGES_A_SIDE} images of {names[one]} and one of another class are needed; take more --images"
        )
    count = min(IMAGES_A_SIDE, len(others))
    spread = [others[(len(others) + 1) * step // (count + 1) - 1] for step in range(1, count + 1)]
    return {"one class": places[one][:IMAGES_A_SIDE], "different classes": [places[other][0] for other in spread]}


def draw(
    run: TrainedRun,
    images: ImageFilters,
    chosen: dict[str, list[int]],
    kernels: Tensor,
    title: str,
    colours: str,
    quantity: str,
) -> Figure:
    """Draw images beside their kernels, (N, K, k, k) in all: one class on the left, different classes on the right."""
    board = Board(7.6, title)
    limit = panels.largest_magnitude(*(kernels[position] for side in chosen.values() for position in side))
    for half, (side, positions) in enumerate(chosen.items()):
        left = 0.15 + half * HALF
        number = COUNTED[len(positions)]
        board.write(left + HALF / 2, 0.1, f"{number} of {side if len(positions) > 1 else 'another class'}", ha="center")
        for row, position in enumerate(positions):
            top = 0.2 + row * (MOSAIC + 0.15)
            _show_image(board.axes(left, top + 0.5, PHOTO, PHOTO), run, images, position)
            mosaic = board.axes(left + PHOTO + 0.1, top, MOSAIC, MOSAIC)
            drawn = panels.show_mosaic(mosaic, kernels[position], limit, colours)
    bar = board.figure.colorbar(drawn, cax=board.axes(1.6, 7.05, 4, 0.12), orientation="horizontal")
    bar.set_label(f"{quantity}, one scale for all images")
    return board.figure


def _show_image(axes: Axes, run: TrainedRun, images: ImageFilters, position: int) -> None:
    names = run.data.class_names
    panels.show_image(axes, run.data.test.images[images.indices[position]])
    truth, guess = names[int(images.labels[position])], names[int(images.predictions[position])]
    axes.set_title(truth)
    axes.set_xlabel("classified\ncorrectly" if truth == guess else f"taken for\n{guess}", fontsize=7)


def sheet(measured: list[tuple[TrainedRun, dict[str, float]]]) -> Sheet[tuple[TrainedRun, dict[str, float]]]:
    """One row a run."""

    def measure(key: str, heading: str) -> Any:
        return column(key, Heading(heading), lambda row: row[1][key], "{:.4f}".format)

    columns = [
        column("variant", Heading("variant", is_text=True), lambda row: row[0].variant),
        column("seed", Heading("seed"), lambda row: row[0].seed),
        column("weights", Heading("weights", is_text=True), lambda row: row[0].checkpoint),
        column("images", Heading("images"), lambda row: row[1]["images"], "{:,}".format),
        *(measure(key, heading) for key, (heading, _) in MEASURES.items()),
    ]
    return Sheet(columns, measured)


def notes(run: TrainedRun, images: ImageFilters, layers: Mapping[str, bool]) -> list[str]:
    """Explain what a reader has to know of a run's filters before judging its numbers."""
    layer, who = run.model.get_submodule(images.layer), run.variant
    lines = []
    if images.kernels.shape[1] < images.count or len(layers) > 1:
        shown = f"{images.kernels.shape[1]} of the filter's {images.count:,} kernels, evenly spread"
        lines.append(f"{who}: {images.layer}, one of {len(layers)} layers (--layer chooses another); {shown}")
    if lacking := [name for name, is_given in layers.items() if not is_given]:
        lines.append(f"{who}: in {', '.join(lacking)} no filter is the same at all positions, so none is drawn")
    if not is_dynamic(layer):
        lines.append(f"{who} is static: one filter for all images, whatever the input")
    if getattr(layer, "mixes_batch", False):
        lines.append(f"{who}: one filter for a batch of {run.settings.batch_size}, no per-image filters")
    if getattr(layer, "gradient", None) == "cut":
        lines.append(
            f"{who}: the generator is untrained, its gradient is cut; its filters differ only as the "
            "backbone's features do under a random projection"
        )
    return lines
