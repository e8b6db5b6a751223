"""How K kernels are applied when every image mixes them in its own way: W(x) = sum_k pi_k(x) W_k."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dynfilt.layers.formulation import decide
from dynfilt.layers.geometry import Geometry, Pair, output_size
from dynfilt.layers.per_image import is_half, is_offered, mixture_per_image
from dynfilt.layers.per_sample import conv2d_grouped
from dynfilt.layers.reach import conv2d, is_product, reaching, unread_as_zeros
from dynfilt.layers.squeeze import full_precision

# What forward and backward cost on a CPU, in multiplications of a static convolution: a number of an image or of an
# output, and a number of an image's filter, which is mixed, put in order, and whose gradient is taken apart. The ratios
# are those of 23 layers on one AVX-512 core, where a multiplication takes 0.04 ns (see docs/performance.md); with half
# the vector it takes twice as long, and memory does not. Threads share all of it alike.
MULTIPLICATIONS_A_PIXEL = 140
MULTIPLICATIONS_A_WEIGHT = 180
VECTOR_SHARE = {"AVX512": 1.0, "AVX2": 0.5}.get(torch.backends.cpu.get_cpu_capability(), 0.25)
# Two larger blocks, such as an image's filters and their gradients, leave a cache of 32 MiB (docs/performance.md).
LARGEST_BLOCK_BYTES = 16 * 2**20
# Images, outputs and mixed kernels of one chunk should stay in the last cache while their convolution runs; 8 to 20 MiB
# are within 10 % of each other where it is large.
CHUNK_BYTES = 8 * 2**20
# A larger bank is faster kernel by kernel.
STACKED_BYTES = 4 * 2**20
# On a GPU an image's filter is written, read and its gradient written and read: with 64 positions and 256 channels that
# costs twice the K static convolutions, with 256 positions and 128 channels 0.6 of them (measured on an H100).
LEAST_POSITIONS = 128


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
    x, kernels, geometry = reaching(x, kernels, Geometry(stride, padding, dilation, groups))
    applicable = ["grouped", "chunked", "outputs"]
    if groups == 1:
        applicable += ["stacked", "inputs", *(["per_image"] if is_offered(x) else [])]
    # The others deal out images, of which there must be some known number, or have a backward that is no graph.
    plain = torch.compiler.is_exporting() or torch._C._are_functorch_transforms_active() or not len(x)
    formulation = "outputs" if plain else decide(applicable, _fastest(x, kernels, geometry))
    if formulation == "grouped":
        y = conv2d_grouped(x, mix(pi, kernels), None, *geometry)
    elif formulation == "per_image":
        y = mixture_per_image(x, kernels, pi, *map(list, geometry[:3]))
    elif formulation == "chunked":
        y = _chunked(x, kernels, pi, geometry)
    elif formulation == "outputs":
        y = _weighted_outputs(x, kernels, pi, geometry)
    elif formulation == "stacked":
        y = _stacked(x, kernels, pi, geometry)
    else:
        y = _weighted_inputs(x, kernels, pi, geometry)
    return y if bias is None else y + mix(pi, bias).to(y.dtype)[:, :, None, None]


def mix(pi: Tensor, parameters: Tensor) -> Tensor:
    """sum_k pi_k p_k for each image: pi (B, K), parameters (K, ...) -> (B, ...), summed in the precision of pi."""
    with full_precision(pi):
        mixed = pi @ parameters.to(pi.dtype).flatten(1)
    return mixed.unflatten(1, parameters.shape[1:]).to(parameters.dtype)


def _fastest(x: Tensor, kernels: Tensor, geometry: Geometry) -> str:
    if x.device.type == "cpu":
        return _fastest_on_cpu(x, kernels, geometry)
    if geometry.groups > 1:
        return "outputs"
    stride_h, stride_w = geometry.stride
    positions = (x.shape[2] // stride_h) * (x.shape[3] // stride_w)
    return "per_image" if positions >= LEAST_POSITIONS and is_offered(x) and is_half(x) else "stacked"


def _fastest_on_cpu(x: Tensor, kernels: Tensor, geometry: Geometry) -> str:
    """A static convolution with each of K kernels, or one convolution with a filter an image, by what they cost."""
    count, out_channels, _, *kernel_size = kernels.shape
    height, width = output_size((x.shape[2], x.shape[3]), (kernel_size[0], kernel_size[1]), geometry)
    weights, pixels, outputs = kernels[0].numel(), x.shape[1:].numel(), out_channels * height * width
    static = height * width * weights + MULTIPLICATIONS_A_PIXEL * VECTOR_SHARE * (pixels + outputs)
    if MULTIPLICATIONS_A_WEIGHT * VECTOR_SHARE * weights > (count - 1) * static:
        in_one = kernels.numel() * kernels.element_size() < STACKED_BYTES or is_product(x, kernels, geometry)
        return "stacked" if geometry.groups == 1 and in_one else "outputs"
    block = len(x) * max(weights, pixels, outputs) * x.element_size()
    return "grouped" if block < LARGEST_BLOCK_BYTES else "chunked"


def _chunk_size(x: Tensor, kernels: Tensor) -> int:
    filter_bytes = kernels[0].numel() * kernels.element_size()
    return CHUNK_BYTES // (filter_bytes + 2 * x.shape[1:].numel() * x.element_size())


def _weighted_outputs(x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry) -> Tensor:
    """K static convolutions of all images, their outputs weighted: linear in the kernels, so the order is free."""
    y = None
    for k, kernel in enumerate(kernels.unbind(0)):
        response = conv2d(x, kernel, None, geometry)
        weight = pi[:, k, None, None, None]
        y = response * weight if y is None else torch.addcmul(y, response.to(y.dtype), weight)
    assert y is not None
    return y.to(response.dtype)


def _stacked(x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry) -> Tensor:
    """One static convolution to K * O channels, weighted over K: more memory than `_weighted_outputs`, fewer steps."""
    y = conv2d(x, kernels.flatten(0, 1), None, geometry)
    responses, weights = y.unflatten(1, kernels.shape[:2]), pi[:, :, None, None, None]
    if not torch.compiler.is_compiling():
        return _WeightedSum.apply(responses, weights)
    # A compiler makes one loop over the responses of it, but would lay the sum out as NCHW.
    layout = torch.channels_last if y.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    return (responses * weights).sum(1).to(y.dtype, memory_format=layout)


class _WeightedSum(torch.autograd.Function):
    """sum_k weights_k responses_k in the dtype of the responses, without a copy of all responses in that of weights.

    responses: (B, K, O, H, W), weights: (B, K, 1, 1, 1) -> (B, O, H, W). A product has the precision of the weights.
    """

    @staticmethod
    def forward(ctx: Any, responses: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(responses, weights)
        # On a CPU two dtypes in one operation take four times as long as a copy and one dtype.
        dtype = weights.dtype if responses.is_cpu else responses.dtype
        y = torch.zeros_like(responses[:, 0], dtype=dtype)
        for response, weight in zip(responses.unbind(1), weights.unbind(1), strict=True):
            y.addcmul_(response.to(dtype), weight)
        return y.to(responses.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        responses, weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # what is written into given memory has no second derivative
            below = (grad[:, None] * weights).to(responses.dtype)
        elif responses.is_cpu and responses.dtype != weights.dtype:
            return _by_kernel(grad.to(weights.dtype), responses, weights)
        else:
            below = torch.mul(grad[:, None], weights, out=torch.empty_like(responses))
        return below, (responses * grad[:, None]).sum((2, 3, 4), keepdim=True, dtype=weights.dtype)


def _by_kernel(grad: Tensor, responses: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of a weighted sum one kernel after the other, computed in the dtype of weights and of grad."""
    below, rows = torch.empty_like(responses), []
    for response, weight, target in zip(responses.unbind(1), weights.unbind(1), below.unbind(1), strict=True):
        target.copy_(grad * weight)
        rows.append((response.to(grad.dtype) * grad).sum((1, 2, 3)))
    return below, torch.stack(rows, dim=1).view_as(weights)


