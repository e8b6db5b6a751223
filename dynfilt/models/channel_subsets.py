"""A ResNet that is trained on colour images and asked about some of their channels only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice
from dynfilt.layers.initialisation import draw_kernels
from dynfilt.models.resnet import ResNet, he_normal

Missing = Literal["left_out", "zero", "mean"]
CHANNELS = "RGB"


class ChannelSubsetNet(nn.Module):
    """A ResNet whose first convolution is `first`, on the channels that are there.

    images: (B, 3, H, W), normalised by mean and std -> scores (B, num_classes). What becomes of a missing channel:
    `left_out` gives `first` the others with their numbers, as first(x, channels); `zero` fills it with black, `mean`
    with the colour that normalisation makes 0. With `mean` and train_on_subsets a plain convolution is CHAMMI's
    SliceParam (arXiv 2310.19224): a channel that is 0 takes its slice of the kernel out.
    `train_on_subsets` draws one of the seven subsets for each training batch, from torch's generator of the CPU.
    Raises ValueError for another word for `missing`, and for a network that halves the image in the convolution that
    gives way to `first`.
    """

    def __init__(
        self,
        first: nn.Module,
        network: ResNet,
        missing: Missing,
        train_on_subsets: bool,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        require_choice("missing", missing, Missing)
        if network.conv1.stride == (2, 2) and isinstance(network.maxpool, nn.Identity):
            way_out = "set first.stride=2 and network.stem=cifar"
            raise ValueError(f"network.stem=stride2: `first` takes the place of that convolution; {way_out}")
        self.first = first
        draw_kernels(first, he_normal)
        self.network = network
        self.network.add_module("conv1", nn.Identity())
        self.missing = missing
        self.train_on_subsets = train_on_subsets
        self.present: tuple[int, ...] = tuple(range(len(CHANNELS)))
        black = [-m / s for m, s in zip(mean, std, strict=True)]
        fill = torch.tensor(black if missing == "zero" else [0.0] * len(CHANNELS))
        self.register_buffer("fill", fill, persistent=False)
        self.fill: Tensor

    def partial_views(self) -> Iterator[str]:
        """Set `present` to each proper subset in turn, R to GB, and give its name; afterwards all are there again."""
        try:
            for count in range(1, len(CHANNELS)):
                for self.present in combinations(range(len(CHANNELS)), count):
                    yield "".join(CHANNELS[channel] for channel in self.present)
        finally:
            self.present = tuple(range(len(CHANNELS)))

    def forward(self, images: Tensor) -> Tensor:
        present = self._drawn() if self.training and self.train_on_subsets else self.present
        if len(present) < len(CHANNELS):
            if self.missing == "left_out":
                given = torch.stack([images[:, channel] for channel in present], dim=1)
                return self.network(self.first(given, present))
            there = torch.tensor([channel in present for channel in range(len(CHANNELS))], device=images.device)
            images = torch.where(there[:, None, None], images, self.fill[:, None, None].to(images.dtype))
        return self.network(self.first(images))

    def _drawn(self) -> tuple[int, ...]:
        """One of the subsets that hold a channel, all of them equally likely."""
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError("a subset of the channels is drawn anew for each batch")
        bits = int(torch.randint(1, 2 ** len(CHANNELS), ()).item())
        return tuple(channel for channel in range(len(CHANNELS)) if bits >> channel & 1)
