"""WeightNet against a float64 loop that generates every weight as the paper's grouped layer does."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers import weightnet
from dynfilt.layers.weightnet import WeightNetConv2d
from tests.layers.drop_ins import GEOMETRIES, assert_equals_the_loop, images, lively


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def image_output(layer: Any, image: Tensor, generator_groups: int) -> Tensor:
    """A layer of G * O groups from the M * O activations to the O * C * kh * kw weights, one weight at a time."""
    activations = 1 / (
        1 + (-(layer.activate.weight @ (layer.reduce.weight @ image.flatten(1).mean(1)) + layer.activate.bias)).exp()
    )
    outputs, inputs, *size = layer.weight.shape[1:]
    weights_of_group = inputs * size[0] * size[1] // generator_groups
    per_group = len(activations) // (generator_groups * outputs)
    generated = []
    for group in range(generator_groups * outputs):
        seen = activations[group * per_group : (group + 1) * per_group]
        output, first = group // generator_groups, group % generator_groups * weights_of_group
        rows = layer.weight[:, output].flatten(1)[:, first : first + weights_of_group]
        generated.append(sum(seen[j] * rows[j] for j in range(per_group)))
    kernel = torch.cat(generated).view(outputs, inputs, *size)
    geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return F.conv2d(image[None], kernel, layer.bias, *geometry)[0]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("activations", "generator_groups"), [(2, 2), (1, 1), (4, 2), (3, 1)])
@pytest.mark.parametrize("positions", [0, 1000], ids=["filters", "outputs"])
def test_outputs_and_all_gradients_equal_the_loop(
    geometry: str, activations: int, generator_groups: int, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weightnet, "POSITIONS_PER_CHANNEL", positions)
    if geometry == "depthwise" and generator_groups > 1:
        pytest.skip("a depthwise filter has one input")
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    layer = lively(WeightNetConv2d(**arguments, activations=activations, generator_groups=generator_groups))
    assert_equals_the_loop(layer, lambda image: image_output(layer, image, generator_groups), images(3))


def test_parameters() -> None:
    layer = WeightNetConv2d(64, 64, 3, bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 40_064


def test_equal_activations_and_groups_are_gates_on_outputs() -> None:
    layer, x = lively(WeightNetConv2d(8, 12, 3, bias=False, activations=1, generator_groups=1)), images()
    expected = F.conv2d(x, layer.weight[0]) * layer.choice(x)[:, :, 0, 0, None, None]
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activations": 3}, r"generator_groups=2: must divide activations=3 and the 8 input channels"),
        ({"generator_groups": 3, "activations": 3}, "generator_groups=3: must divide"),
        ({"groups": 8}, "generator_groups=2: must divide activations=2 and the 1 input channels of a filter; 1 always"),
        ({"activations": 0}, "activations=0"),
        ({"generator_groups": 0}, "generator_groups=0"),
        ({"reduction": 0}, "reduction=0"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightNetConv2d(**{"in_channels": 8, "out_channels": 8, "kernel_size": 3, **changes})
