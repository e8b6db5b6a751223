"""Gates on both sides of a convolution against a float64 loop over images."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.se import SEConv2d
from tests.layers.drop_ins import GEOMETRIES, assert_equals_the_loop, images, lively


def image_output(layer: Any, image: Tensor, open_gate: float) -> Tensor:
    """Pool, reduce, normalise, ReLU; a gate on each input, the convolution, a gate on each output, the bias."""
    squeeze = layer.squeeze
    reduced = squeeze.reduce.weight @ image.flatten(1).mean(1)
    norm = squeeze.norm
    normalised = (reduced - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    hidden = normalised.clamp(min=0)
    gates = [
        open_gate / (1 + (-(head.weight @ hidden + head.bias)).exp()) for head in (layer.input_gate, layer.output_gate)
    ]
    gated = torch.stack([gates[0][c] * image[c] for c in range(len(image))])
    y = F.conv2d(gated[None], layer.weight, None, layer.stride, layer.padding, layer.dilation, layer.groups)[0]
    y = torch.stack([gates[1][o] * y[o] for o in range(len(y))])
    return y if layer.bias is None else y + layer.bias[:, None, None]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("initial_scale", "open_gate"), [("corrected", 2.0), ("published", 1.0)])
def test_outputs_and_all_gradients_equal_the_loop(geometry: str, initial_scale: Any, open_gate: float) -> None:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    layer = lively(SEConv2d(**arguments, initial_scale=initial_scale))
    assert_equals_the_loop(layer, lambda image: image_output(layer, image, open_gate), images())


def test_gates_that_start_at_one_leave_the_static_convolution() -> None:
    torch.manual_seed(0)
    layer, x = SEConv2d(8, 12, 3, padding=1).eval(), images().float()
    input_gate, output_gate = layer.choice(x)
    for gate in (input_gate, output_gate):
        torch.testing.assert_close(gate, torch.ones_like(gate), rtol=0, atol=0.02)
    static = nn.Conv2d(8, 12, 3, padding=1)
    static.load_state_dict({"weight": layer.weight, "bias": layer.bias})
    torch.testing.assert_close(layer(x), static(x), rtol=0, atol=0.05)


def test_parameters() -> None:
    layer = SEConv2d(64, 64, 3, bias=False)
    squeeze, heads = 64 * 16 + 2 * 16, 2 * (16 * 64 + 64)
    assert sum(p.numel() for p in layer.parameters()) == 36_864 + squeeze + heads == 40_096


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"reduction": 0}, "reduction=0"), ({"initial_scale": "large"}, "initial_scale='large'.*published, corrected")],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SEConv2d(8, 8, 3, **changes)
