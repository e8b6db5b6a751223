"""Normalisation and augmentation of a whole batch at once, on the device that holds the images."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """(image / 255 - mean) / std per channel: uint8 (N, C, H, W) -> float32 (N, C, H, W)."""
    scale, shift = _scale_and_shift(mean, std, images.device)
    return images.to(torch.float32).mul_(scale).add_(shift)


@functools.lru_cache(maxsize=16)
def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept on the device: making them anew would copy from the host, and wait for it, in every step.
    means = torch.tensor(mean, dtype=torch.float64)
    stds = torch.tensor(std, dtype=torch.float64)
    scale, shift = 1 / (255 * stds), -means / stds
    return tuple(part.to(device, torch.float32).view(1, -1, 1, 1) for part in (scale, shift))  # type: ignore[return-value]


def flip_and_crop(images: Tensor, flip: bool, pad: int, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability 1/2 and shift it by up to `pad` pixels, with zeros at the border.

    Images uint8 (N, C, H, W) -> the same shape and type. Each image has its own coin and its own offset: what
    torchvision's RandomHorizontalFlip and RandomCrop(padding=pad) do before ToTensor. The draws come from
    `generator`, a CPU generator, so that every device sees the same augmentation.
    """
    count, channels, height, width = images.shape
    rows, columns = torch.arange(height).repeat(count, 1), torch.arange(width).repeat(count, 1)
    if flip:
        mirrored = torch.randint(2, (count, 1), generator=generator).bool()
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if pad:
        offsets = torch.randint(2 * pad + 1, (2, count, 1), generator=generator)
        rows, columns = rows + offsets[0], columns + offsets[1]
    padded = F.pad(images, (pad, pad, pad, pad))
    rows, columns = rows.to(images.device), columns.to(images.device)
    pixels = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
    index = pixels.view(count, 1, -1).expand(-1, channels, -1)
    return padded.view(count, channels, -1).gather(2, index).view(images.shape)


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Turn each image about its middle by its angle, in degrees, counter-clockwise; bilinear, with zeros outside.

    Images uint8 (N, C, H, W) and angles (N,) -> the same shape and type: torchvision's `rotate` of one image after the
    other, by InterpolationMode.BILINEAR.
    """
    height, width = images.shape[2:]
    radians = torch.deg2rad(angles.to(torch.float64))
    cosine, sine, zero = torch.cos(radians), torch.sin(radians), torch.zeros_like(radians)
    # From pixels of the result to pixels of the image, both from -1 to 1 along each side, however long.
    rows = [cosine, -sine * height / width, zero], [sine * width / height, cosine, zero]
    transform = torch.stack([torch.stack(row, 1) for row in rows], 1).to(images.device, torch.float32)
    grid = F.affine_grid(transform, list(images.shape), align_corners=False)
    turned = F.grid_sample(images.to(torch.float32), grid, "bilinear", "zeros", align_corners=False)
    return turned.round_().to(torch.uint8)
