"""Involution against a float64 loop over images and positions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.initialisation import draw_kernels
from dynfilt.layers.involution import InvolutionConv2d
from dynfilt.models.resnet import he_normal
from tests.layers.drop_ins import GEOMETRIES, assert_equals_the_loop, images, lively


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def image_output(layer: Any, image: Tensor) -> Tensor:
    """At each output position: average from the centre tap on, two 1x1 layers, its filter on its window, one 1x1."""
    kernel, stride, dilation, norm = layer.kernel_size, layer.stride, layer.dilation, layer.norm
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    before = [r // 2 for r in reach] if layer.padding == "same" else layer.padding
    after = [r - b for r, b in zip(reach, before, strict=True)] if layer.padding == "same" else layer.padding
    padded = F.pad(image, (before[1], after[1], before[0], after[0]))
    ends = [
        size + b + (a - b if layer.padding == "same" and a > b else 0)
        for size, a, b in zip(image.shape[1:], after, before, strict=True)
    ]
    height, width = ((padded.shape[1 + i] - reach[i] - 1) // stride[i] + 1 for i in (0, 1))
    columns = []
    for i in range(height):
        for j in range(width):
            top, left = i * stride[0], j * stride[1]
            centre = [top + dilation[0] * ((kernel[0] - 1) // 2), left + dilation[1] * ((kernel[1] - 1) // 2)]
            stop = [max(c + 1, min(c + s, e)) for c, s, e in zip(centre, stride, ends, strict=True)]
            seen = padded[:, centre[0] : stop[0], centre[1] : stop[1]].flatten(1).mean(1)
            if layer.feature_norm == "rms":
                seen = seen / (seen.square().sum() / len(seen) + 1e-5).sqrt()
            reduced = layer.reduce.weight[:, :, 0, 0] @ seen
            hidden = (reduced - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
            filters = layer.span.weight[:, :, 0, 0] @ hidden.clamp(min=0) + layer.span.bias
            filters = filters.view(layer.filter_groups, *kernel).repeat_interleave(len(image) // layer.filter_groups, 0)
            window = padded[:, top:, left:][:, :: dilation[0], :: dilation[1]][:, : kernel[0], : kernel[1]]
            columns.append((filters * window).sum((1, 2)))
    z = torch.stack(columns, dim=1).view(len(image), height, width)
    return F.conv2d(z[None], layer.weight, layer.bias, groups=layer.groups)[0]


@pytest.mark.slow
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    ("initial_scale", "feature_norm"), [("published", "none"), ("corrected", "none"), ("published", "rms")]
)
def test_outputs_and_all_gradients_equal_the_loop(geometry: str, initial_scale: Any, feature_norm: Any) -> None:
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    options: dict[str, Any] = {"initial_scale": initial_scale, "feature_norm": feature_norm}
    layer = lively(InvolutionConv2d(**arguments, group_channels=4, **options))
    assert_equals_the_loop(layer, lambda image: image_output(layer, image), images(2))


def test_an_image_twice_as_strong() -> None:
    x = torch.randn(4, 16, 8, 8, dtype=torch.float64)
    for feature_norm, times in (("none", 4), ("rms", 2)):
        options: dict[str, Any] = {"padding": 1, "bias": False, "feature_norm": feature_norm}
        layer = InvolutionConv2d(16, 16, 3, **options).double().eval()
        torch.testing.assert_close(layer(2 * x), times * layer(x), rtol=1e-3, atol=1e-4)


def test_parameters() -> None:
    layer = InvolutionConv2d(64, 64, 7, bias=False)
    assert sum(p.numel() for p in layer.parameters()) - 64 * 64 == 4_388


def test_the_published_start_is_twice_the_deviation() -> None:
    x = torch.randn(16, 64, 16, 16)
    static, layer = nn.Conv2d(64, 64, 3, padding=1, bias=False), InvolutionConv2d(64, 64, 3, padding=1, bias=False)
    for part in (static, layer):
        draw_kernels(part, he_normal)
    assert layer(x).detach().std() / static(x).detach().std() == pytest.approx(2, rel=0.15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group_channels": 3}, "group_channels=3: must divide in_channels=8"),
        ({"group_channels": 0}, "group_channels=0"),
        ({"group_channels": 4, "reduction": 9}, "reduction=9: leaves none of 8 channels"),
        ({"group_channels": 4, "initial_scale": "large"}, "initial_scale='large'.*published, corrected"),
        ({"group_channels": 4, "feature_norm": "batch"}, "feature_norm='batch'.*none, rms"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InvolutionConv2d(8, 8, 3, **changes)
