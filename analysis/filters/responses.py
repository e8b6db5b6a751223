"""`python -m analysis responses`: the label-guided response maps of one image, one a class, laid over it."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..drawing.sheets import Board, save, write_captions
from ..drawing.style import picture_style
from ..tables.markdown import table_text
from ..tables.table import Column, Heading, Sheet, column
from . import panels
from .trained import TrainedRun, add_picture_arguments, add_run_arguments, require, runs_to_draw

MAPS_A_ROW = 5
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

    @property
    def shares(self) -> Tensor:
        """Softmax of the scores, (classes,)."""
        return self.scores.softmax(0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `responses`."""
    add_run_arguments(parser)
    add_picture_arguments(parser)
    parser.add_argument(
        "--image",
        type=int,
        metavar="N",
        help="number of the image in the test split; default: the first that is classified correctly",
    )


def run(options: argparse.Namespace) -> None:
    """Draw the picture of each run and print the scores."""
    for opened in runs_to_draw(options, "responses"):
        responses = responses_of(opened, options.image)
        names = opened.data.class_names
        folder = Path(options.out) / opened.place
        with picture_style():
            save(draw(opened, responses), folder, "responses", options.format)
        caption = (
            f"Response maps of {opened.title} for test image {responses.index}, {names[responses.label]}, upscaled "
            "over its grey version, one scale for all classes; below each map the class's score and its softmax, the "
            "highest bold."
        )
        write_captions(folder / "captions-responses.md", f"Responses of {opened.title}", {"responses": caption})
        print(f"**{opened.title}: test image {responses.index}, {names[responses.label]}**\n")
        print(f"{table_text(sheet(names, responses).table())}\n")


@torch.inference_mode()
def responses_of(run: TrainedRun, index: int | None) -> Responses:
    """The maps and scores of a test image, by default of the first that the network classifies correctly.

    Raises ValueError for a network without a response map a class, an image that is not there, and a network
    that classifies no image correctly.
    """
    split, layer = run.data.test, getattr(run.model, "responses", None)
    needs = "the label-guided networks (label_guided_1x1, static_1x1), whose layer `responses` gives a map a class"
    require(run, isinstance(layer, nn.Module), "responses", needs)
    assert isinstance(layer, nn.Module)
    if index is None:
        index = _first_correct(run)
    if not 0 <= index < len(split):
        raise ValueError(f"--image {index}: the test split has the images 0 to {len(split) - 1}")
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda layer, arguments, output: outputs.append(output))
    scores = run.scores(split.subset(torch.tensor([index], device=split.labels.device)))[0]
    hook.remove()
    maps = outputs[0][0].float().cpu()
    one_each = len(maps) == run.data.num_classes
    require(run, one_each, "responses", "networks with one response map a class, not one for all classes")
    return Responses(index, int(split.labels[index]), maps, scores)


def _first_correct(run: TrainedRun) -> int:
    for indices, images, labels in run.batches(run.data.test):
        correct = (run.apply(images).argmax(1) == labels).nonzero().flatten()
        if len(correct):
            return int(indices[correct[0]])
    raise ValueError(f"{run.folder}: classifies no test image correctly; choose one with --image N")


def draw(run: TrainedRun, responses: Responses) -> Figure:
    """Draw the image, its maps upscaled over it on one colour scale with their scores, the winner's name bold."""
    names, winner, truth = run.data.class_names, responses.winner, responses.label
    image = run.data.test.images[responses.index]
    rows = -(-len(names) // MAPS_A_ROW)
    right = "correctly classified" if winner == truth else f"taken for {names[winner]}"
    board = Board(
        0.85 + rows * (MAP + 0.45),
        f"Response maps of test image {responses.index}, {names[truth]}, {right}\n{run.title}",
    )
    photo = board.axes(0.15, 0.5, PHOTO, PHOTO)
    panels.show_image(photo, image)
    photo.set_title(names[truth])
    limit = panels.largest_magnitude(responses.maps)
    for label, name in enumerate(names):
        row, column = divmod(label, MAPS_A_ROW)
        axes = board.axes(1.9 + column * (MAP + 0.12), 0.25 + row * (MAP + 0.45), MAP, MAP)
        drawn = panels.show_overlay(axes, image, responses.maps[label], limit)
        weight = "bold" if label == winner else "normal"
        axes.set_title(name, fontweight=weight, pad=3)
        score = f"{responses.scores[label]:.2f}  ({responses.shares[label]:.1%})"
        axes.set_xlabel(score, fontweight=weight, labelpad=2, fontsize=7)
    scale = board.axes(2.4, 0.35 + rows * (MAP + 0.45), 4, 0.1)
    bar = board.figure.colorbar(drawn, cax=scale, orientation="horizontal")
    bar.set_label("response, one scale for all classes; below each map: score (softmax)")
    return board.figure


def sheet(names: tuple[str, ...], responses: Responses) -> Sheet[int]:
    """One row a class: the score, its softmax, and what the map holds."""
    scores, shares, maps = responses.scores.tolist(), responses.shares.tolist(), responses.maps
    signed = "{:+.3f}".format
    columns: list[Column[int]] = [
        column("class", Heading("class", is_text=True), lambda label: names[label]),
        column("score", Heading("score"), lambda label: scores[label], "{:.3f}".format),
        column("softmax", Heading("softmax"), lambda label: shares[label], "{:.4f}".format),
        column("map_mean", Heading("map mean"), lambda label: maps[label].mean().item(), signed),
        column("map_minimum", Heading("map minimum"), lambda label: maps[label].min().item(), signed),
        column("map_maximum", Heading("map maximum"), lambda label: maps[label].max().item(), signed),
    ]
    return Sheet(columns, range(len(names)))
