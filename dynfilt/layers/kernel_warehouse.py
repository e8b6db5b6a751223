"""KernelWarehouse: every kernel is cut into cells, and every cell is mixed from all cells that a stage has.

Li and Yao, "KernelWarehouse: Rethinking the Design of Dynamic Convolution", ICML 2024, arXiv 2406.07879.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice
from dynfilt.layers.choice import Control
from dynfilt.layers.convolution import DynamicConv2d
from dynfilt.layers.geometry import Padding, Size
from dynfilt.layers.initialisation import Draw, InitialScale, as_conv2d_does, reset_bias
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.layers.squeeze import Squeeze, at_least_float32, full_precision

Sharing = Literal["stage", "layer"]
LEAST_SUM = 1e-3  # beside the sum that the attention is divided by, as in the authors' code


class KernelWarehouseConv2d(DynamicConv2d):
    """y = conv(x, W(x)) + b, where cell i of an image's kernel is sum_j a_ij(x) E_j over the n cells of a warehouse.

    x: (B, C, H, W) -> (B, O, H', W'). The arguments up to `bias` are those of nn.Conv2d. A kernel has m cells of one
    tap each; a cell has the layer's outputs and inputs, or `cell_size` of them, or the greatest common divisors of
    those of the layers that share the warehouse: all that read the maps of a `stage`, as published, or no other
    `layer`, see `share_cells`. The budget b brings b m cells; it is a whole number or 1 divided by one.
    a = (1 - s) z / sum_j |z_j| + s A. z is a squeeze, of `reduction` hidden units to a channel, and a Linear over the
    cells and one cell of zeros. s is the buffer `assignment_share`, which training takes from 1 to 0. A is the buffer
    `assignment`: 1 where a cell of the kernel is assigned a cell of its own; with b below 1 only some are, and the
    others start as zeros. At s = 1 a layer that starts `corrected` has the deviation of its static twin; `published`
    ones are drawn by the fan out of all their cells. The control `constant` has all the parameters and learns one
    attention for all images.
    Parameters `cells` (n, o, i), one and the same in all layers that share it, and `bias` (O) or None.
    Raises ValueError for a budget, cell_size or share out of range, a cell_size that gives no whole cells, an unknown
    word and as DynamicConv2d does.
    """

    assignment: Tensor
    assignment_share: Tensor

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
        budget: float = 1.0,
        cell_size: float = 1.0,
        reduction: float = 0.0625,
        sharing: Sharing = "stage",
        initial_scale: InitialScale = "published",
        control: Control = "none",
        assignment_share: float = 0.0,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups)
        require_choice("sharing", sharing, Sharing)
        require_choice("initial_scale", initial_scale, InitialScale)
        require_choice("control", control, Control)
        if not 0 <= assignment_share <= 1:
            raise ValueError(f"assignment_share={assignment_share}: must be from 0 (as the image decides) to 1 (fixed)")
        self.budget = _whole_or_part(budget)
        self.copies = max(1, round(self.budget))  # cells that a cell of the kernel brings
        self.cell_size = cell_size
        self.sharing = sharing
        self.initial_scale = initial_scale
        self.control = control
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.squeeze = Squeeze(in_channels, reduction)
        nn.init.kaiming_normal_(self.squeeze.reduce.weight, mode="fan_out", nonlinearity="relu")
        self.register_buffer("assignment_share", torch.tensor(float(assignment_share)))
        shape = _cell_shape([self])
        self.draw_on(nn.Parameter(torch.empty(self.own_cells(shape), *shape)), 0)
        self.reset_parameters()

    def _blocks(self, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """How many cells of that shape a kernel has along its taps (two), outputs and inputs."""
        out_channels, in_channels, *taps = self.kernel_shape
        return taps[0], taps[1], out_channels // shape[0], in_channels // shape[1]

    def _assigned(self, shape: tuple[int, int]) -> list[int]:
        """The cells of a kernel that are assigned a cell of their own, spread over outputs and inputs if not all."""
        cells, parts = range(math.prod(self._blocks(shape))), max(1, round(1 / self.budget))
        return [cell for cell in cells if cell % parts == cell // parts % parts]

    def draw_on(self, cells: nn.Parameter, first: int) -> None:
        """Mix from `cells` (n, o, i), of which those from `first` on are the layer's own."""
        options: dict[str, Any] = {"device": cells.device, "dtype": cells.dtype}
        shape = (cells.shape[1], cells.shape[2])
        self.cells, self.first, self.blocks = cells, first, self._blocks(shape)
        assigned = self._assigned(shape)
        own = [first + number * self.copies for number in range(len(assigned))]
        assignment = torch.zeros(math.prod(self.blocks), len(cells) + 1, **options)
        assignment[:, -1] = 1
        assignment[assigned, -1] = 0
        assignment[assigned, own] = 1
        self.register_buffer("assignment", assignment)
        self.head = nn.Linear(self.squeeze.hidden, assignment.numel(), **options)
        nn.init.kaiming_normal_(self.head.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def own_cells(self, shape: tuple[int, int]) -> int:
        """How many cells of that shape the layer brings to a warehouse."""
        return len(self._assigned(shape)) * self.copies

    @property
    def choice_names(self) -> tuple[str, ...]:
        """The attention, unless it is the same for all images."""
        return () if self.control == "constant" else ("attention over cells",)

    def reset_parameters(self) -> None:
        """Draw the layer's own cells and the bias as nn.Conv2d does."""
        self.reset_kernels(as_conv2d_does)
        reset_bias(self.bias, self.kernel_shape)

    @torch.no_grad()
    def reset_kernels(self, draw: Draw) -> None:
        """Cut the layer's own cells from kernels by `draw`, which fills one (O, C/groups, kh, kw) in place."""
        shape = (self.cells.shape[1], self.cells.shape[2])
        assigned = self._assigned(shape)
        kernels = torch.stack([self._cut(draw) for _ in range(self.copies)], dim=1)
        own = kernels[assigned].flatten(0, 1)
        by_fan_out = self.kernel_shape[0] * math.prod(self.kernel_size) / (len(own) * shape[0])
        variance = by_fan_out if self.initial_scale == "published" else len(kernels) / len(assigned)
        self.cells[self.first : self.first + len(own)] = own * math.sqrt(variance)

    def _cut(self, draw: Draw) -> Tensor:
        """One kernel by `draw`, as its cells (m, o, i)."""
        kernel = self.cells.new_empty(self.kernel_shape)
        draw(kernel)
        _, _, outputs, inputs = self.blocks
        cells = kernel.unflatten(1, (inputs, -1)).unflatten(0, (outputs, -1))
        return cells.permute(4, 5, 0, 2, 1, 3).flatten(0, 3)

    def choice(self, x: Tensor) -> Tensor:
        """Return a (B, m, n), float32 under autocast, for images x (B, C, H, W)."""
        with full_precision(x):
            seen = torch.zeros_like(x) if self.control == "constant" else x
            z = at_least_float32(self.head(self.squeeze(seen))).unflatten(1, self.assignment.shape)
            z = z / (z.abs().sum(2, keepdim=True) + LEAST_SUM)
            return torch.lerp(z, self.assignment.to(z.dtype), self.assignment_share.to(z.dtype))[:, :, :-1]

    def apply_choice(self, x: Tensor, choice: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W) and a (B, m, n)."""
        x, geometry = self.placed(x)
        y = conv2d_per_sample(x, self.filters(x, choice).to(x.dtype), None, *geometry)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def filters(self, x: Tensor, choice: Tensor | None = None) -> Tensor:
        """Each image's whole filter (B, O, C/groups, kh, kw)."""
        a = self.choice(x) if choice is None else choice
        with full_precision(a):
            mixed = a @ self.cells.to(a.dtype).flatten(1)
        cells = mixed.unflatten(2, self.cells.shape[1:]).unflatten(1, self.blocks)
        return cells.permute(0, 3, 5, 4, 6, 1, 2).flatten(3, 4).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, cells={tuple(self.cells.shape)}"


def share_cells(layers: Iterable[nn.Module]) -> None:
    """Let the KernelWarehouseConv2d of `layers` whose sharing is `stage` mix from one warehouse of cells drawn anew.

    A cell has the greatest common divisors of their outputs and inputs; each layer brings its budget of cells. In the
    paper's ResNets the layers are those that read the maps of one stage. Raises ValueError for layers of different
    budgets or cell sizes.
    """
    sharing = [layer for layer in layers if isinstance(layer, KernelWarehouseConv2d) and layer.sharing == "stage"]
    if len(sharing) < 2:
        return
    shape = _cell_shape(sharing)
    counts = [layer.own_cells(shape) for layer in sharing]
    cells = nn.Parameter(sharing[0].cells.new_empty(sum(counts), *shape))
    for layer, end, count in zip(sharing, itertools.accumulate(counts), counts, strict=True):
        layer.draw_on(cells, end - count)
        layer.reset_parameters()


def _cell_shape(layers: list[KernelWarehouseConv2d]) -> tuple[int, int]:
    """Outputs and inputs of a cell that fits into the kernels of all layers."""
    if len({(layer.budget, layer.cell_size) for layer in layers}) > 1:
        raise ValueError("share_cells: layers of one warehouse must have the same budget and cell_size")
    part = layers[0].cell_size
    divisors = [math.gcd(*(layer.kernel_shape[side] for layer in layers)) for side in (0, 1)]
    shape = [max(divisor * part, 1) for divisor in divisors]
    if not 0 < part <= 1 or any(divisor % channels for divisor, channels in zip(divisors, shape, strict=True)):
        raise ValueError(
            f"cell_size={part}: must be the part of {divisors[0]} outputs and {divisors[1]} inputs that a cell has, "
            "1 or a part that divides both, e.g. 0.5"
        )
    return int(shape[0]), int(shape[1])


def _whole_or_part(budget: float) -> float:
    if 0 < budget < math.inf:
        count = max(budget, 1 / budget)
        if math.isclose(count, round(count)):
            return float(budget)
    raise ValueError(f"budget={budget}: cells for each cell of a kernel, must be a whole number or 1 divided by one")
