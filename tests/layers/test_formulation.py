"""Forcing a formulation: nested, given back after an exception, refused when unknown, kept by a compiler."""

import pytest
import torch
from torch import nn

from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.formulation import FORMULATIONS, decide, describe, force_formulation, record_formulations
from dynfilt.layers.generated import GeneratedConv2d

CHANNELS, SIZE = 3, 6
GENERATED = {"condition_features": CHANNELS * SIZE**2, "normalisation": "per_image", "gradient": "full"}
LAYERS = {
    "mixed": lambda: DYConv2d(CHANNELS, 4, 3, padding=1),
    "generated": lambda: GeneratedConv2d(CHANNELS, 1, 3, 1, **GENERATED),
}


def test_a_forced_formulation_ends_with_its_block() -> None:
    with pytest.raises(KeyError), force_formulation("grouped"):
        with force_formulation("taps"):
            assert decide(FORMULATIONS[1:], "outputs") == "taps"
        assert decide(FORMULATIONS[1:], "outputs") == "grouped"
        raise KeyError
    assert decide(FORMULATIONS[1:], "outputs") == "outputs"


def test_what_does_not_apply_is_left_to_the_choice() -> None:
    with force_formulation("taps"):
        assert decide(("grouped", "chunked"), "chunked") == "chunked"


def test_an_unknown_formulation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'fft'.*auto, grouped"), force_formulation("fft"):
        pass
    assert decide(FORMULATIONS[1:], "outputs") == "outputs"


@pytest.mark.parametrize("formulation", ["grouped", "chunked", "outputs", "stacked", "inputs"])
def test_a_mixture_is_counted_once(formulation: str) -> None:
    layer, x = LAYERS["mixed"](), torch.randn(9, CHANNELS, SIZE, SIZE)
    with force_formulation(formulation), record_formulations() as taken:
        layer(x)
        layer(x)
    assert describe(taken) == f"{formulation} x 2"


@pytest.mark.parametrize("formulation", ["grouped", "taps"])
def test_a_filter_an_image_is_counted(formulation: str) -> None:
    layer, x = LAYERS["generated"](), torch.randn(2, CHANNELS, SIZE, SIZE)
    with record_formulations() as around:
        with force_formulation(formulation), record_formulations() as taken:
            layer(x)
        assert describe(taken) == formulation
        layer(x)
        nn.Conv2d(CHANNELS, 1, 3)(x)
    layer(x)
    assert describe(around) == "taps"


def test_ordinary_convolutions_are_no_formulation() -> None:
    with record_formulations() as taken:
        nn.Conv2d(CHANNELS, 3, 3)(torch.randn(1, CHANNELS, SIZE, SIZE))
    assert describe(taken) == "nn.Conv2d"


# Those that a layer has on a CPU; the others are `auto` again.
OF_LAYER = {
    "mixed": [name for name in FORMULATIONS if name not in ("taps", "per_image")],
    "generated": ["auto", "grouped", "taps"],
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "formulation"), [(kind, name) for kind in LAYERS for name in OF_LAYER[kind]])
def test_a_layer_is_compiled_whole_and_computes_the_same(kind: str, formulation: str) -> None:
    torch.manual_seed(0)
    layer: nn.Module = LAYERS[kind]()
    x = torch.randn(5, CHANNELS, SIZE, SIZE, requires_grad=True)
    inputs = [x, *layer.parameters()]
    torch.compiler.reset()
    with force_formulation(formulation):
        expected, y = layer(x), torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
        gradients = [torch.autograd.grad(out.square().sum(), inputs) for out in (y, expected)]
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(*gradients)
