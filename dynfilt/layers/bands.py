"""Frequency band modulation: an image's own frequencies, cut into bands that each position weighs.

Chen et al., CVPR 2025, arXiv 2503.18783, the part of FDConv that changes the features before the convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynfilt.layers.squeeze import HEAD_STD, at_least_float32, full_precision

# Each band reaches from 1 / 2n of the sampling rate up to the one before; what is below the last is not weighed.
DIVISORS = (2, 4, 8)


class BandModulation(nn.Module):
    """x -> sum_i g_i(x) * band_i(x) + what is below, with gates g = 2 * sigmoid(3x3 convolution), which start at 1.

    x: (B, C, H, W) -> (B, C, H, W). A band holds the frequencies whose larger coordinate is within its limits, cut for
    the image's own size. What is below a limit is a projection along each axis, so no Fourier transform is needed.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(in_channels, len(DIVISORS), 3, padding=1)
        assert self.gate.bias is not None
        nn.init.normal_(self.gate.weight, std=HEAD_STD)
        nn.init.zeros_(self.gate.bias)

    def gates(self, x: Tensor) -> Tensor:
        """Return each position's gates (B, bands, H, W), at least float32; call it with autocast off."""
        return 2 * at_least_float32(self.gate(x.to(self.gate.weight.dtype))).sigmoid()

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        """Return the modulated x for gates (B, bands, H, W)."""
        with full_precision(x):
            precise = at_least_float32(x)
            modulated = precise * gates[:, :1]
            steps = torch.cat([gates[:, 1:], torch.ones_like(gates[:, :1])], dim=1) - gates
            for index, divisor in enumerate(DIVISORS):
                below = _projection(x.shape[2], divisor, precise) @ precise @ _projection(x.shape[3], divisor, precise)
                modulated = modulated + below * steps[:, index : index + 1]
            return modulated.to(x.dtype)


def _projection(size: int, divisor: int, like: Tensor) -> Tensor:
    """(size, size): keeps of a line the frequencies up to 1 / (2 * divisor)."""
    highest = size // (2 * divisor)
    place = torch.arange(size, device=like.device)
    distance = (place[:, None] - place)[..., None] * torch.arange(1, highest + 1, device=like.device)
    waves = torch.cos(2 * torch.pi / size * (distance % size).to(like.dtype)).sum(-1)
    return (1 + 2 * waves) / size
