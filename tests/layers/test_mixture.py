"""Mixtures of K kernels: every formulation against a float64 loop over images and kernels."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from dynfilt.layers import mixture
from dynfilt.layers.formulation import force_formulation, record_formulations
from dynfilt.layers.mixture import conv2d_mixture

GEOMETRIES = {
    "3x3": {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, "kernel": (3, 3)},
    "1x1, stride 2": {"stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "kernel": (1, 1)},
    "stride 2 x 1": {"stride": (2, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, "kernel": (3, 3)},
    "dilated": {"stride": (1, 1), "padding": (2, 2), "dilation": (2, 2), "groups": 1, "kernel": (3, 3)},
    "rectangular": {"stride": (1, 1), "padding": (0, 2), "dilation": (1, 1), "groups": 1, "kernel": (1, 5)},
    "grouped": {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 2, "kernel": (3, 3)},
}
FORMULATIONS = ("auto", "grouped", "chunked", "outputs", "stacked", "inputs")


def tensors(geometry: dict, batch: int = 5, with_bias: bool = True) -> tuple[list[Tensor], dict]:
    """x, kernels, pi and bias in float64, an odd image size; and the geometry without the kernel's size."""
    generator = torch.Generator().manual_seed(0)
    options = {key: value for key, value in geometry.items() if key != "kernel"}
    shapes = [(batch, 4, 7, 9), (3, 6, 4 // geometry["groups"], *geometry["kernel"]), (batch, 3)]
    shapes += [(3, 6)] if with_bias else []
    return [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes], options


def loop(x: Tensor, kernels: Tensor, pi: Tensor, bias: Tensor | None, **options: object) -> Tensor:
    """Image by image and kernel by kernel: sum_k pi_k (conv(x, W_k) + b_k)."""
    images = []
    for image, weights in zip(x, pi, strict=True):
        parts = []
        for k, weight in enumerate(weights):
            b = None if bias is None else bias[k]
            parts.append(weight * F.conv2d(image[None], kernels[k], b, **options)[0])
        images.append(torch.stack(parts).sum(0))
    return torch.stack(images)


def apply(formulation: str, inputs: list[Tensor], options: dict) -> Tensor:
    bias = inputs[3] if len(inputs) == 4 else None
    with force_formulation(formulation):
        return conv2d_mixture(*inputs[:3], bias, **options)


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_outputs_and_gradients_equal_the_loop(
    name: str, formulation: str, with_bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixture, "CHUNK_BYTES", 2 * 8 * (6 * 4 * 9 + 2 * 4 * 7 * 9))
    inputs, options = tensors(GEOMETRIES[name], with_bias=with_bias)
    chunks = mixture._mixed_chunks(*(tensor.detach() for tensor in inputs[:3]))
    assert [len(mixed) for _, mixed in chunks] == [2, 2, 1]
    expected = loop(*inputs[:3], inputs[3] if with_bias else None, **options)
    y = apply(formulation, inputs, options)
    above = torch.randn(y.shape[::-1], dtype=torch.float64).permute(3, 2, 1, 0)  # a gradient that is not contiguous
    torch.testing.assert_close(y, expected)
    gradients = torch.autograd.grad(y, inputs, above)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, inputs, above))


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_gradients_equal_finite_differences(formulation: str) -> None:
    inputs, options = tensors(GEOMETRIES["3x3"], batch=2)
    assert torch.autograd.gradcheck(lambda *given: apply(formulation, list(given), options), inputs, fast_mode=True)


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_one_image_and_channels_last(formulation: str) -> None:
    inputs, options = tensors(GEOMETRIES["3x3"], batch=1)
    expected = loop(*inputs, **options)
    inputs[0] = inputs[0].detach().to(memory_format=torch.channels_last)
    torch.testing.assert_close(apply(formulation, inputs, options), expected)


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_kernels_that_are_channels_last(formulation: str) -> None:
    inputs, options = tensors(GEOMETRIES["3x3"])
    expected = loop(*inputs, **options)
    kernels = inputs[1].detach().flatten(0, 1).contiguous(memory_format=torch.channels_last)
    leaves = [inputs[0], kernels.unflatten(0, (3, 6)).requires_grad_(), *inputs[2:]]
    y = apply(formulation, leaves, options)
    torch.testing.assert_close(y, expected)
    gradients = torch.autograd.grad(y.sum(), leaves)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.sum(), inputs))


