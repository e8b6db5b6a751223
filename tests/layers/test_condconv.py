"""CondConv against a float64 loop over images and experts."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers.condconv import CondConv2d
from dynfilt.layers.initialisation import draw_kernels
from dynfilt.models.resnet import he_normal
from tests.layers.drop_ins import GEOMETRIES, assert_equals_the_loop, images, lively


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def image_output(layer: Any, image: Tensor) -> Tensor:
    """Each expert's convolution with its bias, weighted by its sigmoid, summed."""
    logits = layer.routing.weight @ image.flatten(1).mean(1) + layer.routing.bias
    y = 0
    for k, logit in enumerate(logits):
        bias = None if layer.bias is None else layer.bias[k]
        geometry = (layer.stride, layer.padding, layer.dilation, layer.groups)
        y = y + F.conv2d(image[None], layer.weight[k], bias, *geometry)[0] / (1 + (-logit).exp())
    return y


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("num_kernels", [1, 3])
def test_outputs_and_all_gradients_equal_the_loop(geometry: str, num_kernels: int) -> None:
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    layer = lively(CondConv2d(**arguments, num_kernels=num_kernels))
    assert_equals_the_loop(layer, lambda image: image_output(layer, image), images())


def test_parameters() -> None:
    layer = CondConv2d(64, 64, 3, bias=False, num_kernels=8)
    assert sum(p.numel() for p in layer.parameters()) == 8 * 36_864 + 8 * 65 == 295_432


@pytest.mark.parametrize(("num_kernels", "deviation"), [(2, 0.5**0.5), (4, 1.0), (8, 2**0.5)])
def test_the_published_start_grows_with_the_number_of_experts(num_kernels: int, deviation: float) -> None:
    x = torch.randn(32, 32, 8, 8)
    static = he_normal(torch.empty(64, 32, 3, 3))
    layer = CondConv2d(32, 64, 3, padding=1, bias=False, num_kernels=num_kernels)
    draw_kernels(layer, he_normal)
    assert layer(x).detach().std() / F.conv2d(x, static, padding=1).std() == pytest.approx(deviation, rel=0.03)


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="num_kernels=0"):
        CondConv2d(8, 8, 3, num_kernels=0)
    with pytest.raises(ValueError, match=r"initial_scale='large'.*published, corrected"):
        CondConv2d(8, 8, 3, initial_scale="large")  # type: ignore[arg-type]
