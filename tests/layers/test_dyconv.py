"""DYConv2d against a float64 loop over images, and the properties that faulty implementations lack."""

import copy
import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.attention import set_temperature
from dynfilt.layers.choice import is_dynamic
from dynfilt.layers.dyconv import Control, DYConv2d
from dynfilt.layers.mixture import mix

CASES = {
    "plain": {},
    "stride": {"stride": 2, "padding": 1},
    "one_by_one": {"kernel_size": 1},
    "one_by_one_stride": {"kernel_size": 1, "stride": 2},
    "groups": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 4, "padding": 1, "bias": False},
    "no_bias": {"bias": False, "padding": 1},
    "dilation": {"dilation": 2, "padding": 2},
    "not_square": {"kernel_size": (1, 3), "stride": (2, 1), "padding": (0, 1), "dilation": (1, 2)},
    "sigmoid": {"attention": "sigmoid", "padding": 1},
    "two_kernels": {"num_kernels": 2, "reduction": 1.0},
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def layer_of(case: dict) -> DYConv2d:
    torch.manual_seed(0)
    return DYConv2d(**{"in_channels": 4, "out_channels": 8, "kernel_size": 3, "temperature": 2.0, **case}).double()


def images(batch: int = 3, height: int = 9, width: int = 7, channels: int = 4) -> Tensor:
    return 2 * torch.randn(batch, channels, height, width, dtype=torch.float64) + 0.5


def oracle(layer: DYConv2d, x: Tensor, kind: str) -> Tensor:
    """One image at a time: its attention, its kernel, its convolution."""
    reduce, score = layer.attention.reduce, layer.attention.score
    outputs = []
    for i in range(len(x)):
        hidden = (reduce.weight @ x[i].flatten(1).mean(1)).clamp(min=0)
        logits = (score.weight @ hidden + score.bias) / float(layer.temperature)
        pi = logits.exp() / logits.exp().sum() if kind == "softmax" else 1 / (1 + (-logits).exp())
        kernel = sum(pi[k] * layer.weight[k] for k in range(layer.num_kernels))
        bias = None if layer.bias is None else sum(pi[k] * layer.bias[k] for k in range(layer.num_kernels))
        geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
        outputs.append(F.conv2d(x[i : i + 1], kernel, bias, *geometry))
    return torch.cat(outputs)


def output_and_gradients(function, layer: nn.Module, x: Tensor, seed: int = 1) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = function(x)
    cotangent = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(seed))
    return [y.detach(), *torch.autograd.grad((y * cotangent).sum(), [x, *layer.parameters()])]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("layout", ["batch", "single", "channels_last"])
def test_outputs_and_all_gradients_equal_the_loop(case, layout):
    layer = layer_of(case)
    x = images(batch=1 if layout == "single" else 3)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    kind = case.get("attention", "softmax")
    ours = output_and_gradients(layer, layer, x)
    expected = output_and_gradients(lambda v: oracle(layer, v, kind), layer, x)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


def test_gradients_of_a_colour_image():
    layer = DYConv2d(3, 5, 3, padding=1, temperature=2.0).double()
    x = images(channels=3)
    ours = output_and_gradients(layer, layer, x)
    expected = output_and_gradients(lambda v: oracle(layer, v, "softmax"), layer, x)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ["plain", "stride", "one_by_one", "groups", "no_bias", "dilation", "not_square"])
def test_one_kernel_is_conv2d_bit_for_bit(name):
    arguments = {"in_channels": 4, "out_channels": 8, "kernel_size": 3, **CASES[name]}
    torch.manual_seed(5)
    static = nn.Conv2d(**arguments)
    torch.manual_seed(5)
    dynamic = DYConv2d(**arguments, num_kernels=1)
    for a, b in zip(dynamic.parameters(), static.parameters(), strict=True):
        assert torch.equal(a[0], b)
    x = images(batch=6).float()
    for a, b in zip(output_and_gradients(dynamic, dynamic, x), output_and_gradients(static, static, x), strict=True):
        assert torch.equal(a.reshape(b.shape), b)


def test_parameters():
    layer = DYConv2d(64, 64, 3, bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 4 * 36_864 + 64 * 17 + 17 * 4 + 4 == 148_616


def test_identical_kernels_make_the_layer_static():
    layer = layer_of({"padding": 1})
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:1].clone().expand_as(layer.weight))
        layer.bias.copy_(layer.bias[:1].clone().expand_as(layer.bias))
    x = images()
    for value in (0.1, 1.0, 30.0):
        set_temperature(layer, value)
        expected = F.conv2d(x, layer.weight[0], layer.bias[0], padding=1)
        torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_an_output_ignores_the_other_images():
    layer = layer_of({"padding": 1}).eval()
    x = images(batch=4)
    others = images(batch=4)
    others[2] = x[2]
    torch.testing.assert_close(layer(others)[2], layer(x)[2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x.flip(0)).flip(0), layer(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x[2:3])[0], layer(x)[2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_every_parameter_learns(kind):
    layer = DYConv2d(8, 8, 3, padding=1, reduction=1.0, attention=kind)
    before = copy.deepcopy(dict(layer.named_parameters()))
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    layer(torch.randn(16, 8, 6, 6) + 1).square().mean().backward()
    optimizer.step()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        assert not torch.equal(parameter, before[name]), name


def test_temperature_is_used_saved_and_restored():
    layer, x = layer_of({}), images()
    hot = layer(x)
    set_temperature(layer, 0.2)
    cold = layer(x)
    assert (hot - cold).abs().max() > 1e-3
    assert layer.state_dict()["temperature"].item() == 0.2
    restored = layer_of({"temperature": 30.0})
    restored.load_state_dict(layer.state_dict(), strict=True)
    assert torch.equal(restored(x), cold)
    assert DYConv2d(4, 4, 1, temperature=7.0).temperature == torch.tensor(7.0)


def test_deepcopy_is_equal_and_apart():
    layer, x = layer_of({}), images()
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))
    set_temperature(twin, 0.2)
    assert not torch.equal(twin(x), layer(x))


