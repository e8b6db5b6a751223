"""`python -m analysis filters`: filters of the first convolution above their activations, and of the last one."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from dynfilt.data.augment import normalise
from dynfilt.layers.choice import is_dynamic
from dynfilt.models.deform_cbam_cnn import ModulatedDeformConv2d

from ..drawing.sheets import Board, bare, save, write_captions
from ..drawing.style import SIGNED, picture_style
from . import panels
from .trained import TrainedRun, add_picture_arguments, add_run_arguments, require, runs_to_draw

# In an ImageNet ResNet-18 they answer to vertical and horizontal edges, blue, diagonals and green.
USUAL_FILTERS = (14, 26, 32, 49, 52)
LAST_MAPS = 10
ENLARGED = 224


@dataclass(frozen=True)
class Activations:
    """The content of a picture: the enlarged photograph (3, S, S) and the picture as the network takes it (3, H, W),
    both uint8; filters (F, 3, k, k) of the first convolution by number, their activations (F, h, w) on the
    photograph; and the first activations (M, h, w) of the last convolution, with both layers' names."""

    photograph: Tensor
    taken: Tensor
    numbers: tuple[int, ...]
    filters: Tensor
    first: Tensor
    last: Tensor
    names: tuple[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `filters`."""
    add_run_arguments(parser)
    add_picture_arguments(parser)
    parser.add_argument("--image", metavar="FILE", help="a photograph; default: the test image --index, enlarged")
    parser.add_argument("--index", type=int, default=0, metavar="N", help="number of the test image (default: 0)")
    usual = ",".join(map(str, USUAL_FILTERS))
    parser.add_argument(
        "--filters", type=_numbers, metavar="N[,N]", help=f"default: those of {usual} that the first convolution has"
    )


def run(options: argparse.Namespace) -> None:
    """Draw the picture of each run."""
    for opened in runs_to_draw(options, "filters"):
        picture = read_photograph(opened, options.image, options.index)
        activations = activations_of(opened, picture, options.filters)
        source = Path(options.image).name if options.image else f"test image {options.index}"
        folder = Path(options.out) / opened.place
        with picture_style():
            figure = draw(activations, f"Filters and activations, {source}\n{opened.title}")
            save(figure, folder, "filters", options.format)
        first, last = activations.names
        caption = (
            f"Filters {', '.join(map(str, activations.numbers))} of {first} of {opened.title} and their activations "
            f"for {source} at {ENLARGED} pixels, and those of {last} at the size of the run's own data; as the "
            "convolutions put them out, before BatchNorm and ReLU."
        )
        write_captions(folder / "captions-filters.md", f"Filters of {opened.title}", {"filters": caption})


def read_photograph(run: TrainedRun, file: str | None, index: int) -> Tensor:
    """A square picture (3, H, H), uint8: the middle of the file's picture, or a test image.

    Raises ValueError for a file that is no picture and an image that is not there.
    """
    if file is None:
        images = run.data.test.images
        if not 0 <= index < len(images):
            raise ValueError(f"--index {index}: the test split has the images 0 to {len(images) - 1}")
        return images[index].cpu()
    try:
        with Image.open(file) as picture:
            pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    except OSError as error:
        raise ValueError(f"--image {file}: cannot be read as a picture ({error})") from error
    side = min(pixels.shape[1:])
    top, left = (pixels.shape[1] - side) // 2, (pixels.shape[2] - side) // 2
    return pixels[:, top : top + side, left : left + side].contiguous()


@torch.inference_mode()
def activations_of(run: TrainedRun, picture: Tensor, chosen: tuple[int, ...] | None) -> Activations:
    """The filters and activations for a square picture (3, H, H), uint8; activations as the convolutions put them
    out, before BatchNorm and ReLU.

    The first convolution sees the picture at 224 pixels, the whole network at the size of the run's own data.
    Raises ValueError for a filter that the first convolution lacks, and for a first convolution without filters.
    """
    taken = resized(picture, run.data.test.images.shape[-1])
    names, outputs = _outputs(run, taken)
    first = run.model.get_submodule(names[0])
    colour = isinstance(first, nn.Conv2d) and first.in_channels == 3
    require(run, colour, "filters", "networks whose first layer is an ordinary convolution of colour images")
    assert isinstance(first, nn.Conv2d)
    count = first.out_channels
    numbers = chosen or tuple(n for n in USUAL_FILTERS if n < count) or tuple(range(count))[: len(USUAL_FILTERS)]
    for number in numbers:
        if not 0 <= number < count:
            raise ValueError(f"--filters {number}: {names[0]} has {count} filters, from 0")
    last = max(i for i, maps in enumerate(outputs) if len(maps) >= min(LAST_MAPS, max(map(len, outputs))))
    photograph = resized(picture, ENLARGED)
    return Activations(
        photograph=photograph,
        taken=taken,
        numbers=numbers,
        filters=first.weight[list(numbers)].float().cpu(),
        first=first(_normalised(run, photograph))[0].float().cpu()[list(numbers)],
        last=outputs[last][:LAST_MAPS].float().cpu(),
        names=(names[0], names[last]),
    )


def resized(picture: Tensor, side: int) -> Tensor:
    """A picture (3, H, W), uint8, at side x side: bicubic, antialiased where it shrinks, unchanged where it fits."""
    if picture.shape[1:] == (side, side):
        return picture
    larger = nn.functional.interpolate(
        picture[None].float(), size=(side, side), mode="bicubic", antialias=side < picture.shape[-1]
    )
    return larger[0].round().clamp(0, 255).to(torch.uint8)


def draw(activations: Activations, title: str) -> Figure:
    """Draw the photograph, the first convolution's filters above their activations, the last convolution's maps."""
    count, name = len(activations.numbers), activations.names[0]
    tile = min(1.0, 5.2 / count - 0.06)
    board = Board(2.0 + 2 * tile, title)
    photograph = board.axes(0.15, 0.35, 1.55, 1.55)
    panels.show_image(photograph, activations.photograph)
    photograph.set_xlabel(f"seen by {name}\nat {ENLARGED}×{ENLARGED}", fontsize=7)
    board.write(1.9, 0.1, f"{name}: filters, each on its own scale, above their output on its own scale")
    columns = zip(activations.numbers, activations.filters, activations.first, strict=True)
    for column, (number, kernel, values) in enumerate(columns):
        left = 1.9 + column * (tile + 0.06)
        axes = bare(board.axes(left, 0.35, tile, tile))
        axes.imshow((0.5 + kernel / (2 * panels.largest_magnitude(kernel))).permute(1, 2, 0).numpy())
        axes.set_title(str(number), pad=3)
        axes = board.axes(left, 0.41 + tile, tile, tile)
        panels.show_map(axes, values, panels.largest_magnitude(values), SIGNED)
    _draw_last(board, activations, top=0.9 + 2 * tile)
    return board.figure


def _draw_last(board: Board, activations: Activations, top: float) -> None:
    maps = activations.last
    size = "×".join(map(str, maps.shape[1:]))
    words = f"first {len(maps)} outputs" if len(maps) > 1 else "its one output"
    text = f"{activations.names[1]}: {words} ({size}), one scale for all; the network sees the image on the left"
    board.write(0.15, top, text)
    panels.show_image(board.axes(0.15, top + 0.1, 0.57, 0.57), activations.taken)
    limit = panels.largest_magnitude(maps)
    for column, values in enumerate(maps):
        axes = board.axes(0.85 + column * 0.62, top + 0.1, 0.57, 0.57)
        drawn = panels.show_map(axes, values, limit, SIGNED)
    bar = board.figure.colorbar(drawn, cax=board.axes(2.4, top + 0.8, 3, 0.08), orientation="horizontal")
    bar.ax.tick_params(labelsize=6)


def _outputs(run: TrainedRun, image: Tensor) -> tuple[list[str], list[Tensor]]:
    """Names of the convolutions in the order in which they run, and their outputs (channels, h, w) for one image."""
    names: list[str] = []
    outputs: list[Tensor] = []

    def keep(name: str, output: Tensor) -> None:
        names.append(name)
        outputs.append(output[0])

    layers = dict(run.model.named_modules())
    # The convolutions inside of such a layer say where it looks: its own output is the whole layer's.
    deformable = {name for name, layer in layers.items() if isinstance(layer, ModulatedDeformConv2d)}
    handles = [
        layer.register_forward_hook(lambda layer, arguments, output, name=name: keep(name, output))
        for name, layer in layers.items()
        if name in deformable
        or (
            name.rpartition(".")[0] not in deformable
            and (isinstance(layer, nn.Conv2d) or is_dynamic(layer) or hasattr(layer, "filters"))
        )
    ]
    run.model(_normalised(run, image))
    for handle in handles:
        handle.remove()
    return names, outputs


def _normalised(run: TrainedRun, image: Tensor) -> Tensor:
    """An image (3, H, W), uint8, as a batch of one that the network takes."""
    return normalise(image[None].to(run.device), run.data.mean, run.data.std)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be whole numbers with commas, e.g. 14,26") from error
