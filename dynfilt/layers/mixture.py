"""How K kernels are applied when every image mixes them in its own way: W(x) = sum_k pi_k(x) W_k."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from dynfilt.layers.formulation import decide
from dynfilt.layers.per_sample import conv2d_grouped
from dynfilt.layers.taps import conv2d_taps, conv2d_taps_backward, maps_are_summed

Pair = tuple[int, int]
Geometry = tuple[Pair, Pair, Pair, int]  # stride, padding, dilation, groups
# Images, outputs and mixed kernels of one chunk should stay in the cache while their convolution runs; below a few
# images a chunk the K static convolutions win (measured on 2 cores with 32 MiB of L3, see docs/performance.md).
CHUNK_BYTES = 20 * 2**20
SMALLEST_CHUNK = 6


def conv2d_mixture(
    x: Tensor,
    kernels: Tensor,
    pi: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """Convolve image i with its own mixture of K kernels.

    x: (B, C, H, W), kernels: (K, O, C/groups, kh, kw), pi: (B, K) in float32 or wider, bias: (K, O) or None ->
    (B, O, H', W'). The fastest exact formulation for the shape is taken; all agree to rounding in outputs and
    gradients. Sums over k have the precision of pi: bfloat16 rounds away 6 % of the attention at temperature 30.
    """
    geometry = (stride, padding, dilation, groups)
    by_taps = maps_are_summed(x.shape[-2:], kernels.shape[-2:], *geometry)
    applicable = ("grouped", "chunked", "outputs") + ("inputs",) * (groups == 1) + ("taps",) * by_taps
    formulation = decide(applicable, _fastest(x, kernels, by_taps))
    if formulation == "grouped":
        y = conv2d_grouped(x, mix(pi, kernels), None, *geometry)
    elif formulation in ("chunked", "taps"):
        y = _chunked(x, kernels, pi, geometry, formulation)
    elif formulation == "outputs":
        y = _outputs(x, kernels, pi, geometry)
    else:
        y = _inputs(x, kernels, pi, geometry)
    return y if bias is None else y + mix(pi, bias).to(y.dtype)[:, :, None, None]


def mix(pi: Tensor, parameters: Tensor) -> Tensor:
    """sum_k pi_k p_k for each image: pi (B, K), parameters (K, ...) -> (B, ...), summed in the precision of pi."""
    with torch.autocast(device_type=pi.device.type, enabled=False):
        mixed = pi @ parameters.to(pi.dtype).flatten(1)
    return mixed.unflatten(1, parameters.shape[1:]).to(parameters.dtype)


def _fastest(x: Tensor, kernels: Tensor, by_taps: bool) -> str:
    if x.device.type != "cpu" or _chunk_size(x, kernels) < SMALLEST_CHUNK:
        return "outputs"
    # The matrix that adds a tap's maps has as many columns as a map has positions, so few of them pay (measured).
    return "taps" if by_taps and 2 * x[0, 0].numel() <= x.shape[1] else "chunked"


def _chunk_size(x: Tensor, kernels: Tensor) -> int:
    filter_bytes = kernels[0].numel() * kernels.element_size()
    return CHUNK_BYTES // (filter_bytes + 2 * x[0].numel() * x.element_size())


def _outputs(x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry) -> Tensor:
    """K static convolutions of all images, their outputs weighted: linear in the kernels, so the order is free."""
    y = None
    for k, kernel in enumerate(kernels.unbind(0)):
        response = F.conv2d(x, kernel, None, *geometry)
        weight = pi[:, k, None, None, None]
        y = response * weight if y is None else torch.addcmul(y, response.to(y.dtype), weight)
    assert y is not None
    return y.to(response.dtype)


def _inputs(x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry) -> Tensor:
    """One convolution of the K weighted copies of each image: the sum over k is its sum over input channels."""
    copies = (x[:, None] * pi[:, :, None, None, None].to(x.dtype)).flatten(1, 2)
    return F.conv2d(copies, kernels.transpose(0, 1).flatten(1, 2), None, *geometry)


def _chunked(x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry, way: str) -> Tensor:
    kind = x.device.type
    casts = torch.is_autocast_enabled(kind) and x.dtype != torch.float64
    return _ChunkedMixture.apply(x.to(torch.get_autocast_dtype(kind)) if casts else x, kernels, pi, geometry, way)


class _ChunkedMixture(torch.autograd.Function):
    """Mix and convolve a few images at a time; backward mixes again, so no more than a chunk of kernels exists."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry, way: str) -> Tensor:
        bank = kernels.permute(WAYS[way].order).contiguous()
        ctx.save_for_backward(x, bank, pi)
        ctx.geometry, ctx.way = geometry, way
        y = None
        for chunk, mixed in _mixed_chunks(x, bank, pi):
            part = WAYS[way].convolve(x[chunk], mixed, geometry)
            y = part.new_empty(len(x), *part.shape[1:]) if y is None else y
            y[chunk] = part
        assert y is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        x, bank, pi = ctx.saved_tensors
        way = WAYS[ctx.way]
        rows = bank.to(pi.dtype).flatten(1)
        grad_x = x.new_empty(x.shape) if ctx.needs_input_grad[0] else None
        grad_rows = torch.zeros_like(rows)
        grad_pi = torch.empty_like(pi)
        for chunk, mixed in _mixed_chunks(x, bank, pi):
            below, grad_mixed = way.backward(grad[chunk], x[chunk], mixed, ctx.geometry, grad_x is not None)
            grad_mixed = grad_mixed.flatten(1).to(pi.dtype)
            grad_rows.addmm_(pi[chunk].t(), grad_mixed)
            torch.mm(grad_mixed, rows.t(), out=grad_pi[chunk])
            if grad_x is not None:
                grad_x[chunk] = below
        back = [way.order.index(axis) for axis in range(5)]
        return grad_x, grad_rows.view_as(bank).to(bank.dtype).permute(back), grad_pi, None, None


