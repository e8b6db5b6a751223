"""What torch can do with a function it can do with every layer: differentiate twice, transform, compile, export."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, jvp, vmap

from dynfilt.layers.formulation import FORMULATIONS, force_formulation
from dynfilt.layers.generated import GeneratedConv2d
from tests.layers.drop_ins import CHANNELS, DROP_INS, images, lively

SIZE = {"height": 5, "width": 6}


def generated() -> nn.Module:
    options = {"padding": 1, "normalisation": "per_image", "gradient": "full"}
    return GeneratedConv2d(CHANNELS, 2, 3, condition_features=CHANNELS * 5 * 6, **options)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda drop_in=drop_in: drop_in.build(padding=1) for name, drop_in in DROP_INS.items()},
    "generated": generated,
}
ALL = pytest.mark.parametrize("name", LAYERS)
MIXTURE_FORMULATIONS = pytest.mark.parametrize(
    ("name", "formulation"), [("dyconv", formulation) for formulation in FORMULATIONS]
)


def layer_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return lively(LAYERS[name]())


def as_function(layer: nn.Module) -> tuple[Callable[..., Tensor], dict[str, Tensor]]:
    """The layer as a function of x and its parameters' values, and these values."""
    values = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
    return lambda x, *now: functional_call(layer, dict(zip(values, now, strict=True)), (x,)), values


def assert_second_derivatives(layer: nn.Module) -> None:
    run, values = as_function(layer)
    inputs = [tensor.requires_grad_() for tensor in (images(2, **SIZE), *values.values())]
    once, kept = (torch.autograd.grad(run(*inputs).square().sum(), inputs, create_graph=keep) for keep in (False, True))
    torch.testing.assert_close(kept, once)  # what is checked next is the derivative of those that are kept
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


@pytest.mark.slow
@ALL
def test_second_derivatives_are_those_of_finite_differences(name: str) -> None:
    assert_second_derivatives(layer_of(name))


@MIXTURE_FORMULATIONS
def test_second_derivatives_in_every_formulation(name: str, formulation: str) -> None:
    with force_formulation(formulation):
        assert_second_derivatives(layer_of(name))


@ALL
def test_gradients_for_each_image_add_up_to_those_of_the_batch(name: str) -> None:
    layer, x = layer_of(name), images(3, **SIZE)
    run, values = as_function(layer)

    def loss(values: dict[str, Tensor], x: Tensor) -> Tensor:
        return run(x, *values.values()).square().sum()

    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    whole = grad(loss)(values, x)
    for_each = vmap(lambda image: grad(loss)(values, image[None]))(x)
    for (part, gradient), sum_expected in zip(whole.items(), expected, strict=True):
        torch.testing.assert_close(gradient, sum_expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(for_each[part].sum(0), sum_expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(layer(x), run(x, *values.values()))  # what a transform has seen leaves nothing behind


@ALL
@pytest.mark.slow
def test_it_is_exported_with_a_free_batch_size(name: str) -> None:
    layer = layer_of(name)
    exported = torch.export.export(layer, (images(4, **SIZE),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for batch in (1, 2, 7):
        x = images(batch, **SIZE)
        torch.testing.assert_close(exported.module()(x), layer(x), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", DROP_INS)
def test_it_is_exported_with_a_free_height_and_width(name: str) -> None:
    layer, free = layer_of(name), torch.export.Dim.DYNAMIC
    exported = torch.export.export(layer, (images(),), dynamic_shapes=({0: free, 2: free, 3: free},))
    for x in (images(2, height=8, width=9), images(3, height=11, width=10)):
        torch.testing.assert_close(exported.module()(x), layer(x), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@ALL
def test_derivatives_in_every_mode_of_torch_func(name: str) -> None:
    """Forward over nothing, reverse row by row, and one over the other, on a map that is not unfolded for its size."""
    layer, x = layer_of(name), images(1, **SIZE) if name == "generated" else images(1, height=8, width=8)
    parameters = dict(layer.named_parameters())
    first = next(iter(parameters))

    def run(value: Tensor) -> Tensor:
        return functional_call(layer, {first: value}, (x,)).square().sum((0, 2, 3))

    value = parameters[first].detach()
    direction = torch.randn_like(value)
    rows = jacrev(run)(value)
    _, slope = jvp(run, (value,), (direction,))
    torch.testing.assert_close(slope, (rows * direction).flatten(1).sum(1))
    stacked = vmap(run)(torch.stack([value, 2 * value]))
    torch.testing.assert_close(stacked, torch.stack([run(value), run(2 * value)]))
