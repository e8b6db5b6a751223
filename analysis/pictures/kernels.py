"""`python -m analysis kernels`: the 3x3 kernels of a lab network's filter for several images, and how they differ."""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from torch import Tensor

from analysis.formats.numbers import MISSING
from analysis.pictures import canvas, panels
from analysis.pictures.diversity import Diversity, diversity
from analysis.pictures.sheet import Column, Sheet, markdown
from analysis.pictures.trained import TrainedRun, add_run_arguments, open_runs, require
from dynfilt.data.bundle import Split
from dynfilt.layers.generated import GeneratedConv2d, SharedConv2d
from dynfilt.models.lab_net import LabNet

SHOWN = 3
DEFINITIONS = {
    "within_class": "mean cosine distance of the filters of two images of one class, over all pairs",
    "between_classes": "the same for two images of different classes",
    "input_share": "mean squared distance of a filter to the mean filter / mean squared norm of a filter; "
    "0 for a filter that ignores its input",
    "class_share": "part of the squared distances to the mean filter that the class means account for",
    "class_share_by_chance": "what class_share is expected to be with labels dealt out at random",
}


@dataclass(frozen=True)
class Filters:
    """The filters (N, O, C, k, k) that images (of `split`) get, and the classes (N,) that the network gives them."""

    split: Split
    filters: Tensor
    predictions: Tensor

    def kernels(self, index: int) -> Tensor:
        """All kernels of one image's filter, (O * C, k, k)."""
        return self.filters[index].flatten(0, 1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_run_arguments(parser)
    canvas.add_picture_arguments(parser)
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="class of the three images on the left; default: the first"
    )
    parser.add_argument(
        "--images", type=int, metavar="N", help="numbers over N images of the test split (default: all)"
    )


def run(options: argparse.Namespace) -> int:
    """Draw the pictures of each run and print one row of numbers a run."""
    rows = []
    for opened in open_runs(options):
        numbers = picture(opened, options)
        rows.append((opened, numbers))
    print(markdown(sheet(rows)))
    print("\n".join(f"- {line}" for line in [*(f"{key}: {text}" for key, text in DEFINITIONS.items()), *notes(rows)]))
    return 0


def picture(run: TrainedRun, options: argparse.Namespace) -> Diversity:
    """Write kernels.json and the pictures of one run, and return its numbers.

    Raises ValueError for a network without such a filter and for an unknown class.
    """
    require(run, isinstance(run.model, LabNet), "kernels", "the lab's 3x3 networks (dynamic_3x3 and its relatives)")
    found = filters(run, run.sample(run.data.test, options.images))
    numbers = diversity(found.filters, found.split.labels.cpu())
    chosen = choose(found.split.labels, run.data.class_names, options.class_name)
    folder = Path(options.out) / run.place
    content = {
        "run": str(run.folder),
        "title": run.title,
        **{key: None if value != value else value for key, value in asdict(numbers).items()},
        "definitions": DEFINITIONS,
        "pictured": {side: [int(i) for i in indices] for side, indices in chosen.items()},
    }
    canvas.write_text(folder / "kernels.json", json.dumps(content, indent=2) + "\n")
    with canvas.style():
        kernels = {i: found.kernels(i) for side in chosen.values() for i in side}
        figure = draw(run, found, chosen, kernels, f"Kernels of the 3x3 filter: {run.title}")
        canvas.save(figure, folder, "kernels", options.format)
        mean = found.filters.mean(0).flatten(0, 1)
        difference = {i: k - mean for i, k in kernels.items()}
        title = f"The same kernels minus their mean over {numbers.images:,} images: {run.title}"
        canvas.save(draw(run, found, chosen, difference, title), folder, "kernels-difference", options.format)
    return numbers


@torch.inference_mode()
def filters(run: TrainedRun, split: Split) -> Filters:
    """The filter that each image of a split gets, in the split's order, on the CPU."""
    model = run.model
    assert isinstance(model, LabNet) and isinstance(model.filter, GeneratedConv2d | SharedConv2d)
    caught: list[Tensor] = []
    hook = model.filter.register_forward_hook(
        lambda layer, arguments, output: caught.append(layer.filters(arguments[0]).float().cpu())
    )
    order = []
    predictions = torch.empty(len(split), dtype=torch.int64)
    for indices, images, _ in run.batches(split):
        with run.autocast():
            predictions[indices.cpu()] = model(images).argmax(1).cpu()
        order.append(indices.cpu())
    hook.remove()
    return Filters(split, torch.cat(caught)[torch.cat(order).argsort()], predictions)