@pytest.mark.slow
@pytest.mark.parametrize("backend", [None, "aot_eager"])
def test_stacked_rounds_products_and_no_weights(backend: str | None) -> None:
    """With one kernel that is not 0, y is pi_k x rounded once; with pi rounded before, the error is 1.4 times that."""
    x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    pi = torch.linspace(0.2, 0.3, 64)[:, None].repeat(1, 3)
    kernels = torch.tensor([0.0, 1.0, 0.0]).bfloat16().reshape(3, 1, 1, 1, 1)
    options = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    layer = torch.compile(apply, backend=backend, fullgraph=True) if backend else apply
    exact = pi[:, :1, None, None].double() * x.double()
    error = layer("stacked", [x, kernels, pi], options).double() - exact
    assert error.norm() < 1.05 * (exact.bfloat16().double() - exact).norm()


@pytest.mark.slow
def test_stacked_keeps_the_layout_of_the_images() -> None:
    """A compiled sum over K would be laid out as NCHW, and the next convolution would have to turn it around."""
    inputs, options = tensors(GEOMETRIES["3x3"], with_bias=False)
    x = inputs[0].detach().to(memory_format=torch.channels_last)
    for layer in (apply, torch.compile(apply, backend="aot_eager", fullgraph=True)):
        for images, layout in ((x, torch.channels_last), (x.contiguous(), torch.contiguous_format)):
            assert layer("stacked", [images, *inputs[1:]], options).is_contiguous(memory_format=layout)


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_frozen_images_need_no_gradient(formulation: str) -> None:
    inputs, options = tensors(GEOMETRIES["3x3"])
    expected = torch.autograd.grad(loop(*inputs, **options).sum(), inputs[1:])
    inputs[0] = inputs[0].detach()
    y = apply(formulation, inputs, options)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), inputs[1:]), expected)


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_autocast_keeps_the_sum_over_kernels_precise(formulation: str) -> None:
    """At a high temperature pi is nearly flat; what differs from 1/K must survive bfloat16."""
    inputs, options = tensors(GEOMETRIES["3x3"], with_bias=False)
    x, kernels, pi = (t.detach().float() for t in inputs)
    kernels = kernels - kernels.mean(0)  # a flat pi gives nothing at all
    pi = 1 / 3 + 1e-3 * pi
    expected = loop(x.double(), kernels.double(), pi.double(), None, **options)
    with torch.autocast("cpu", torch.bfloat16):
        y = apply(formulation, [x, kernels, pi], options)
    if formulation in ("grouped", "chunked", "auto"):  # the others round each response before it cancels
        assert (y.double() - expected).norm() < 0.02 * expected.norm()
    assert y.dtype == torch.bfloat16


@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_second_derivatives_under_autocast_are_those_of_the_loop(formulation: str) -> None:
    (x, kernels, pi), options = tensors(GEOMETRIES["3x3"], with_bias=False)
    expected = _slope_of_slopes(loop(x, kernels, pi, None, **options), x, kernels)
    low = [each.detach().float().requires_grad_() for each in (x, kernels, pi)]
    with torch.autocast("cpu", torch.bfloat16):
        y = apply(formulation, low, options)
    found = _slope_of_slopes(y.float(), low[0], low[1])
    assert (found.double() - expected).norm() < 0.05 * expected.norm()


def _slope_of_slopes(y: Tensor, x: Tensor, kernels: Tensor) -> Tensor:
    [slope] = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    return torch.autograd.grad(slope.square().sum(), kernels)[0]


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_no_images_give_no_outputs_and_zero_gradients(name: str, formulation: str) -> None:
    inputs, options = tensors(GEOMETRIES[name])
    shape = apply(formulation, inputs, options).shape[1:]
    inputs = [t if i in (1, 3) else t.detach()[:0].requires_grad_() for i, t in enumerate(inputs)]
    y = apply(formulation, inputs, options)
    assert y.shape == (0, *shape)
    for gradient, tensor in zip(torch.autograd.grad(y.sum(), inputs), inputs, strict=True):
        assert torch.equal(gradient, torch.zeros_like(tensor))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("formulation", FORMULATIONS)
