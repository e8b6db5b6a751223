"""Taps that never touch the map are left out: outputs and gradients of the whole float64 convolution."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.formulation import force_formulation
from dynfilt.layers.geometry import Geometry
from dynfilt.layers.mixture import conv2d_mixture
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.layers.reach import LEAST_IMAGES, Conv2d, conv2d, reaching

# Image, kernel, stride, padding, dilation; and the kernel that is left.
CASES = {
    "3x3 over 1x1": ((1, 1), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1)),
    "3x3, stride 2, over 2x2": ((2, 2), (3, 3), (2, 2), (1, 1), (1, 1), (2, 2)),
    "3x3 over 2x2: every tap is read": ((2, 2), (3, 3), (1, 1), (1, 1), (1, 1), (3, 3)),
    "7x7 over 2x3": ((2, 3), (7, 7), (1, 1), (3, 3), (1, 1), (3, 5)),
    "more padding than needed": ((1, 1), (3, 3), (1, 1), (2, 2), (1, 1), (3, 3)),
    "dilated beyond the map": ((3, 3), (3, 3), (1, 1), (4, 4), (4, 4), (1, 1)),
    "zeros after the map only": ((3, 3), (5, 5), (2, 2), (2, 2), (1, 1), (5, 5)),
    "the stride passes over some taps": ((1, 1), (5, 5), (2, 2), (4, 4), (1, 1), (3, 3)),
    "the first tap lies inside the map": ((2, 2), (2, 2), (2, 2), (1, 1), (2, 2), (1, 1)),
    "one axis only": ((1, 5), (3, 3), (1, 1), (1, 1), (1, 1), (1, 3)),
    "unequal zeros on both sides": ((2, 2), (4, 4), (3, 3), (2, 2), (1, 1), (2, 2)),
    "no tap touches the map": ((1, 1), (1, 1), (7, 7), (3, 3), (1, 1), (1, 1)),
    "no tap touches the map at the one output": ((1, 1), (2, 2), (1, 1), (1, 1), (2, 2), (2, 2)),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple:
    return CASES[request.param]


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=True)


def check(function: Callable[..., Tensor], oracle: Callable[..., Tensor], inputs: list[Tensor], twice: bool) -> None:
    """Outputs, gradients and, if `twice`, the gradients of their square are those of the oracle."""
    results: list[tuple[Tensor, ...]] = []
    for convolve in (function, oracle):
        y = convolve(*inputs)
        above = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
        gradients = torch.autograd.grad(y, inputs, above, create_graph=twice, materialize_grads=True)
        results.append((y, *gradients))
        if twice:
            squares = sum(gradient.square().sum() for gradient in gradients)
            results[-1] += torch.autograd.grad(squares, inputs, materialize_grads=True)
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("batch", [0, 1, LEAST_IMAGES])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_static_convolution(case: tuple, groups: int, batch: int) -> None:
    image, kernel, *geometry, _ = case
    inputs = [draw(batch, 4, *image), draw(6, 4 // groups, *kernel), draw(6)]
    sizes = Geometry(*geometry, groups)
    check(lambda *given: conv2d(*given, sizes), lambda *given: F.conv2d(*given, *sizes), inputs, twice=True)


def test_the_filter_that_is_left(case: tuple) -> None:
    image, kernel, *geometry, left = case
    _, weight, _ = reaching(torch.zeros(1, 1, *image), torch.zeros(1, 1, *kernel), Geometry(*geometry, 1))
    assert weight.shape[2:] == left


@pytest.mark.parametrize("formulation", ["auto", "grouped", "chunked", "outputs", "stacked", "inputs"])
@pytest.mark.parametrize("batch", [3, LEAST_IMAGES])
def test_a_mixture_of_kernels(case: tuple, formulation: str, batch: int) -> None:
    image, kernel, *geometry, _ = case
    inputs = [draw(batch, 4, *image), draw(3, 6, 4, *kernel), draw(batch, 3)]

    def mixed(*given: Tensor) -> Tensor:
        with force_formulation(formulation):
            return conv2d_mixture(*given, None, *geometry, 1)

    def loop(x: Tensor, kernels: Tensor, pi: Tensor) -> Tensor:
        filters = torch.einsum("bk,kocij->bocij", pi, kernels)
        return torch.cat([F.conv2d(i[None], f, None, *geometry) for i, f in zip(x, filters, strict=True)])

    check(mixed, loop, inputs, twice=formulation in ("grouped", "outputs", "inputs"))


@pytest.mark.parametrize("formulation", ["auto", "grouped", "taps"])
def test_a_filter_an_image(case: tuple, formulation: str) -> None:
    image, kernel, stride, padding, dilation, _ = case
    inputs = [draw(3, 4, *image), draw(3, 2, 4, *kernel), draw(3, 2)]

    def per_sample(*given: Tensor) -> Tensor:
        with force_formulation(formulation):
            return conv2d_per_sample(*given, stride, padding, dilation)

    def loop(x: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
        images = zip(x, filters, bias, strict=True)
        return torch.cat([F.conv2d(i[None], f, b, stride, padding, dilation) for i, f, b in images])

    check(per_sample, loop, inputs, twice=True)


def test_taps_that_never_touch_the_map_have_a_gradient_of_zero() -> None:
    layer = Conv2d(4, 4, 3, padding=1)
    layer(torch.randn(LEAST_IMAGES, 4, 1, 1)).sum().backward()
    assert layer.weight.grad is not None
    outside = layer.weight.grad.clone()
    outside[:, :, 1, 1] = 0
    assert torch.equal(outside, torch.zeros_like(outside))
    assert layer.weight.grad[:, :, 1, 1].abs().min() > 0


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": 1}, {"padding": 1, "padding_mode": "circular"}])
def test_the_layer_is_torchs(options: dict) -> None:
    torch.manual_seed(0)
    theirs = nn.Conv2d(4, 6, 3, **options, dtype=torch.float64)
    torch.manual_seed(0)
    ours = Conv2d(4, 6, 3, **options, dtype=torch.float64)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
    for images in (torch.randn(LEAST_IMAGES, 4, 2, 2), torch.randn(4, 2, 2)):
        torch.testing.assert_close(ours(images.double()), theirs(images.double()))


def test_the_canonical_form_is_torchs_bit_for_bit(case: tuple) -> None:
    image, kernel, *geometry, _ = case
    x, weight = torch.randn(LEAST_IMAGES, 8, *image), torch.randn(8, 8, *kernel)
    with force_formulation("grouped"):
        assert torch.equal(conv2d(x, weight, None, Geometry(*geometry, 1)), F.conv2d(x, weight, None, *geometry))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_compiled_whole_and_under_autocast(size: int) -> None:
    torch.compiler.reset()
    layer = Conv2d(4, 6, 3, padding=1)
    x = torch.randn(LEAST_IMAGES, 4, size, size)
    expected = F.conv2d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert (y - expected).norm() < 0.01 * expected.norm()


# Image, kernel, stride, padding, dilation: here torch's bfloat16 leaves gradients as it finds the memory.
UNREAD_IN_16_BITS = {
    "a stride over one pixel": ((1, 1), (3, 3), 2, 1, 1),
    "a narrow map": ((4, 1), (5, 5), 2, 2, 1),
    "taps between those that are read": ((2, 2), (3, 3), 3, 2, 2),
}


@pytest.mark.parametrize("formulation", ["grouped", "auto", "chunked"])
@pytest.mark.parametrize("name", UNREAD_IN_16_BITS)
def test_taps_that_never_touch_the_map_have_no_gradient_in_16_bits(name: str, formulation: str) -> None:
    image, kernel, stride, padding, dilation = UNREAD_IN_16_BITS[name]
    geometry = Geometry(*((n, n) for n in (stride, padding, dilation)), 1)  # type: ignore[arg-type]
    x, pi = torch.randn(8, 4, *image), torch.rand(8, 3)
    kernels, weight, own = torch.randn(3, 16, 4, *kernel), torch.randn(16, 4, *kernel), torch.randn(8, 16, 4, *kernel)
    weights = [each.requires_grad_() for each in (kernels, weight, own)]

    def outputs(dtype: torch.dtype) -> list[Tensor]:
        images = x.to(dtype)
        return [
            conv2d_mixture(images, kernels.to(dtype), pi.to(torch.float32), None, *geometry),
            conv2d(images[:1], weight.to(dtype), None, geometry),
            conv2d_per_sample(images, own.to(dtype), None, stride, padding, dilation),
        ]

    exact = [torch.autograd.grad(y.sum(), w)[0] for y, w in zip(outputs(torch.float64), weights, strict=True)]
    for _ in range(5):
        torch.full((2**16,), torch.nan)  # what the memory may hold
        with force_formulation(formulation):
            ours = [torch.autograd.grad(y.sum(), w)[0] for y, w in zip(outputs(torch.bfloat16), weights, strict=True)]
        for gradient, wanted in zip(ours, exact, strict=True):
            torch.testing.assert_close(gradient, wanted, rtol=0.02, atol=0.02 * float(wanted.abs().max()))
            assert not gradient[wanted == 0].any()
