"""A network's convolutions become dynamic ones and start with its weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import weight_norm
from torchvision.models import mobilenet_v2, resnet18

from dynfilt.layers import (
    DDFConv2d,
    DYConv2d,
    InvolutionConv2d,
    SEConv2d,
    draw_kernels,
    dynamic_layers,
    replace_convolutions,
)
from dynfilt.models.resnet import ResNet
from tests.layers.drop_ins import DROP_INS

FROM_KERNELS = pytest.mark.parametrize(
    "name", [name for name, drop_in in DROP_INS.items() if drop_in.layer not in (DDFConv2d, InvolutionConv2d)]
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def small(**options: Any) -> nn.Sequential:
    inner = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2, padding=1, **options), nn.ReLU())
    return nn.Sequential(nn.Conv2d(3, 8, 1), inner, nn.Conv2d(8, 4, (1, 3), padding="same", groups=2, bias=False))


def images() -> Tensor:
    return torch.randn(3, 3, 9, 8, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize(("build", "count"), [(resnet18, 19), (mobilenet_v2, 51)])
def test_all_but_the_first_convolution_of_a_torchvision_network(build: Any, count: int) -> None:
    x = torch.randn(2, 3, 64, 64)
    network = build(num_classes=10).eval()
    expected = network(x)
    assert replace_convolutions(network, DYConv2d, num_kernels=2) is network
    assert len(dynamic_layers(network)) == count
    assert {type(layer) for layer in dynamic_layers(network).values()} == {DYConv2d}
    assert not any(module.training for module in network.modules())
    torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)  # equal kernels, whatever their mixture


@pytest.mark.parametrize(
    "name", [name for name, drop_in in DROP_INS.items() if "initial_scale" in drop_in.starts_as_static]
)
def test_corrected_layers_give_the_old_outputs_at_the_start(name: str) -> None:
    drop_in = DROP_INS[name]
    if drop_in.layer in (InvolutionConv2d, DDFConv2d) or drop_in.options.get("budget", 1) < 1:
        pytest.skip("keeps no kernels, or half of each")
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, stride=2, padding=1)).double()
    x = images()
    expected = network(x)
    options = {**drop_in.options, **drop_in.starts_as_static, "temperature": 1e6}
    if "temperature" not in drop_in.starts_as_static:
        del options["temperature"]
    replace_convolutions(network, drop_in.layer, **options)
    assert (network(x) - expected).norm() < 0.25 * expected.norm()
    assert {parameter.dtype for parameter in network[1].parameters()} == {torch.float64}


def test_all_but_the_first_convolution_of_our_own_network() -> None:
    network = ResNet(10, [(4, 1), (8, 1)], "cifar", 1.0, nn.Conv2d, "all", 0.0, "none")
    replace_convolutions(network, SEConv2d)
    assert list(dynamic_layers(network)) == list(network.convolutions[1:])


def test_where_chooses_and_geometry_and_bias_are_kept() -> None:
    network, x = small().double(), images()
    expected = network(x)
    replace_convolutions(network, DYConv2d, where=lambda name, convolution: convolution.groups == 2)
    assert list(dynamic_layers(network)) == ["2"]
    torch.testing.assert_close(network(x), expected)
    replace_convolutions(
        network,
        DYConv2d,
        where=lambda name, convolution: name.startswith("1."),
        attention="sigmoid",
        initial_scale="corrected",
        temperature=1e9,
    )
    assert list(dynamic_layers(network)) == ["1.0", "2"]
    torch.testing.assert_close(network(x), expected)


@FROM_KERNELS
def test_kernels_come_over_in_the_precision_of_the_network(name: str) -> None:
    layer, options = DROP_INS[name].layer, DROP_INS[name].options
    network, new = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3)).double(), layer(8, 12, 3, **options).double()
    kernel = torch.randn_like(network[1].weight)
    network[1].weight.data.copy_(kernel)
    draw_kernels(new, lambda drawn: drawn.copy_(kernel))
    replace_convolutions(network, layer, **options)
    [expected] = {"weight", "spectrum", "cells"} & dict(new.named_parameters()).keys()
    torch.testing.assert_close(getattr(network[1], expected), getattr(new, expected), rtol=1e-14, atol=1e-15)


@FROM_KERNELS
def test_a_network_without_memory_stays_one(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3)).to("meta")
    replace_convolutions(network, DROP_INS[name].layer, **DROP_INS[name].options)
    assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}


def test_a_convolution_that_stands_in_two_places_is_one_layer() -> None:
    shared = nn.Conv2d(8, 8, 1)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), shared, nn.Sequential(shared))
    replace_convolutions(network, SEConv2d)
    assert network[1] is network[2][0] and isinstance(network[1], SEConv2d)


def test_without_weights_any_layer_takes_a_place() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1))
    with pytest.raises(ValueError, match="1: InvolutionConv2d has kernels of another shape; use keep_weights=False"):
        replace_convolutions(network, InvolutionConv2d, group_channels=4)
    assert not dynamic_layers(network)
    replace_convolutions(network, InvolutionConv2d, keep_weights=False, group_channels=4)
    assert network(torch.randn(2, 3, 6, 6)).shape == (2, 8, 6, 6)


def test_the_first_convolution_stays_whatever_its_weight_is_made_of() -> None:
    for first in (weight_norm(nn.Conv2d(3, 8, 1)), nn.LazyConv2d(8, 1)):
        network = replace_convolutions(nn.Sequential(first, nn.Conv2d(8, 8, 1)), DYConv2d)
        assert network[0] is first and isinstance(network[1], DYConv2d)


def test_parametrizations_of_hooks_are_not_lost() -> None:
    for parametrized in (
        torch.nn.utils.spectral_norm(nn.Conv2d(8, 8, 1)),
        prune.l1_unstructured(nn.Conv2d(8, 8, 1), "weight", 0.5),
        prune.l1_unstructured(nn.Conv2d(8, 8, 1), "bias", 0.5),
    ):
        network = nn.Sequential(nn.Conv2d(3, 8, 1), parametrized)
        with pytest.raises(ValueError, match=r"1: has parametrizations.* remove them, or leave it out by `where`"):
            replace_convolutions(network, DYConv2d)
        assert network[1] is parametrized


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (nn.Linear(3, 3), {}, "no convolution to replace among none"),
        (nn.Sequential(nn.Conv2d(3, 8, 1)), {}, "no convolution to replace among 0"),
        (nn.Conv2d(3, 8, 1), {"where": lambda *_: True}, "the network itself is the convolution"),
        (small(padding_mode="reflect"), {}, r"1\.0: padding_mode='reflect'; only zeros can be replaced"),
        (small(), {"layer": nn.ReLU}, "unexpected keyword"),
        (nn.Sequential(nn.Conv2d(3, 8, 1), weight_norm(nn.Conv2d(8, 8, 1))), {}, "1: has parametrizations"),
    ],
)
def test_wrong_networks(network: nn.Module, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        replace_convolutions(network, **{"layer": DYConv2d, **options})
