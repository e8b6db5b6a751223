"""A course report's network of four convolutions: one deformable, with channel and spatial attention around them.

Deformable ConvNets v2: Zhu et al., CVPR 2019, arXiv 1811.11168. CBAM: Woo et al., ECCV 2018, arXiv 1807.06521.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice
from dynfilt.layers.dropout import Dropout
from dynfilt.layers.squeeze import at_least_float32, full_precision

Norm = Literal["element", "channel"]
WIDTH, WIDE = 64, 128
REDUCED = 8  # hidden channels of the first attention
CBAM_REDUCTION = 2


class ModulatedDeformConv2d(nn.Module):
    """A 3x3 convolution that finds for every position where its nine taps look, and how much each counts.

    x: (B, C, H, W) -> (B, O, H, W). Offsets and modulators come from two 3x3 convolutions that start at zero, where the
    modulators 2 sigmoid(.) are 1: it starts as a plain convolution.
    torchvision.ops.deform_conv2d computes the same, on a CPU in six times the time (docs/performance.md).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.offsets = nn.Conv2d(in_channels, 2 * 9, 3, padding=1)
        self.modulators = nn.Conv2d(in_channels, 9, 3, padding=1)
        self.convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        for parameter in (*self.offsets.parameters(), *self.modulators.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, O, H, W) for x (B, C, H, W)."""
        height, width = x.shape[2:]
        offsets, modulators = self.offsets(x).unflatten(1, (9, 2)), 2 * torch.sigmoid(self.modulators(x))
        kernel, bias = self.convolution.weight, self.convolution.bias
        with full_precision(x):  # places between pixels need it
            rows, columns = (at_least_float32(offset) for offset in offsets.unbind(2))
            tap = torch.arange(9, device=x.device)[:, None, None]
            rows = rows + torch.arange(height, device=x.device)[:, None] + tap // 3 - 1
            columns = columns + torch.arange(width, device=x.device) + tap % 3 - 1
            # In grid_sample's places -1 and 1 are the outer edges of the first and last pixel. Zeros make the sides
            # powers of two, where whole pixels stay whole: beside one the offset's gradient is that of the other side.
            high, wide = (1 << (side - 1).bit_length() for side in (height, width))
            places = torch.stack([(2 * columns + 1) / wide - 1, (2 * rows + 1) / high - 1], dim=-1).flatten(1, 2)
            padded = F.pad(at_least_float32(x), (0, wide - width, 0, high - height))
            seen = F.grid_sample(padded, places, align_corners=False).unflatten(2, (9, height))
            seen = seen * at_least_float32(modulators)[:, None]
        return F.conv2d(seen.flatten(1, 2).to(x.dtype), kernel.flatten(1)[:, :, None, None], bias)


class MapAttention(nn.Module):
    """Gate every channel at every position by 1x1 convolutions, C -> hidden -> C, of the map itself; same shape."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated x (B, C, H, W)."""
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(x))))


class CBAM(nn.Module):
    """Gate channels by their mean and maximum over the map, then positions by mean and maximum over the channels.

    x: (B, C, H, W) -> the same shape. The two descriptions of the channels share one network C -> C / r -> C.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, channels // reduction)
        self.channel_gate = nn.Linear(channels // reduction, channels)
        self.position_gate = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated x (B, C, H, W)."""
        described = [self.channel_gate(F.relu(self.hidden(vector))) for vector in (x.mean((2, 3)), x.amax((2, 3)))]
        x = x * torch.sigmoid(described[0] + described[1])[:, :, None, None]
        maps = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.position_gate(maps))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels at every position, for maps (B, C, H, W) of any size."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised x (B, C, H, W)."""
        return super().forward(x.movedim(1, 3)).movedim(3, 1)


class DeformCbamCnn(nn.Module):
    """Conv 5x5 stride 2, attention, pool, conv 3x3, conv 3x3, deformable conv 3x3, CBAM, pool, mean, linear.

    images: (B, 3, H, W) of at least 8 pixels -> scores (B, num_classes). `norm: channel` normalises at every position,
    `element` over all of C x H x W, which fixes image_size: 1,109,879 parameters with 50 classes at 128, as published.
    `attention_first` attends before the first normalisation, as the report does, else after it, as its notebook.
    `deformable: false` and `cbam: false` take a plain convolution and no attention in their places.
    Raises ValueError for an unknown norm, `element` without an image_size, and images too small or of another size.
    """

    def __init__(
        self,
        num_classes: int,
        norm: Norm,
        image_size: int | None,
        attention_first: bool,
        deformable: bool,
        cbam: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        require_choice("norm", norm, Norm)
        if norm == "element" and not image_size:
            raise ValueError("image_size: norm=element has parameters for every pixel; set the side of the images")
        self.image_size = image_size
        self.attention_first = attention_first
        half = -(-(image_size or 0) // 2)

        def norm_of(channels: int, side: int) -> nn.Module:
            return ChannelNorm(channels) if norm == "channel" else nn.LayerNorm([channels, side, side])

        self.conv1 = nn.Conv2d(3, WIDTH, 5, stride=2, padding=2)
        self.attention = MapAttention(WIDTH, REDUCED)
        self.norm1 = norm_of(WIDTH, half)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.norm2 = norm_of(WIDTH, half // 2)
        self.conv3 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.conv4 = ModulatedDeformConv2d(WIDTH, WIDE) if deformable else nn.Conv2d(WIDTH, WIDE, 3, padding=1)
        self.norm4 = norm_of(WIDE, half // 2)
        self.cbam = CBAM(WIDE, CBAM_REDUCTION) if cbam else nn.Identity()
        self.dropout = Dropout(dropout)
        self.fc = nn.Linear(WIDE, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (B, num_classes) for images (B, 3, H, W)."""
        size = tuple(images.shape[2:])
        if min(size) < 8 or self.image_size not in (None, *size) or (self.image_size and size[0] != size[1]):
            wanted = "of at least 8x8" if self.image_size is None else f"of {self.image_size}x{self.image_size}"
            raise ValueError(f"images are {size[0]}x{size[1]}, must be {wanted}; see model.image_size and model.norm")
        x = self.conv1(images)
        x = self.norm1(self.attention(x)) if self.attention_first else self.attention(self.norm1(x))
        x = F.max_pool2d(F.gelu(x), 2)
        x = F.gelu(self.norm2(self.conv2(x)))
        x = self.cbam(F.gelu(self.norm4(self.conv4(self.conv3(x)))))
        return self.fc(self.dropout(F.max_pool2d(x, 2).mean((2, 3))))
