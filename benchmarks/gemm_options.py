"""Blocks, warps and stages of the implicit GEMMs an image: chosen by rule, or as they were tuned."""

from __future__ import annotations

from typing import Any

# Options instead of those chosen by rule, by what is computed (forward, or the gradient of images or filters), channels
# of what is read (x for filters) and written (the gradient above for filters), positions, and bytes of a number.
TUNED: dict[tuple[str, int, int, int, int], dict[str, Any]] = {}


def convolve_options(
    source_channels: int, target_channels: int, positions: int, forward: bool, itemsize: int, boxed: bool
) -> dict[str, Any]:
    """Blocks, warps and stages of a convolution to so many positions; bytes a number, and whether boxes apply."""
    narrow = target_channels <= 64
    many = 256 if narrow and itemsize == 2 else 128  # products of TF32 take more registers
    role = "forward" if forward else "images"
    return TUNED.get((role, source_channels, target_channels, positions, itemsize)) or {
        "BOXES": boxed,
        "BLOCK_PIXELS": min(many, max(16, power_of_2(positions))),
        "BLOCK_TARGET": 64 if narrow else 128,
        "BLOCK_SOURCE": 128 // itemsize,  # a line of the cache
        "PIXELS_LEFT": False,  # 64 channels fill the rows of the tensor cores, maps of few pixels do not
        "THROUGH_L1": False,
        "num_warps": 8,
        "num_stages": 3,
    }


def correlate_options(
    channels: int,
    grad_channels: int,
    pixels: int,
    taps: list[int],
    strides: tuple[int, int],
    itemsize: int,
    boxed: bool,
) -> dict[str, Any]:
    """Blocks, warps and stages of the gradient of filters, a sum over `pixels`; the rest as for a convolution."""
    # With a stride, taps share little; then and by pixels the sums of a row of taps are enough for the registers.
    all_taps = boxed and strides == (1, 1) and taps[0] * taps[1] <= 9
    return TUNED.get(("filters", channels, grad_channels, pixels, itemsize)) or {
        "BOXES": boxed,
        "ALL_TAPS": all_taps,
        "BLOCK_PIXELS": min(128 // itemsize, max(16, power_of_2(pixels))),
        "BLOCK_O": 64,
        "BLOCK_C": 64,
        "THROUGH_L1": False,
        "num_warps": 8 if all_taps else 4,
        "num_stages": 3,
    }


def power_of_2(least: int) -> int:
    """The first power of 2 from `least` on."""
    return 1 << (least - 1).bit_length()