def test_autocast_mixes_in_float32():
    layer = DYConv2d(16, 16, 3, padding=1)
    x = torch.randn(4, 16, 8, 8)
    pi = layer.choice(x)
    plain = layer.filters(x, pi), mix(pi, layer.bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        weight, bias = layer.filters(x, pi), mix(pi, layer.bias)
        y = layer(x.bfloat16())
    assert weight.dtype == bias.dtype == torch.float32
    assert torch.equal(weight, plain[0]) and torch.equal(bias, plain[1])
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.05)


def test_channels_last_and_bfloat16_modules_run():
    layer = DYConv2d(4, 8, 3, padding=1)
    x = torch.randn(2, 4, 6, 6)
    expected = layer(x)
    layer.to(memory_format=torch.channels_last)
    assert layer.weight.shape == (4, 8, 4, 3, 3)
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last)), expected)
    low = layer.bfloat16()(x.bfloat16())
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), expected, rtol=0.05, atol=0.05)


def test_on_an_accelerator_every_kernel_is_channels_last():
    """The stacked kernels then need no copy: cuDNN would make one of each kernel in each pass."""
    layer = DYConv2d(4, 8, 3, padding=1).to(device="meta", memory_format=torch.channels_last)
    assert layer.weight.shape == (4, 8, 4, 3, 3)
    rows = layer.weight.flatten(0, 1)
    assert rows._is_view() and rows.is_contiguous(memory_format=torch.channels_last)
    assert rows.bfloat16().is_contiguous(memory_format=torch.channels_last)  # as autocast does
    layer.double()
    assert layer.weight[0].is_contiguous(memory_format=torch.channels_last)
    assert layer.to_empty(device="cpu").weight.is_contiguous()  # where mixtures are products of rows


def test_a_hook_on_the_attention_replaces_pi():
    layer, x = layer_of({"padding": 1}), images()
    layer.attention.register_forward_hook(lambda module, inputs, pi: torch.full_like(pi, 0.25))
    expected = F.conv2d(x, layer.weight.mean(0), layer.bias.mean(0), padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 4])
def test_each_kernel_starts_as_conv2d_does(groups):
    layer = DYConv2d(64, 64, 3, groups=groups)
    bound = 1 / math.sqrt(64 // groups * 9)
    for kernel in layer.weight:
        assert kernel.abs().max() <= bound
        assert kernel.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert bound * 0.8 < layer.bias.abs().max() <= bound
    assert (layer.weight[0] - layer.weight[1]).abs().max() > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_kernels": 0}, "num_kernels=0"),
        ({"reduction": 0.0}, "reduction=0.0"),
        ({"reduction": -1.0, "num_kernels": 1}, "reduction=-1.0"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": -2.0}, "temperature=-2.0"),
        ({"attention": "max"}, "attention='max'.*softmax, sigmoid"),
        ({"groups": 3}, "groups=3.*in_channels=4"),
        ({"groups": 0}, "groups=0"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"stride": (1, 0)}, r"stride=\(1, 0\)"),
        ({"padding": "full"}, "padding='full'.*'same' or 'valid'"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride=1"),
        ({"dilation": (1, 1, 1)}, "dilation="),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        DYConv2d(**{"in_channels": 4, "out_channels": 8, "kernel_size": 3, **arguments})


def test_the_controls_have_its_parameters_and_each_lacks_one_thing() -> None:
    torch.manual_seed(0)
    options = {"padding": 1, "temperature": 1.0}
    layers = {control: DYConv2d(6, 5, 3, **options, control=control) for control in get_args(Control)}
    x = torch.randn(64, 6, 7, 7) + torch.randn(64, 6, 1, 1)
    for layer in layers.values():
        layer.load_state_dict(layers["none"].state_dict(), strict=True)
        layer.train()(x).square().sum().backward()
    own = layers["none"].choice(x)
    constant = layers["constant"].choice(x)
    assert torch.equal(constant, constant[:1].expand_as(constant)) and not is_dynamic(layers["constant"])
    torch.testing.assert_close(constant[0], layers["none"].attention.score.bias.softmax(0))
    assert (
        layers["constant"].attention.score.bias.grad is not None and layers["constant"].attention.score.bias.grad.any()
    )
    assert torch.equal(layers["frozen"].choice(x), own)
    assert all(p.grad is None for p in layers["frozen"].attention.parameters())
    assert layers["frozen"].weight.grad is not None
    shuffled = layers["shuffled"].choice(x)
    assert not torch.equal(shuffled, own) and torch.equal(shuffled.sort(0).values, own.sort(0).values)
    assert torch.equal(layers["shuffled"].eval().choice(x), own)
    with pytest.raises(ValueError, match="control='mean': choose one of none, constant, frozen, shuffled"):
        DYConv2d(6, 5, 3, control="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="control=shuffled: one kernel with softmax has no attention to control"):
        DYConv2d(6, 5, 3, num_kernels=1, control="shuffled")
