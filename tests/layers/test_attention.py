"""Attention over kernels against its formula in float64, and the temperature's way in and out."""

import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from dynfilt.layers.attention import KernelAttention, get_temperature, set_temperature
from dynfilt.layers.dyconv import DYConv2d


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def temperature(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float32)


def oracle(attention: KernelAttention, x: Tensor, value: float) -> list[list[float]]:
    """pi of each image, by loops over plain numbers."""
    reduce, score, bias = (t.tolist() for t in (attention.reduce.weight, attention.score.weight, attention.score.bias))
    rows = []
    for image in x.tolist():
        pooled = [sum(sum(row) for row in plane) / (len(plane) * len(plane[0])) for plane in image]
        hidden = [max(0.0, sum(w * p for w, p in zip(unit, pooled, strict=True))) for unit in reduce]
        logits = [
            (sum(w * h for w, h in zip(unit, hidden, strict=True)) + b) / value
            for unit, b in zip(score, bias, strict=True)
        ]
        if attention.kind == "softmax":
            total = sum(math.exp(z) for z in logits)
            rows.append([math.exp(z) / total for z in logits])
        else:
            rows.append([1 / (1 + math.exp(-z)) for z in logits])
    return rows


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("batch", "channels", "value"), [(5, 8, 1.0), (3, 3, 4.0), (1, 6, 0.5)])
def test_equals_the_formula(kind, batch, channels, value):
    attention = KernelAttention(channels, 4, 0.25, kind).double()
    x = 3 * torch.randn(batch, channels, 4, 3, dtype=torch.float64)
    expected = torch.tensor(oracle(attention, x, value), dtype=torch.float64)
    torch.testing.assert_close(attention(x, temperature(value)), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("channels", "num_kernels", "reduction", "hidden"),
    [(64, 4, 0.25, 17), (3, 4, 0.25, 4), (3, 8, 0.5, 8), (10, 2, 0.125, 2)],
)
def test_hidden_units(channels, num_kernels, reduction, hidden):
    attention = KernelAttention(channels, num_kernels, reduction, "softmax")
    assert attention.reduce.weight.shape == (hidden, channels)
    assert attention.reduce.bias is None
    assert attention.score.weight.shape == (num_kernels, hidden)
    assert attention.score.bias.shape == (num_kernels,)


def test_softmax_over_one_kernel_is_one_and_has_no_parameters():
    attention = KernelAttention(8, 1, 0.25, "softmax")
    assert list(attention.parameters()) == []
    assert torch.equal(attention(torch.randn(3, 8, 2, 2), temperature(30)), torch.ones(3, 1))
    assert list(KernelAttention(8, 1, 0.25, "sigmoid").parameters())


