"""WeightNet: a grouped fully connected layer generates the weights of each image's kernel.

Ma et al., "WeightNet: Revisiting the Design Space of Weight Networks", ECCV 2020, arXiv 2007.11823. Every generated
weight is a sum of M / G products of a trained number and a sigmoid that it shares with the others of its output and of
its slice of the inputs, so the layer is M / G static kernels whose outputs are weighed slice by slice.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynfilt.layers.arguments import require_count, require_positive
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.formulation import is_canonical
from dynfilt.layers.geometry import Geometry, Padding, Size, output_size
from dynfilt.layers.initialisation import Draw, as_conv2d_does, rescale_mixture, reset_bias
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.layers.reach import conv2d
from dynfilt.layers.squeeze import at_least_float32, full_precision, global_average, linear_dtype

# Output positions for each output channel from which an image's filter is smaller work than weighing two maps more
# (measured on 2 cores: 16 positions are, 2 are not).
POSITIONS_PER_CHANNEL = 8


class WeightNetConv2d(DynamicConv2d):
    """W(x)[o, c, t] = sum_j a(x)[o, r, j] W_j[o, c, t], where r is the slice of the inputs in which c lies.

    x: (B, C, H, W) -> (B, O, H', W'). The arguments up to `bias` are those of nn.Conv2d; then for each output channel
    the M activations and the G groups of the generating layer, which are G slices of the inputs, and the ratio of
    hidden units to channels. There are M / G kernels W_j; with M = G the layer has the size of a static one.
    a = sigmoid(Linear(Linear(globally averaged features))), as published without a nonlinearity between; the inner
    Linear has no bias, which would add nothing. a starts at 0.5 and the kernels so that their sum is as large as one
    kernel; the authors' code starts them at 3 % of that. Parameters `weight` (M / G, O, C/groups, kh, kw) and `bias`
    (O) or None.
    Raises ValueError when G does not divide M and C/groups, for a reduction that is not positive and as DynamicConv2d
    does. A depthwise layer needs generator_groups=1.
    """

    choice_names = ("kernel scale",)

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
        activations: int = 2,
        generator_groups: int = 2,
        reduction: float = 0.0625,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        require_count("activations", activations, "activation for each output channel")
        require_count("generator_groups", generator_groups, "group")
        require_positive("reduction", reduction, "a positive ratio of hidden units to channels, e.g. 0.0625")
        inputs = in_channels // groups
        if activations % generator_groups or inputs % generator_groups:
            raise ValueError(
                f"generator_groups={generator_groups}: must divide activations={activations} "
                f"and the {inputs} input channels of a filter; 1 always does"
            )
        self.slices = generator_groups
        self.num_kernels = activations // generator_groups
        hidden = max(int(in_channels * reduction), 16)
        self.weight = nn.Parameter(torch.empty(self.num_kernels, *self.kernel_shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reduce = nn.Linear(in_channels, hidden, bias=False)
        self.activate = nn.Linear(hidden, activations * out_channels)
        nn.init.zeros_(self.activate.bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each kernel and the bias as nn.Conv2d does."""
        self.reset_kernels(as_conv2d_does)
        reset_bias(self.bias, self.kernel_shape)

    def reset_kernels(self, draw: Draw) -> None:
        """Start each kernel from `draw`, which fills one (O, C/groups, kh, kw) in place; half their sum is as large."""
        for kernel in self.weight.detach():
            draw(kernel)
        rescale_mixture(self.weight, 0.5)

    def choice(self, x: Tensor) -> Tensor:
        """Return a (B, O, G, M / G), float32 under autocast."""
        with full_precision(x):
            pooled = global_average(x, self.in_channels)
            logits = self.activate(self.reduce(pooled.to(linear_dtype(self.reduce))))
            return at_least_float32(logits).sigmoid().view(-1, self.out_channels, self.slices, self.num_kernels)

    def apply_choice(self, x: Tensor, choice: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and a (B, O, G, M / G)."""
        x, geometry = self.placed(x)
        height, width = output_size((x.shape[2], x.shape[3]), self.kernel_size, geometry)
        # ONNX wants the number of groups as a constant, which with a filter an image is the number of images.
        on_cpu = x.device.type == "cpu" and not torch.compiler.is_exporting()
        if is_canonical() or (on_cpu and height * width >= POSITIONS_PER_CHANNEL * self.out_channels):
            y = conv2d_per_sample(x, self.filters(x, choice).to(x.dtype), None, *geometry)
        else:
            y = self._weighed_outputs(x, choice, geometry)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def _weighed_outputs(self, x: Tensor, a: Tensor, geometry: Geometry) -> Tensor:
        """One static convolution for all kernels and slices, its outputs weighed and summed."""
        groups, slices, kernels = self.groups, self.slices, self.num_kernels
        weight = self.weight.unflatten(2, (slices, -1)).unflatten(1, (groups, -1))
        stacked = weight.permute(1, 3, 0, 2, 4, 5, 6).flatten(0, 3)  # a group's slice, then the kernels' outputs
        outputs = conv2d(x, stacked, None, geometry._replace(groups=groups * slices))
        outputs = outputs.unflatten(1, (groups, slices * kernels, -1))
        weights = a.unflatten(1, (groups, -1)).flatten(3)[..., None, None]
        y = outputs[:, :, 0] * weights[:, :, :, 0]
        for part in range(1, slices * kernels):
            y = torch.addcmul(y, outputs[:, :, part].to(y.dtype), weights[:, :, :, part])
        return y.flatten(1, 2).to(outputs.dtype)

    def filters(self, x: Tensor, choice: Tensor | None = None) -> Tensor:
        """Each image's whole filter (B, O, C/groups, kh, kw)."""
        a = self.choice(x) if choice is None else choice
        slices = self.weight.to(a.dtype).unflatten(2, (self.slices, -1))
        if self.num_kernels == 1:
            return (a[..., None, None] * slices[0]).flatten(2, 3)
        return torch.einsum("bosj,josckl->bosckl", a, slices).flatten(2, 3)
