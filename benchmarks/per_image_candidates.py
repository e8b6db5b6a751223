"""Layers and options that `benchmarks.per_image_gpu` tries, and their kernels' compilation ahead of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import gemm_options, per_image
from benchmarks.compile_ahead import compiled_only

NUM_KERNELS = 4


@dataclass(frozen=True)
class Layer:
    """A 3x3 layer of DY-ResNet-18 with the cifar stem."""

    in_channels: int
    out_channels: int
    size: int
    stride: int = 1

    @property
    def name(self) -> str:
        stride = f" stride {self.stride}" if self.stride > 1 else ""
        return f"{self.in_channels}->{self.out_channels} @{self.size}{stride}"

    @property
    def geometry(self) -> tuple[list[int], list[int], list[int]]:
        return [self.stride] * 2, [1, 1], [1, 1]

    @property
    def by_image(self) -> bool:
        """Whether a filter for each image is worth a try: 512 images at 512 channels would have 2.4 GB of them."""
        return self.out_channels < 512

    def key(self, role: str, itemsize: int = 2) -> tuple[str, int, int, int, int]:
        """The layer's entry in gemm_options.TUNED."""
        positions = (self.size // self.stride) ** 2
        if role == "images":
            return role, self.out_channels, self.in_channels, positions, itemsize  # with a stride, of one kind of pixel
        return role, self.in_channels, self.out_channels, positions, itemsize


# The most wanted first: what comes after the time limit is not measured.
LAYERS = (Layer(64, 64, 32), Layer(128, 128, 16), Layer(64, 128, 32, 2), Layer(256, 256, 8), Layer(512, 512, 4))
TINY_LAYERS = (Layer(16, 16, 8), Layer(16, 32, 8, 2))


MIX_CANDIDATES = ((1024, 16), (1024, 64), (2048, 32), (512, 32))  # MIX_BLOCK, MIX_IMAGES
UNMIX_CANDIDATES = ((256, 4), (256, 8), (512, 4), (512, 8))  # UNMIX_BLOCK, UNMIX_ROWS
MAP_NAMES = (
    *("BOXES", "BLOCK_PIXELS", "BLOCK_TARGET", "BLOCK_SOURCE", "PIXELS_LEFT", "THROUGH_L1"),
    *("num_warps", "num_stages"),
)
# 64 channels written: 256 pixels x 64 channels fill the registers of two warp groups.
NARROW = (
    (True, 256, 64, 64, False, False, 8, 3),
    (True, 128, 64, 64, True, False, 4, 3),
    (True, 256, 64, 64, False, False, 4, 3),
    (True, 256, 64, 64, True, False, 8, 3),
    (True, 128, 64, 64, False, False, 4, 4),
    (True, 128, 64, 64, True, False, 4, 4),
    (True, 256, 64, 64, False, False, 8, 2),
    (False, 256, 64, 64, False, True, 8, 2),
    (False, 128, 64, 32, True, True, 4, 3),
    (False, 128, 64, 64, True, True, 4, 2),
    (False, 256, 64, 64, False, False, 8, 3),
    (False, 128, 64, 64, True, False, 4, 3),
    (False, 128, 64, 64, True, False, 4, 1),
)
WIDE = (
    (True, 128, 128, 64, True, False, 8, 3),
    (True, 128, 128, 64, False, False, 8, 4),
    (True, 256, 128, 64, False, False, 8, 3),
    (True, 128, 128, 64, True, False, 4, 3),
    (True, 256, 64, 64, False, False, 8, 3),
    (True, 256, 64, 64, False, False, 4, 3),
    (True, 128, 64, 64, True, False, 4, 4),
    (True, 64, 128, 64, False, False, 4, 4),
    (False, 128, 128, 64, True, False, 8, 3),
    (False, 128, 128, 64, True, True, 8, 3),
    (False, 128, 128, 64, True, True, 8, 2),
    (False, 256, 64, 64, False, True, 8, 2),
)
FILTER_NAMES = (
    *("BOXES", "ALL_TAPS", "BLOCK_PIXELS", "BLOCK_O", "BLOCK_C", "THROUGH_L1"),
    *("num_warps", "num_stages"),
)
FILTERS = (
    (True, True, 64, 64, 64, False, 8, 3),
    (True, True, 64, 64, 64, False, 8, 2),
    (True, False, 64, 64, 64, False, 4, 3),
    (True, False, 128, 64, 64, False, 4, 2),
    (True, False, 64, 128, 64, False, 8, 3),
    (True, True, 128, 64, 64, False, 8, 2),
    (False, False, 64, 64, 64, True, 4, 2),
    (False, False, 64, 64, 64, False, 4, 3),
    (False, False, 64, 128, 64, True, 8, 2),
    (False, True, 32, 64, 64, True, 8, 3),
)


def candidates(layer: Layer, role: str, most: int | None = None) -> list[dict[str, Any]]:
    """Options worth a try for "forward", "images" or "filters", the likeliest first; at most so many."""
    written = layer.in_channels if role == "images" else layer.out_channels
    listed: tuple[tuple[Any, ...], ...] = FILTERS if role == "filters" else (NARROW if written <= 64 else WIDE)
    names = FILTER_NAMES if role == "filters" else MAP_NAMES
    return [dict(zip(names, values, strict=True)) for values in listed[:most]]


def compile_candidates(layer: Layer, batch: int, role: str, index: int) -> int:
    """Compile, into Triton's cache and without a device, what one candidate launches; how many kernels that was.

    `role` may also be "mix", with its gradient. A candidate that does not compile is left to fail when it is tried.
    """
    x = torch.empty(batch, layer.in_channels, layer.size, layer.size, dtype=torch.bfloat16)
    above = torch.empty(batch, layer.out_channels, *[layer.size // layer.stride] * 2, dtype=torch.bfloat16)
    x, above = (t.to(memory_format=torch.channels_last) for t in (x, above))
    kernels = torch.empty(NUM_KERNELS, layer.out_channels, layer.in_channels, 3, 3)
    pi = torch.empty(batch, NUM_KERNELS)
    with compiled_only() as found, contextlib.suppress(Exception):
        if role == "mix":
            per_image.MIX_BLOCK, per_image.MIX_IMAGES = MIX_CANDIDATES[index]
            per_image.UNMIX_BLOCK, per_image.UNMIX_ROWS = UNMIX_CANDIDATES[index]
            per_image._unmix(per_image.mix_filters(pi, kernels, x.dtype), pi, kernels)
        else:
            gemm_options.TUNED[layer.key(role)] = candidates(layer, role)[index]
            filters = torch.empty(batch, *kernels.shape[1:], dtype=x.dtype)
            if role == "forward":
                per_image.per_image_conv2d(x, filters, *layer.geometry)
            elif role == "images":
                per_image._grad_images(above, filters, list(x.shape[2:]), *layer.geometry)
            else:
                per_image._grad_filters(above, x, [3, 3], *layer.geometry)
    return len(found)


def compilations(layers: tuple[Layer, ...], batches: list[int]) -> list[tuple[Layer, int, str, int]]:
    """What compile_candidates is to be called with; convolutions do not depend on the batch."""
    tried = [layer for layer in layers if layer.by_image]
    jobs = [(layer, batch, "mix", i) for layer in tried for batch in batches for i in range(len(MIX_CANDIDATES))]
    for layer in tried:
        for role in ("forward", "images", "filters"):
            jobs += [(layer, batches[0], role, index) for index in range(len(candidates(layer, role)))]
    return jobs