def _mixed_chunks(x: Tensor, bank: Tensor, pi: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """The images of a chunk and their mixtures (n, ...) of the bank (K, ...), which the next chunk overwrites."""
    size = max(1, _chunk_size(x, bank))
    rows = bank.to(pi.dtype).flatten(1)
    memory = rows.new_empty(min(size, len(x)), rows.shape[1])
    for start in range(0, len(x), size):
        weights = pi[start : start + size]
        mixed = torch.mm(weights, rows, out=memory[: len(weights)])
        yield slice(start, start + size), mixed.unflatten(1, bank.shape[1:]).to(x.dtype)


def _grouped(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    return conv2d_grouped(x, weight, None, *geometry)


def _grouped_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needs_grad_x: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of a convolution in which every image is a group: of x (B, C, H, W) and of weight (B, O, ...)."""
    stride, padding, dilation, groups = geometry
    batch = len(x)
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad.reshape(1, -1, *grad.shape[2:]),
        x.reshape(1, -1, *x.shape[2:]),
        weight.flatten(0, 1),
        None,
        stride,
        padding,
        dilation,
        False,
        (0, 0),
        batch * groups,
        (needs_grad_x, True, False),
    )
    return (grad_x.view(x.shape) if needs_grad_x else x), grad_weight.view(weight.shape)


def _taps(x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    return conv2d_taps(x, weight.permute(0, 1, 4, 2, 3), *geometry[1:3])


def _taps_backward(
    grad: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, needs_grad_x: bool
) -> tuple[Tensor, Tensor]:
    """As `_grouped_backward`, of a weight (B, O, kh, kw, C)."""
    _, padding, dilation, _ = geometry
    return conv2d_taps_backward(grad, x, weight, padding, dilation)


class Steps(NamedTuple):
    """How the images of a chunk are convolved, forward and backward, and the order of axes of a bank (K, O, C, kh, kw)
    that suits it."""

    order: tuple[int, ...]
    convolve: Callable[[Tensor, Tensor, Geometry], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor, Geometry, bool], tuple[Tensor, Tensor]]


WAYS = {
    "chunked": Steps((0, 1, 2, 3, 4), _grouped, _grouped_backward),
    "taps": Steps((0, 1, 3, 4, 2), _taps, _taps_backward),
}
