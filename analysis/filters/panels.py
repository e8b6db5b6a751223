"""Parts of pictures: an image, a mosaic of kernels, a map laid over an image."""

import math

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from torch import Tensor

from ..drawing.sheets import bare
from ..drawing.style import SIGNED

FRAME = "#D62728"
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def largest_magnitude(*tensors: Tensor) -> float:
    """The end of a colour scale around 0 that covers all the tensors; 1 where all are 0."""
    return max(tensor.abs().max().item() for tensor in tensors) or 1.0


def show_image(axes: Axes, image: Tensor) -> None:
    """Draw an image (3, H, W), uint8."""
    bare(axes).imshow(image.permute(1, 2, 0).cpu().numpy(), interpolation="nearest")


def show_map(axes: Axes, values: Tensor, limit: float, colours: str) -> AxesImage:
    """Draw a map (H, W) on the colour scale -limit..limit."""
    bare(axes)
    return axes.imshow(values.cpu().numpy(), cmap=colours, vmin=-limit, vmax=limit, interpolation="nearest")


def show_overlay(axes: Axes, image: Tensor, values: Tensor, limit: float) -> AxesImage:
    """Draw a map (h, w), upscaled bilinearly to the image (3, H, W), uint8, over its grey version."""
    grey = (image.float().cpu() * torch.tensor(LUMA)[:, None, None]).sum(0)
    bare(axes).imshow(grey.numpy(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    return axes.imshow(upscaled(values, image.shape[-2:]).numpy(), cmap=SIGNED, vmin=-limit, vmax=limit, alpha=0.65)


def upscaled(values: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """A map (h, w) enlarged bilinearly to `size`, on the CPU."""
    return F.interpolate(values.float().cpu()[None, None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0]


def mosaic(kernels: Tensor, gap: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Kernels (N, k, k) in reading order on a square, `gap` cells of NaN around each.

    Returns the picture and, for each kernel, row and column of its top left cell; 64 kernels make 8 x 8.
    """
    count, height, width = kernels.shape
    side = math.ceil(math.sqrt(count))
    rows = math.ceil(count / side)
    picture = torch.full((rows * (height + gap) + gap, side * (width + gap) + gap), math.nan)
    corners = [(gap + i // side * (height + gap), gap + i % side * (width + gap)) for i in range(count)]
    for kernel, (row, column) in zip(kernels, corners, strict=True):
        picture[row : row + height, column : column + width] = kernel
    return picture, corners


def show_mosaic(axes: Axes, kernels: Tensor, limit: float, colours: str) -> AxesImage:
    """Draw kernels (N, k, k) as a mosaic, each in a red frame, on the colour scale -limit..limit."""
    picture, corners = mosaic(kernels.float().cpu(), gap=1)
    drawn = show_map(axes, picture, limit, colours)
    height, width = kernels.shape[1:]
    frames = [Rectangle((column - 0.5, row - 0.5), width, height) for row, column in corners]
    axes.add_collection(PatchCollection(frames, facecolor="none", edgecolor=FRAME, linewidth=0.7))
    return drawn
