"""Frequency dynamic convolution (FDConv): each image weighs groups of its kernel's frequencies, and the kernel itself.

Chen et al., "Frequency Dynamic Convolution for Dense Image Prediction", CVPR 2025, arXiv 2503.18783. The kernel is kept
as the real Fourier transform of the matrix (O kh, C kw), whose frequencies are dealt by radius into groups.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice, require_count
from dynfilt.layers.bands import BandModulation
from dynfilt.layers.choice import Control
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.formulation import is_canonical
from dynfilt.layers.geometry import Padding, Size
from dynfilt.layers.initialisation import Draw, as_conv2d_does, reset_bias
from dynfilt.layers.mixture import mix
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.layers.reach import conv2d
from dynfilt.layers.squeeze import (
    HEAD_STD,
    Squeeze,
    at_least_float32,
    for_each_output,
    full_precision,
    gate_features,
    gate_head,
    global_average,
    linear_dtype,
    require_images,
)


class StarReLU(nn.Module):
    """s * relu(x)^2 + b with trained numbers s = 1 and b = 0 at the start (Yu et al., arXiv 2210.13452)."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of x's shape."""
        return self.scale * F.relu(x).square() + self.bias


class FDConv2d(DynamicConv2d):
    """W(x) = irfft2(sum_g f_g(x) F_g), weighed by gates on inputs, outputs, taps and each of its numbers; y = conv + b.

    x: (B, C, H, W) -> (B, O, H', W'). The arguments up to `bias` are those of nn.Conv2d; then the number of frequency
    groups, the ratio of hidden units to channels, and whether bands of the image's own frequencies are weighed at each
    position before a kernel larger than 1x1 (`band_modulation`; such a layer has no whole filter an image).
    All gates are 2 * sigmoid and start at 1, so the layer starts as nn.Conv2d; the authors' code lets some start at
    random. As there a 1x1 kernel has no tap gate, a depthwise layer no output gate, one group no frequency gate.
    The control `constant` has all the parameters and learns one choice for all images and positions.
    Parameters `spectrum` (O kh, C/groups kw // 2 + 1, 2), scaled so that a step of SGD on it is one on the kernel, and
    `bias` (O) or None.
    Raises ValueError for more groups than frequencies, a reduction that is not positive, an unknown control and as
    DynamicConv2d does.
    """

    # The group of each frequency, bit by bit: an average of weights leaves bits as they are, and rounds whole numbers.
    group_bits: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        frequency_groups: int = 64,
        reduction: float = 0.0625,
        band_modulation: bool = True,
        control: Control = "none",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        require_choice("control", control, Control)
        require_count("frequency_groups", frequency_groups, "group")
        self.matrix_shape = (out_channels * self.kernel_size[0], in_channels // groups * self.kernel_size[1])
        frequencies = (self.matrix_shape[0], self.matrix_shape[1] // 2 + 1)
        if frequency_groups > math.prod(frequencies):
            raise ValueError(
                f"frequency_groups={frequency_groups}: the kernel has {math.prod(frequencies)} frequencies"
            )
        self.frequency_groups = frequency_groups
        self.control = control
        self.spectrum = nn.Parameter(torch.empty(*frequencies, 2))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        number_of_bits = (frequency_groups - 1).bit_length()
        self.register_buffer("group_bits", torch.empty(number_of_bits, *frequencies, dtype=torch.bool))
        self.squeeze = Squeeze(in_channels, reduction, StarReLU())
        self.heads = nn.ModuleDict(
            {name: gate_head(self.squeeze.hidden, count) for name, count in self._gates().items() if count}
        )
        self.local_norm = nn.LayerNorm(in_channels)
        reach = round(math.log2(in_channels) / 2 + 0.5) // 2
        numbers = out_channels * self.kernel_size[0] * self.kernel_size[1]
        self.local_gate = nn.Conv1d(1, numbers, 2 * reach + 1, padding=reach, bias=False)
        nn.init.normal_(self.local_gate.weight, std=HEAD_STD)
        modulated = band_modulation and self.kernel_size != (1, 1)
        self.bands = BandModulation(in_channels) if modulated else None
        self.reset_parameters()

    def _gates(self) -> dict[str, int]:
        """How many gates of each kind the layer has."""
        depthwise = self.in_channels == self.out_channels == self.groups
        return {
            "input_gate": self.in_channels,
            "output_gate": 0 if depthwise else self.out_channels,
            "tap_gate": 0 if self.kernel_size == (1, 1) else self.kernel_size[0] * self.kernel_size[1],
            "frequency_gate": 0 if self.frequency_groups == 1 else self.frequency_groups,
        }

    @property
    def choice_names(self) -> tuple[str, ...]:
        """The gates that images decide, as `choice` orders them."""
        return () if self.control == "constant" else self._gate_names()

    def _gate_names(self) -> tuple[str, ...]:
        names = [name.replace("_", " ") for name in self.heads]
        return (*names, "local gate", *(() if self.bands is None else ("band gate",)))

    def reset_parameters(self) -> None:
        """Draw the kernel and the bias as nn.Conv2d does, and deal the frequencies into groups."""
        group = _groups_by_radius(self.matrix_shape, self.frequency_groups)
        for bit, values in enumerate(self.group_bits):
            values.copy_(group >> bit & 1)
        self.reset_kernels(as_conv2d_does)
        reset_bias(self.bias, self.kernel_shape)

    @torch.no_grad()
    def reset_kernels(self, draw: Draw) -> None:
        """Start as a kernel from `draw`, which fills one (O, C/groups, kh, kw) in place."""
        kernel = at_least_float32(self.spectrum).new_empty(self.kernel_shape)
        draw(kernel)
        matrix = kernel.transpose(1, 2).reshape(self.matrix_shape)
        spectrum = torch.view_as_real(torch.fft.rfft2(matrix, norm="ortho"))
        self.spectrum.copy_(spectrum / _column_scale(self.matrix_shape[1], spectrum))

    def choice(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the gates on inputs (B, C), outputs (B, O), taps (B, kh * kw), frequencies (B, groups), numbers of the
        kernel (B, O, C/groups, kh, kw) and bands (B, bands, H, W), those that there are, float32 under autocast.

        The control returns those of one black pixel, with B, H and W of 1."""
        require_images(x, self.in_channels)
        if self.control == "constant":
            x = x.new_zeros(1, self.in_channels, 1, 1)
        with full_precision(x):
            hidden = self.squeeze(x)
            gates = [2 * at_least_float32(head(hidden)).sigmoid() for head in self.heads.values()]
            gates.append(2 * self._local_logits(global_average(x, self.in_channels)).sigmoid())
            if self.bands is not None:
                gates.append(self.bands.gates(x))
        return tuple(gates)

    def _local_logits(self, pooled: Tensor) -> Tensor:
        """(B, O, C/groups, kh, kw) of pooled features (B, C): a window of channels decides for each input's numbers."""
        normed = self.local_norm(pooled.to(linear_dtype(self.local_norm)))
        logits = at_least_float32(self.local_gate(normed[:, None]))  # (B, O kh kw, C)
        if self.groups > 1:  # outputs of a group with its inputs alone
            by_group = logits.unflatten(1, (self.groups, -1)).unflatten(3, (self.groups, -1))
            logits = by_group.diagonal(dim1=1, dim2=3).movedim(-1, 1).flatten(1, 2)
        return logits.unflatten(1, (self.out_channels, *self.kernel_size)).movedim(4, 2)

    def apply_choice(self, x: Tensor, choice: tuple[Tensor, ...]) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and what `choice` returns."""
        chosen = dict(zip(self._gate_names(), choice, strict=True))
        if self.bands is not None:
            x = self.bands(x, chosen["band gate"])
        x, geometry = self.placed(x)
        kernels = self._kernels(chosen).to(x.dtype).contiguous()
        if self.control == "constant":
            y = conv2d(x, kernels[0], None, geometry)
        else:
            y = conv2d_per_sample(x, kernels, None, *geometry)
        if "output gate" in chosen:
            y = gate_features(y, chosen["output gate"])
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def filters(self, x: Tensor, choice: tuple[Tensor, ...] | None = None) -> Tensor | None:
        """Each image's whole filter (B, O, C/groups, kh, kw); None with band modulation, which differs by position."""
        if self.bands is not None:
            return None
        chosen = dict(zip(self._gate_names(), self.choice(x) if choice is None else choice, strict=True))
        kernels = self._kernels(chosen)
        if "output gate" in chosen:
            kernels = kernels * chosen["output gate"][:, :, None, None, None]
        return kernels.expand(x.shape[0], *self.kernel_shape)

    def _kernels(self, chosen: dict[str, Tensor]) -> Tensor:
        """(B, O, C/groups, kh, kw), without the gate on outputs."""
        with full_precision(self.spectrum):
            kernels = self._from_frequencies(chosen.get("frequency gate"))
        gates = for_each_output(chosen["input gate"], self.out_channels, self.groups)[:, :, None, None]
        if "tap gate" in chosen:
            gates = gates * chosen["tap gate"].view(-1, 1, *self.kernel_size, 1)
        return (kernels * gates * chosen["local gate"].movedim(2, 4)).movedim(4, 2)

    def _from_frequencies(self, gate: Tensor | None) -> Tensor:
        """(B or 1, O, kh, kw, C/groups), laid out as the local gate, from the spectrum with gates on its groups."""
        parts = at_least_float32(self.spectrum)
        spectrum = torch.view_as_complex(parts * _column_scale(self.matrix_shape[1], parts))
        if gate is None:
            return self._as_kernels(spectrum[None])
        few_images = not torch.compiler.is_exporting() and 0 < gate.shape[0] <= self.frequency_groups
        if few_images or is_canonical():
            return self._as_kernels(spectrum * gate.to(parts.dtype)[:, self._group()])
        # Fewer transforms: one a group instead of one an image.
        of_group = self._group() == torch.arange(self.frequency_groups, device=gate.device)[:, None, None]
        return mix(gate.to(parts.dtype), self._as_kernels(spectrum * of_group))

    def _group(self) -> Tensor:
        """The group of each frequency, whole numbers."""
        bits = self.group_bits
        return sum((values.long() << bit for bit, values in enumerate(bits)), bits.new_zeros(bits.shape[1:]).long())

    def _as_kernels(self, spectra: Tensor) -> Tensor:
        matrices = torch.fft.irfft2(spectra, s=self.matrix_shape, norm="ortho")
        outputs, inputs, height, width = self.kernel_shape
        return matrices.view(-1, outputs, height, inputs, width).transpose(3, 4)


def _groups_by_radius(matrix_shape: tuple[int, int], groups: int) -> Tensor:
    """The group of each frequency of a real matrix: as many in each as can be, from the lowest radius up."""
    rows = torch.fft.fftfreq(matrix_shape[0], dtype=torch.float64)
    columns = torch.fft.rfftfreq(matrix_shape[1], dtype=torch.float64)
    # Rounded, so that equal radii keep their order on every machine.
    radius = (rows[:, None].square() + columns.square()).flatten().round(decimals=12)
    rank = torch.empty(len(radius), dtype=torch.long)
    rank[radius.argsort(stable=True)] = torch.arange(len(radius))
    return (rank * groups // len(radius)).view(len(rows), len(columns))


def _column_scale(width: int, like: Tensor) -> Tensor:
    """1 / sqrt(2) for the columns of a real transform that stand for two, so that its length is the matrix's."""
    scale = like.new_full((width // 2 + 1, 1), math.sqrt(0.5))
    scale[0] = 1
    if width % 2 == 0:
        scale[-1] = 1
    return scale
