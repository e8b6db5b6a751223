"""ODConv against a float64 loop over images, kernels and taps."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers.attention import set_temperature
from dynfilt.layers.choice import KERNEL_ATTENTION
from dynfilt.layers.initialisation import draw_kernels
from dynfilt.layers.odconv import ODConv2d
from dynfilt.models.resnet import he_normal
from tests.layers.drop_ins import GEOMETRIES, assert_equals_the_loop, images, lively


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def image_output(layer: Any, image: Tensor) -> Tensor:
    """W[o, c, t] = sum_k pi_k out_o in_c tap_t W_k[o, c, t], all heads from the pooled, reduced, normalised image."""
    norm, temperature = layer.squeeze.norm, layer.temperature
    reduced = layer.squeeze.reduce.weight @ image.flatten(1).mean(1)
    hidden = (reduced - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    logits = {name: head.weight @ hidden.clamp(min=0) + head.bias for name, head in layer.heads.items()}
    scale = 2 if layer.initial_scale == "corrected" else 1
    divisor = temperature if layer.temperature_on == "all" else 1

    def gate(name: str, count: int) -> Tensor:
        return scale / (1 + (-logits[name] / divisor).exp()) if name in logits else torch.ones(count).double()

    taps = gate("tap_gate", layer.weight[0, 0, 0].numel()).view(layer.kernel_size)
    pi = (logits["kernels"] / temperature).exp() if "kernels" in logits else torch.ones(1).double()
    kernel = sum(weight / pi.sum() * layer.weight[k] * taps for k, weight in enumerate(pi))
    inputs, outputs = gate("input_gate", layer.in_channels), gate("output_gate", layer.out_channels)
    gated = torch.stack([inputs[c] * image[c] for c in range(len(image))])
    y = F.conv2d(gated[None], kernel, None, layer.stride, layer.padding, layer.dilation, layer.groups)[0]
    y = torch.stack([outputs[o] * y[o] for o in range(len(y))])
    return y if layer.bias is None else y + layer.bias[:, None, None]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    "options",
    [
        {"num_kernels": 1},
        {"num_kernels": 3, "initial_scale": "corrected"},
        {"num_kernels": 2, "temperature_on": "kernels"},
    ],
    ids=["one", "corrected", "temperature on kernels"],
)
def test_outputs_and_all_gradients_equal_the_loop(geometry: str, options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    layer = lively(ODConv2d(**arguments, temperature=2.0, **options))
    assert_equals_the_loop(layer, lambda image: image_output(layer, image), images())


@pytest.mark.parametrize(("num_kernels", "count"), [(1, 40_249), (4, 150_909)])
def test_parameters(num_kernels: int, count: int) -> None:
    layer = ODConv2d(64, 64, 3, bias=False, num_kernels=num_kernels)
    assert sum(p.numel() for p in layer.parameters()) == count


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({}, ("input gate", "output gate", "tap gate")),
        ({"num_kernels": 4}, ("input gate", "output gate", "tap gate", KERNEL_ATTENTION)),
        ({"kernel_size": 1}, ("input gate", "output gate")),
        ({"kernel_size": (1, 3), "groups": 8}, ("input gate", "tap gate")),
        ({"kernel_size": 1, "groups": 8, "num_kernels": 2}, ("input gate", KERNEL_ATTENTION)),
    ],
)
def test_a_layer_decides_what_its_shape_leaves_to_decide(arguments: dict[str, Any], names: tuple[str, ...]) -> None:
    layer = ODConv2d(**{"in_channels": 8, "out_channels": 8, "kernel_size": 3, **arguments})
    assert layer.choice_names == names
    assert [len(part) for part in layer.choice(images().float())] == [4] * len(names)


def test_the_temperature_reaches_every_head_or_the_kernels_alone() -> None:
    x = images()
    for temperature_on, moved in (("all", [True] * 4), ("kernels", [False, False, False, True])):
        layer = lively(ODConv2d(8, 12, 3, num_kernels=4, temperature_on=temperature_on))  # type: ignore[arg-type]
        set_temperature(layer, 30.0)
        hot = layer.choice(x)
        set_temperature(layer, 1.0)
        assert [not torch.equal(a, b) for a, b in zip(hot, layer.choice(x), strict=True)] == moved


@pytest.mark.parametrize("num_kernels", [1, 4])
def test_the_published_start_is_an_eighth_of_the_mixtures(num_kernels: int) -> None:
    x = torch.randn(64, 64, 16, 16)
    static = F.conv2d(x, he_normal(torch.empty(64, 64, 3, 3)), padding=1).std()
    layer = ODConv2d(64, 64, 3, padding=1, bias=False, num_kernels=num_kernels)
    draw_kernels(layer, he_normal)
    assert layer(x).detach().std() / static == pytest.approx(1 / 8 / num_kernels**0.5, rel=0.06)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_kernels": 0}, "num_kernels=0"),
        ({"reduction": -1}, "reduction=-1"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature_on": "gates"}, "temperature_on='gates'.*all, kernels"),
        ({"initial_scale": "large"}, "initial_scale='large'.*published, corrected"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ODConv2d(8, 8, 3, **changes)