def choose(labels: Tensor, names: tuple[str, ...], class_name: str | None) -> dict[str, list[int]]:
    """Three images of one class, and one image of each of three other classes: the first of each in the split.

    Raises ValueError, listing the classes, for an unknown one, and when the split has too few images.
    """
    if class_name is not None and class_name not in names:
        raise ValueError(f"--class {class_name}: unknown; the classes are {', '.join(names)}")
    one = names.index(class_name) if class_name is not None else 0
    others = [(one + step * len(names) // (SHOWN + 1)) % len(names) for step in range(1, SHOWN + 1)]
    same = (labels == one).nonzero().flatten()[:SHOWN].tolist()
    different = [index for other in others for index in (labels == other).nonzero().flatten()[:1].tolist()]
    if len(same) < SHOWN or len(set(different)) < SHOWN:
        raise ValueError(f"{SHOWN} images of {names[one]} and of {SHOWN} other classes are needed; take more --images")
    return {"one class": same, "different classes": different}


def draw(
    run: TrainedRun, found: Filters, chosen: dict[str, list[int]], kernels: dict[int, Tensor], title: str
) -> Figure:
    """Images beside their kernels (N, k, k): one class on the left, different classes on the right."""
    figure = canvas.new_figure(7.9, title)
    limit = panels.largest_magnitude(*kernels.values())
    upper, lower = figure.subfigures(2, 1, height_ratios=[1, 0.06])
    for half, (side, indices) in zip(upper.subfigures(1, len(chosen)), chosen.items(), strict=True):
        half.suptitle(f"Three images of {side}", fontsize=8)
        drawn = _draw_half(half, run, found, indices, kernels, limit)
    bar = figure.colorbar(drawn, cax=lower.subplots(), orientation="horizontal")
    bar.set_label("weight, one scale for all images")
    bar.outline.set_linewidth(0.4)
    return figure


def _draw_half(
    half: SubFigure, run: TrainedRun, found: Filters, indices: list[int], kernels: dict[int, Tensor], limit: float
) -> AxesImage:
    names = run.data.class_names
    grid = half.subplots(len(indices), 2, width_ratios=[1, 2.4], squeeze=False)
    for index, (left, right) in zip(indices, grid, strict=True):
        panels.show_image(left, found.split.images[index])
        truth, guess = names[int(found.split.labels[index])], names[int(found.predictions[index])]
        left.set_title(truth)
        left.set_xlabel("classified\ncorrectly" if truth == guess else f"taken for\n{guess}", fontsize=7)
        drawn = panels.show_mosaic(right, kernels[index], limit)
    return drawn


def sheet(rows: list[tuple[TrainedRun, Diversity]]) -> Sheet:
    """One row a run."""

    def number(value: float) -> str:
        return MISSING if value != value else f"{value:.4f}"

    columns = [
        Column("variant", "variant", left=True),
        Column("seed", "seed"),
        Column("weights", "weights"),
        Column("images", "images", "{:,}".format),
        *(Column(key, key, number) for key in DEFINITIONS),
    ]
    return Sheet(
        columns,
        [
            (run.variant, run.seed, run.checkpoint, numbers.images, *(getattr(numbers, key) for key in DEFINITIONS))
            for run, numbers in rows
        ],
    )


def notes(rows: list[tuple[TrainedRun, Diversity]]) -> list[str]:
    """What a reader has to know about a run's filter before judging its numbers."""
    lines = []
    for run, _ in rows:
        layer = run.model.filter
        if isinstance(layer, SharedConv2d):
            lines.append(f"{run.title}: static, one filter for all images, whatever the input")
        elif isinstance(layer, GeneratedConv2d) and layer.mixes_batch:
            lines.append(f"{run.title}: one filter for each batch of {run.train_batch_size}, none of an image's own")
        if isinstance(layer, GeneratedConv2d) and layer.gradient == "cut":
            lines.append(
                f"{run.title}: the generator is untrained (its gradient is cut), so its filters differ as its features "
                "do under a random projection; nothing of it was learned by the generator"
            )
    return lines
