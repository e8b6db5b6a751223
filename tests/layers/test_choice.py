"""What a dynamic layer is: seen by its methods alone, and a stranger's faults named in one line."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.choice import (
    KERNEL_ATTENTION,
    check_dynamic_layer,
    deciding_parameters,
    dynamic_layers,
    image_filters,
    is_dynamic,
    named_choice,
)
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.generated import GeneratedConv2d, SharedConv2d
from dynfilt.layers.odconv import ODConv2d
from dynfilt.layers.varchannel import NoiseConv2d


class Gate(nn.Module):
    """A stranger's layer: a gate on each output of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.gate = nn.Linear(3, 4)

    def choice(self, x: Tensor) -> Any:
        return self.gate(x.mean((2, 3))).sigmoid()

    def apply_choice(self, x: Tensor, choice: Any) -> Tensor:
        return self.conv(x) * choice[:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_choice(x, self.choice(x))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def images() -> Tensor:
    return torch.randn(5, 3, 6, 6)


def test_dynamic_layers_of_a_network_are_found_by_their_methods() -> None:
    generated = GeneratedConv2d(4, 4, 3, 1, 144, "per_image", "full")
    network = nn.Sequential(
        nn.Conv2d(3, 3, 1),
        Gate(),
        nn.Sequential(DYConv2d(4, 4, 3, padding=1), nn.ReLU()),
        DYConv2d(4, 4, 1, num_kernels=1),
        generated,
        SharedConv2d(4, 4, 3, 1),
        DYConv2d(4, 4, 1, num_kernels=1, attention="sigmoid"),
    )
    assert list(dynamic_layers(network)) == ["1", "2.0", "4", "6"]
    assert not is_dynamic(network[0]) and not is_dynamic(network[3]) and not is_dynamic(network[5])


def test_choices_have_the_names_that_the_layer_gives_them() -> None:
    pi = torch.ones(2, 4)
    assert list(named_choice(DYConv2d(3, 4, 1), pi)) == [KERNEL_ATTENTION]
    assert list(named_choice(Gate(), pi)) == ["choice"]
    assert list(named_choice(Gate(), (pi, pi))) == ["choice 1", "choice 2"]


def test_a_choice_set_from_outside_is_the_one_that_is_applied() -> None:
    layer, x = Gate(), images()
    own = layer.choice
    layer.choice = lambda x: own(x).roll(1, 0)  # type: ignore[method-assign]
    expected = layer.conv(x) * own(x).roll(1, 0)[:, :, None, None]
    assert torch.equal(layer(x), expected)
    del layer.choice
    assert torch.equal(layer(x), layer.conv(x) * own(x)[:, :, None, None])


@pytest.mark.parametrize("layer", [Gate(), DYConv2d(3, 4, 3, padding=1)], ids=["stranger", "ours"])
def test_a_right_layer_passes_and_is_left_in_its_mode(layer: nn.Module) -> None:
    layer.train().held = nn.BatchNorm2d(3).eval()
    named = check_dynamic_layer(layer, images())
    assert [tuple(t.shape) for t in named.values()] == [(5, 4)]
    assert layer.training and not layer.held.training


class WithChoice(Gate):
    def __init__(self, choice: Any) -> None:
        super().__init__()
        self.fixed = choice

    def choice(self, x: Tensor) -> Any:
        return self.fixed(x, super().choice(x))


class WithFilters(Gate):
    def filters(self, x: Tensor, choice: Any = None) -> Tensor:
        return self.conv.weight


class OtherForward(Gate):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class InFloat64(Gate):
    def apply_choice(self, x: Tensor, choice: Any) -> Tensor:
        return super().apply_choice(x, choice).double()

    def forward(self, x: Tensor) -> Tensor:
        return super().apply_choice(x, self.choice(x))


class WithOneNameTwice(Gate):
    choice_names = ("gate", "gate")

    def choice(self, x: Tensor) -> Any:
        return (super().choice(x),) * 2


class WithNames(Gate):
    choice_names = ("input gate", "output gate")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv2d(3, 4, 3), r"Conv2d: a dynamic layer has the methods choice\(x\) and apply_choice\(x, choice\)"),
        (WithChoice(lambda x, c: c.mean(0)), r"WithChoice: choice\(x\) has the shape \(4,\) for 1 images; the batch"),
        (WithChoice(lambda x, c: c[:1]), r"has the shape \(1, 4\) for 5 images"),
        (WithChoice(lambda x, c: c.mean()), r"has the shape \(\) for 1 images"),
        (WithChoice(lambda x, c: (c, c.T)), r"has the shape \(4, 1\) for 1 images"),
        (WithChoice(lambda x, c: c.tolist()), r"choice\(x\) is a list, must be a tensor or a tuple of tensors"),
        (WithChoice(lambda x, c: (c, None)), r"choice\(x\) is a NoneType"),
        (WithNames(), r"WithNames: choice_names has 2 names for 1 tensors"),
        (WithOneNameTwice(), r"choice_names has a name twice: \('gate', 'gate'\)"),
        (WithChoice(lambda x, c: c / 0 * 0), r"WithChoice: forward\(x\) is not finite"),
        (InFloat64(), r"forward\(x\) is torch.float32, apply_choice\(x, choice\(x\)\) torch.float64"),
        (DYConv2d(3, 4, 3, control="constant"), "DYConv2d: decides nothing, as it was built"),
        (OtherForward(), r"OtherForward: apply_choice\(x, choice\(x\)\) must be forward\(x\)"),
        (WithFilters(), r"filters have the shape \(4, 3, 3, 3\), must be \(5, 4, 'C/groups', 'kh', 'kw'\)"),
    ],
)
def test_a_strangers_fault_is_one_clear_line(layer: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        check_dynamic_layer(layer, images())
    assert "\n" not in str(error.value)


def test_filters_are_those_of_the_choice() -> None:
    layer, x = DYConv2d(3, 4, 3, padding=1, bias=False), images()
    shared = SharedConv2d(3, 4, 3, 1)
    assert image_filters(Gate(), x) is None
    for filters, y in (
        (image_filters(layer, x), layer(x)),
        (image_filters(layer, x, layer.choice(x)), layer(x)),
        (image_filters(shared, x), shared(x)),
    ):
        assert filters is not None and filters.shape == (5, 4, 3, 3, 3)
        loop = torch.cat([F.conv2d(x[i : i + 1], filters[i], padding=1) for i in range(5)])
        torch.testing.assert_close(y, loop, rtol=1e-4, atol=1e-5)


def test_what_decides_is_what_the_choice_is_computed_from() -> None:
    norm, gate = nn.BatchNorm2d(3), Gate()
    network = nn.Sequential(norm, gate, DYConv2d(4, 4, 3, control="constant"), DYConv2d(4, 4, 1, control="frozen"))
    network.append(SharedConv2d(4, 3, 3, 1))
    network.append(ODConv2d(3, 3, 3))  # with BatchNorm in its choice
    attention = network[2].attention
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = deciding_parameters(network, torch.randn(2, 3, 8, 8))
    squeeze, heads = network[5].squeeze, network[5].heads
    expected = [gate.gate.weight, gate.gate.bias, *attention.parameters(), *squeeze.parameters(), *heads.parameters()]
    assert {id(each) for each in found} == {id(each) for each in expected} and len(found) == len(expected)
    assert network.training and all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(parameter.grad is not None for parameter in network.parameters())
    assert deciding_parameters(NoiseConv2d(3, 4, 3), images()) == []