def test_on_cuda_under_autocast_every_formulation_is_near_the_loop(formulation: str) -> None:
    inputs, options = tensors(GEOMETRIES["3x3"])
    expected = loop(*inputs, **options)
    wanted = torch.autograd.grad(expected.sum(), inputs)
    on_gpu = [t.detach().float().cuda().requires_grad_() for t in inputs]
    with torch.autocast("cuda", torch.bfloat16):
        y = apply(formulation, on_gpu, options)
    assert y.dtype == torch.bfloat16
    for given, oracle in zip([y, *torch.autograd.grad(y.sum(), on_gpu)], [expected, *wanted], strict=True):
        assert (given.cpu().double() - oracle).norm() < 0.03 * oracle.norm()


CHOICES = {
    # Channels, size, outputs, kernel, stride; the formulation of 32, 128 and 512 images.
    "published imagenet stem": [
        ((64, 8, 64, 3, 1), "grouped chunked chunked"),
        ((128, 4, 128, 3, 1), "stacked stacked stacked"),
        ((256, 2, 256, 3, 1), "stacked stacked stacked"),
        ((512, 1, 512, 3, 1), "stacked stacked stacked"),
        ((64, 8, 128, 3, 2), "stacked stacked stacked"),
        ((128, 4, 256, 3, 2), "outputs outputs outputs"),
        ((256, 2, 512, 3, 2), "stacked stacked stacked"),
    ],
    "small networks": [
        ((16, 32, 16, 3, 1), "grouped grouped chunked"),
        ((32, 16, 32, 3, 1), "grouped grouped chunked"),
        ((16, 16, 16, 3, 1), "grouped grouped grouped"),
        ((32, 8, 32, 3, 1), "grouped grouped chunked"),
        ((64, 4, 64, 3, 1), "stacked stacked stacked"),
        ((16, 32, 32, 3, 2), "grouped grouped chunked"),
    ],
    "cifar stem": [
        ((64, 32, 64, 3, 1), "grouped chunked chunked"),
        ((128, 16, 128, 3, 1), "chunked chunked chunked"),
        ((256, 8, 256, 3, 1), "chunked chunked chunked"),
        ((256, 8, 512, 3, 2), "outputs outputs outputs"),
        ((512, 4, 512, 3, 1), "outputs outputs outputs"),
        ((128, 16, 256, 1, 2), "grouped chunked chunked"),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("network", CHOICES)
def test_the_choice_on_a_cpu_is_the_one_measured(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "VECTOR_SHARE", 1.0)
    for (channels, size, outputs, kernel, stride), formulations in CHOICES[network]:
        taken = [choose(batch, channels, size, outputs, kernel, stride) for batch in (32, 128, 512)]
        assert taken == formulations.split(), (channels, size, outputs)


def test_with_half_the_vector_filters_an_image_pay_from_fewer_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for share in (1.0, 0.5):
        monkeypatch.setattr(mixture, "VECTOR_SHARE", share)
        taken.append([choose(128, 128, size, 128, 3, 1) for size in (4, 6, 8)])
    assert taken == [["stacked", "stacked", "chunked"], ["stacked", "chunked", "chunked"]]


def choose(batch: int, channels: int, size: int, outputs: int, kernel: int, stride: int) -> str:
    """The formulation that is taken for a layer with 4 kernels; nothing is computed."""
    images, kernels = (batch, channels, size, size), (4, outputs, channels, kernel, kernel)
    with FakeTensorMode(), record_formulations() as taken:
        x, pi = torch.empty(images), torch.empty(batch, 4)
        conv2d_mixture(x, torch.empty(kernels), pi, None, (stride, stride), (kernel // 2, kernel // 2), (1, 1), 1)
    [formulation] = taken
    return formulation
