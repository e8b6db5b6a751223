"""`python -m analysis responses`: the label-guided response maps of one image, one a class, laid over it."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from dynfilt.models.label_net import LabelNet

from ..drawing import canvas
from ..tables.sheet import Column, Sheet, markdown
from . import panels
from .trained import TrainedRun, add_run_arguments, require, runs_to_draw

COLUMNS = 5
MAP, PHOTO = 0.92, 1.5  # inches


@dataclass(frozen=True)
class Responses:
    """One test image's response maps (classes, h, w) and scores (classes,)."""

    index: int
    label: int
    maps: Tensor
    scores: Tensor

    @property
    def winner(self) -> int:
        """The class with the highest score."""
        return int(self.scores.argmax())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_run_arguments(parser)
    canvas.add_picture_arguments(parser)
    parser.add_argument(
        "--image",
        type=int,
        metavar="N",
        help="number of the image in the test split; default: the first that is classified correctly",
    )


def run(options: argparse.Namespace) -> int:
    """Draw the picture of each run and print the scores."""
    for opened in runs_to_draw(options, "responses"):
        found = responses(opened, options.image)
        folder = Path(options.out) / opened.place
        with canvas.style():
            canvas.save(draw(opened, found), folder, "responses", options.format)
        print(f"**{opened.title}: test image {found.index}, {opened.data.class_names[found.label]}**\n")
        print(markdown(sheet(opened.data.class_names, found)))
    return 0


@torch.inference_mode()
def responses(run: TrainedRun, index: int | None) -> Responses:
    """The maps and scores of a test image, by default of the first that the network classifies correctly.

    Raises ValueError for a network without a response map a class, an image that is not there, and a network
    that classifies no image correctly.
    """
    split, model = run.data.test, run.model
    require(run, isinstance(model, LabelNet), "responses", "the label-guided networks (label_guided_1x1, static_1x1)")
    assert isinstance(model, LabelNet)
    if index is None:
        index = _first_correct(run)
    if not 0 <= index < len(split):
        raise ValueError(f"--image {index}: the test split has the images 0 to {len(split) - 1}")
    maps: list[Tensor] = []
    hook = model.responses.register_forward_hook(lambda layer, arguments, output: maps.append(output))
    scores = run.scores(split.subset(torch.tensor([index], device=split.labels.device)))[0]
    hook.remove()
    found = maps[0][0].float().cpu()
    one_each = len(found) == run.data.num_classes
    require(run, one_each, "responses", "networks with one response map a class, not one for all classes")
    return Responses(index, int(split.labels[index]), found, scores)


def _first_correct(run: TrainedRun) -> int:
    for indices, images, labels in run.batches(run.data.test):
        with run.autocast():
            correct = (run.model(images).argmax(1) == labels).nonzero().flatten()
        if len(correct):
            return int(indices[correct[0]])
    raise ValueError(f"{run.folder}: classifies no test image correctly; choose one with --image N")


def draw(run: TrainedRun, found: Responses) -> Figure:
    """The image, its maps upscaled over it on one colour scale with their scores, the winner's name bold."""
    names = run.data.class_names
    image = run.data.test.images[found.index]
    rows = -(-len(names) // COLUMNS)
    right = "correctly classified" if found.winner == found.label else f"taken for {names[found.winner]}"
    title = f"Response maps of test image {found.index}, {names[found.label]}, {right}\n{run.title}"
    board = canvas.Board(0.85 + rows * (MAP + 0.45), title)
    photo = board.axes(0.15, 0.5, PHOTO, PHOTO)
    panels.show_image(photo, image)
    photo.set_title(names[found.label])
    limit = panels.largest_magnitude(found.maps)
    shares = found.scores.softmax(0)
    for label, name in enumerate(names):
        row, column = divmod(label, COLUMNS)
        axes = board.axes(1.9 + column * (MAP + 0.12), 0.25 + row * (MAP + 0.45), MAP, MAP)
        drawn = panels.show_overlay(axes, image, found.maps[label], limit)
        weight = "bold" if label == found.winner else "normal"
        axes.set_title(name, fontweight=weight, pad=3)
        axes.set_xlabel(f"{found.scores[label]:.2f}  ({shares[label]:.1%})", fontweight=weight, labelpad=2, fontsize=7)
    bar = board.figure.colorbar(
        drawn, cax=board.axes(2.4, 0.35 + rows * (MAP + 0.45), 4, 0.1), orientation="horizontal"
    )
    bar.set_label("response, one scale for all classes; below each map: score (softmax)")
    return board.figure


def sheet(names: tuple[str, ...], found: Responses) -> Sheet:
    """One row a class: the score, its softmax, and what the map holds."""
    columns = [
        Column("class", "class", left=True),
        Column("score", "score", "{:.3f}".format),
        Column("softmax", "softmax", "{:.4f}".format),
        Column("map mean", "map_mean", "{:+.3f}".format),
        Column("map minimum", "map_minimum", "{:+.3f}".format),
        Column("map maximum", "map_maximum", "{:+.3f}".format),
    ]
    shares = found.scores.softmax(0).tolist()
    rows = [
        (name, score, share, values.mean().item(), values.min().item(), values.max().item())
        for name, score, share, values in zip(names, found.scores.tolist(), shares, found.maps, strict=True)
    ]
    return Sheet(columns, rows)
