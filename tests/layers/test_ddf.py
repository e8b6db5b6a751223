"""Decoupled dynamic filters against a float64 loop over images, positions and channels."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.ddf import DDFConv2d
from dynfilt.layers.formulation import force_formulation
from dynfilt.layers.initialisation import draw_kernels
from dynfilt.models.resnet import he_normal
from tests.layers.drop_ins import GEOMETRIES, assert_equals_the_loop, images, lively


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def normalised(taps: Tensor) -> Tensor:
    """One filter's taps, in one row: minus their mean, over their standard deviation; a single tap plus 1."""
    if len(taps) == 1:
        return taps + 1
    centred = taps - taps.sum() / len(taps)
    return centred / ((centred.square().sum() / (len(taps) - 1)).sqrt() + 1e-10)


def image_output(layer: Any, image: Tensor) -> Tensor:
    """The channels' filters from the mean, each position's from its pixel, their product on each window, then 1x1."""
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    taps, channels = kernel[0] * kernel[1], len(image)
    hidden = (layer.reduce.weight @ image.mean((1, 2)) + layer.reduce.bias).clamp(min=0)
    rows = (layer.channel.weight @ hidden + layer.channel.bias).view(channels, taps)
    of_channels = torch.stack([normalised(row) for row in rows])
    a = (2 / taps) ** 0.5 if taps > 1 else 1.0
    if taps > 1:
        of_channels = of_channels * layer.scale
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    before = [r // 2 for r in reach] if layer.padding == "same" else layer.padding
    after = [r - b for r, b in zip(reach, before, strict=True)] if layer.padding == "same" else layer.padding
    padded = F.pad(image, (before[1], after[1], before[0], after[0]))
    height, width = ((padded.shape[1 + i] - reach[i] - 1) // stride[i] + 1 for i in (0, 1))
    columns = []
    for i in range(height):
        for j in range(width):
            top, left = i * stride[0], j * stride[1]
            centre = [top + dilation[0] * ((kernel[0] - 1) // 2), left + dilation[1] * ((kernel[1] - 1) // 2)]
            logits = layer.spatial.weight[:, :, 0, 0] @ padded[:, centre[0], centre[1]] + layer.spatial.bias
            window = padded[:, top:, left:][:, :: dilation[0], :: dilation[1]][:, : kernel[0], : kernel[1]]
            columns.append((a * normalised(logits) * of_channels * window.flatten(1)).sum(1))
    z = torch.stack(columns, dim=1).view(channels, height, width)
    return F.conv2d(z[None], layer.weight, layer.bias, groups=layer.groups)[0]


@pytest.mark.slow
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("formulation", ["auto", "grouped"])
def test_outputs_and_all_gradients_equal_the_loop(geometry: str, formulation: str) -> None:
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    layer = lively(DDFConv2d(**arguments, reduction=0.5))
    with force_formulation(formulation):
        assert_equals_the_loop(layer, lambda image: image_output(layer, image), images(2))


def test_parameters() -> None:
    layer = DDFConv2d(64, 64, 3, bias=False)
    spatial, channel, scale = 64 * 9 + 9, 64 * 12 + 12 + 12 * 64 * 9 + 64 * 9, 64 * 9
    assert sum(p.numel() for p in layer.parameters()) - 64 * 64 == spatial + channel + scale == 9_429


def test_the_published_start_has_three_fifths_of_the_deviation() -> None:
    x = torch.randn(16, 64, 16, 16)
    static, layer = nn.Conv2d(64, 64, 3, padding=1, bias=False), DDFConv2d(64, 64, 3, padding=1, bias=False)
    for part in (static, layer):
        draw_kernels(part, he_normal)
    # sum_t E[s^2 r^2] = 9 (2/9 * 8/9)^2 = 0.35, whose root is 0.59
    assert layer(x).detach().std() / static(x).detach().std() == pytest.approx(0.59, rel=0.15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reduction": 0}, "reduction=0"),
        ({"initial_scale": "large"}, "initial_scale='large'.*published, corrected"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DDFConv2d(8, 8, 3, **changes)