def test_float32_under_autocast():
    attention = KernelAttention(32, 4, 0.25, "softmax")
    x = torch.randn(16, 32, 5, 5).bfloat16()
    plain = attention(x.float(), temperature(30))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pi = attention(x, temperature(30))
    assert pi.dtype == torch.float32
    torch.testing.assert_close(pi.sum(dim=1), torch.ones(16), rtol=0, atol=3e-7)
    # What tells the kernels apart is the small difference to 1/K, which bfloat16 would lose.
    torch.testing.assert_close(pi - 0.25, plain - 0.25, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_module_in_another_precision_keeps_softmax_in_at_least_float32(dtype):
    attention = KernelAttention(32, 4, 0.25, "softmax")
    x = torch.randn(16, 32, 5, 5) + 1
    expected = attention(x, temperature(1))
    pi = attention.to(dtype)(x.to(dtype), temperature(1))
    assert pi.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(pi.sum(dim=1), torch.ones(16, dtype=pi.dtype), rtol=0, atol=3e-7)
    torch.testing.assert_close(pi.float(), expected, rtol=0.02, atol=1e-3)


def test_quantised_linear_layers_attend_nearly_alike():
    attention = KernelAttention(32, 4, 0.25, "softmax").eval()
    x = torch.randn(16, 32, 5, 5) + 1
    expected = attention(x, temperature(0.2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchao is to take over
        quantised = torch.ao.quantization.quantize_dynamic(attention, {nn.Linear})
    assert not isinstance(quantised.reduce, nn.Linear)
    pi = quantised(x, temperature(0.2))
    torch.testing.assert_close(pi, expected, rtol=0, atol=0.02)
    assert not torch.equal(pi, expected)


def test_temperature_flattens_and_sharpens():
    attention = KernelAttention(8, 4, 0.25, "softmax").double()
    x = 5 * torch.randn(6, 8, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(attention(x, temperature(1e6)), torch.full((6, 4), 0.25).double(), atol=1e-5, rtol=0)
    cold = attention(x, temperature(1e-4))
    assert torch.equal(cold.argmax(1), attention(x, temperature(1)).argmax(1))
    torch.testing.assert_close(cold.amax(1), torch.ones(6).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 0, 0.25, "softmax"), "num_kernels=0"),
        ((8, 4, 0.0, "softmax"), "reduction=0.0"),
        ((8, 4, float("nan"), "softmax"), "reduction=nan"),
        ((8, 4, 0.25, "relu"), "attention='relu'.*softmax, sigmoid"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        KernelAttention(*arguments)


@pytest.mark.parametrize("num_kernels", [1, 4])
@pytest.mark.parametrize("shape", [(2, 7, 4, 4), (8, 4, 4)])
def test_input_of_another_shape(num_kernels, shape):
    with pytest.raises(ValueError, match=r"\(B, 8, H, W\)"):
        KernelAttention(8, num_kernels, 0.25, "softmax")(torch.randn(shape), temperature(1))


def test_set_and_get_temperature_of_all_layers():
    model = nn.Sequential(DYConv2d(3, 4, 1), nn.ReLU(), nn.Sequential(DYConv2d(4, 4, 1, temperature=30.0)))
    before = [buffer.data_ptr() for buffer in model.buffers()]
    assert get_temperature(model) == 30.0
    set_temperature(model, 2.5)
    assert get_temperature(model) == 2.5
    assert get_temperature(model[0]) == 2.5
    assert [buffer.data_ptr() for buffer in model.buffers()] == before


def test_temperature_of_a_network_without_one():
    model = nn.Conv2d(3, 4, 1)
    set_temperature(model, 2.5)
    assert get_temperature(model) is None


def test_layers_that_differ_in_temperature_are_said():
    model = nn.Sequential(DYConv2d(3, 4, 1, temperature=30.0), DYConv2d(4, 4, 1, temperature=1.0))
    with pytest.raises(ValueError, match=r"1\.0 to 30\.0"):
        get_temperature(model)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_temperature(value):
    model = DYConv2d(3, 4, 1)
    with pytest.raises(ValueError, match="temperature="):
        set_temperature(model, value)
    assert get_temperature(model) == 30.0


def test_bright_maps_of_half_precision_do_not_overflow() -> None:
    attention = KernelAttention(4, 2, 0.25, "softmax").half()
    x = torch.full((1, 4, 112, 112), 8.0, dtype=torch.float16)  # the sum is over 65504, the mean is 8
    small = attention(x[:, :, :2, :2], torch.tensor(1.0))
    torch.testing.assert_close(attention(x, torch.tensor(1.0)), small)


def test_a_temperature_may_be_several_numbers_but_no_whole_ones() -> None:
    layer = nn.Module()
    layer.register_buffer("temperature", torch.full((3,), 30.0))
    network = nn.Sequential(layer, DYConv2d(3, 4, 1, temperature=30.0))
    assert get_temperature(network) == 30.0
    set_temperature(network, 2.5)
    assert layer.temperature.tolist() == [2.5] * 3 and get_temperature(network) == 2.5
    layer.register_buffer("temperature", torch.tensor(30))
    with pytest.raises(ValueError, match=r"0\.temperature: is a buffer of int64, which a schedule would round"):
        set_temperature(network, 2.5)