def _weighted_inputs(x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry) -> Tensor:
    """One convolution of the K weighted copies of each image: the sum over k is its sum over input channels."""
    copies = (x[:, None] * pi[:, :, None, None, None].to(x.dtype)).flatten(1, 2)
    return conv2d(copies, kernels.transpose(0, 1).flatten(1, 2), None, geometry)


def _chunked(x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry) -> Tensor:
    kind = x.device.type
    casts = torch.is_autocast_enabled(kind) and x.dtype != torch.float64
    return _ChunkedMixture.apply(x.to(torch.get_autocast_dtype(kind)) if casts else x, kernels, pi, geometry)


class _ChunkedMixture(torch.autograd.Function):
    """Mix and convolve a few images at a time; backward mixes again, so no more than a chunk of kernels exists."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, kernels, pi)
        ctx.geometry = geometry
        y = None
        for chunk, mixed in _mixed_chunks(x, kernels, pi):
            part = conv2d_grouped(x[chunk], mixed, None, *geometry)
            y = part.new_empty(len(x), *part.shape[1:]) if y is None else y
            y[chunk] = part
        assert y is not None
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, kernels, pi = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # a second derivative is wanted
            x, kernels, pi = views = [tensor.view_as(tensor) for tensor in ctx.saved_tensors]  # or x's has pi's in it
            wanted = [view for view, needed in zip(views, ctx.needs_input_grad, strict=False) if needed]
            y = _weighted_outputs(x, kernels.to(x.dtype), pi, ctx.geometry)
            gradients = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
            return (*(next(gradients) if needed else None for needed in ctx.needs_input_grad[:3]), None)
        bank = kernels.to(pi.dtype).flatten(1)
        grad_x = x.new_empty(x.shape) if ctx.needs_input_grad[0] else None
        grad_bank = torch.zeros_like(bank)
        grad_pi = torch.empty_like(pi)
        for chunk, mixed in _mixed_chunks(x, kernels, pi):
            below, grad_mixed = _grouped_backward(grad[chunk], x[chunk], mixed, ctx.geometry, grad_x is not None)
            rows = grad_mixed.flatten(1).to(pi.dtype)
            grad_bank.addmm_(pi[chunk].t(), rows)
            torch.mm(rows, bank.t(), out=grad_pi[chunk])
            if grad_x is not None:
                grad_x[chunk] = below
        return grad_x, grad_bank.view_as(kernels).to(kernels.dtype), grad_pi, None


def _mixed_chunks(x: Tensor, kernels: Tensor, pi: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """The images of a chunk and their mixed kernels (n, O, ...), which the next chunk overwrites."""
    size = max(1, _chunk_size(x, kernels))
    bank = kernels.to(pi.dtype).flatten(1)
    memory = bank.new_empty(min(size, len(x)), bank.shape[1])
    for start in range(0, len(x), size):
        weights = pi[start : start + size]
        mixed = torch.mm(weights, bank, out=memory[: len(weights)])
        yield slice(start, start + size), mixed.unflatten(1, kernels.shape[1:]).to(x.dtype)


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
    grad_weight = unread_as_zeros(grad_weight.view(weight.shape), x, geometry)
    return (grad_x.view(x.shape) if needs_grad_x else x), grad_weight
