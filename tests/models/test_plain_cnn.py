"""The plain CNN of choices: its size, its layers written out, and input that does not fit."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dynfilt.config import checks, compose
from dynfilt.cost import count_parameters
from dynfilt.models.plain_cnn import PlainCnn

DEFAULTS: dict[str, Any] = {"num_classes": 10, "stages": [(4, 2), (6, 1)], "kernel_size": 3, "norm": "none"}
DEFAULTS |= {"activation": "relu", "shrink": "max_pool", "dropout": 0.0}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_designs_have_the_size_that_their_files_say() -> None:
    sizes = [count_parameters(checks.make(compose.compose([f"model=cnn_deep_{x}"])["model"], "model")) for x in "ab"]
    widths = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
    assert sizes[0] == sum(9 * i * o + 2 * o for i, o in widths) + 1290 == 288_746
    assert sizes[1] > 4 * sizes[0]


@pytest.mark.parametrize("shrink", ["max_pool", "mean_pool", "stride"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_the_layers_are_those_of_the_description(shrink: str, activation: str) -> None:
    model, x = PlainCnn(**DEFAULTS | {"shrink": shrink, "activation": activation}).double(), torch.randn(2, 3, 9, 8)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    y = x.double()
    for number, layer in enumerate(convolutions):
        last = number in (1, 2)
        assert layer.bias is not None
        y = F.conv2d(y, layer.weight, layer.bias, padding=1)
        y = y[:, :, ::2, ::2] if shrink == "stride" and last else y
        y = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}[activation](y)
        if last and shrink != "stride":
            windows = y.unfold(2, 2, 2).unfold(3, 2, 2)
            y = windows.amax((4, 5)) if shrink == "max_pool" else windows.mean((4, 5))
    expected = y.mean((2, 3)) @ model.fc.weight.T + model.fc.bias
    torch.testing.assert_close(model(x.double()), expected, rtol=1e-10, atol=1e-12)


def test_with_batch_norm_every_parameter_trains() -> None:
    model = PlainCnn(**DEFAULTS | {"norm": "batch", "dropout": 0.2})
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert not any(layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": []}, "one or more stages"),
        ({"stages": [(4, 0)]}, "all at least 1"),
        ({"kernel_size": 2}, "kernel_size=2: must be odd"),
        ({"norm": "layer"}, "norm='layer': choose one of batch, none"),
        ({"shrink": "pool"}, "shrink='pool'"),
        ({"activation": "tanh"}, "activation='tanh'"),
        ({}, "images are 3x8; model.stages halves them to nothing below 4 pixels"),
    ],
)
def test_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlainCnn(**DEFAULTS | change)(torch.zeros(1, 3, 3, 8))
