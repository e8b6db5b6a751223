"""DCD against a float64 loop over images and output positions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.dcd import DCDConv2d
from dynfilt.layers.initialisation import draw_kernels
from dynfilt.models.resnet import he_normal
from tests.layers.drop_ins import GEOMETRIES, assert_equals_the_loop, images, lively

WITHOUT_GROUPS = [name for name, geometry in GEOMETRIES.items() if "groups" not in geometry]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def normalised(norm: Any, column: Tensor) -> Tensor:
    return (column - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias


def hard_scale(logits: Tensor) -> Tensor:
    return (logits + 3).clamp(0, 6) / 3


def image_output(layer: Any, image: Tensor) -> Tensor:
    """The scaled static convolution, and at each position P (BN(Phi z) + z) of the pixel under the centre tap."""
    pooled = F.adaptive_avg_pool2d(image, layer.pool).reshape(-1)
    if layer.feature_norm == "rms":
        pooled = pooled / (pooled.square().sum() / len(pooled) + 1e-5).sqrt()
    squeezed = layer.squeeze.weight @ pooled
    squeezed = squeezed * hard_scale(layer.excite.weight @ squeezed)
    phi = (layer.mixing.weight @ squeezed).view(layer.rank, layer.rank)
    scale = hard_scale(layer.output_gate.weight @ squeezed)
    y = F.conv2d(image[None], layer.weight, None, layer.stride, layer.padding, layer.dilation)[0] * scale[:, None, None]
    reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    before = [r // 2 for r in reach] if layer.padding == "same" else layer.padding
    columns = []
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            place = [
                p * s - b + d * ((k - 1) // 2)
                for p, s, b, d, k in zip((i, j), layer.stride, before, layer.dilation, layer.kernel_size, strict=True)
            ]
            inside = all(0 <= p < size for p, size in zip(place, image.shape[1:], strict=True))
            pixel = image[:, place[0], place[1]] if inside else torch.zeros_like(image[:, 0, 0])
            z = normalised(layer.norm_reduced, layer.reduce.weight[:, :, 0, 0] @ pixel)
            columns.append(layer.expand.weight[:, :, 0, 0] @ (normalised(layer.norm_mixed, phi @ z) + z))
    y = y + torch.stack(columns, dim=1).view_as(y)
    return y if layer.bias is None else y + layer.bias[:, None, None]


@pytest.mark.slow
@pytest.mark.parametrize("geometry", WITHOUT_GROUPS)
@pytest.mark.parametrize(("pool", "feature_norm"), [(1, "none"), (2, "none"), (2, "rms")])
def test_outputs_and_all_gradients_equal_the_loop(geometry: str, pool: int, feature_norm: Any) -> None:
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    layer = lively(DCDConv2d(**arguments, pool=pool, feature_norm=feature_norm))
    assert_equals_the_loop(layer, lambda image: image_output(layer, image), images(3))


def test_parameters() -> None:
    layer = DCDConv2d(64, 64, 3, bias=False)
    assert sum(p.numel() for p in layer.parameters()) == 48_448


@pytest.mark.parametrize(("channels", "more"), [(64, 0.5), (16, 1.0)])
def test_the_published_residual_adds_to_the_variance(channels: int, more: float) -> None:
    x = torch.randn(64, channels, 8, 8)
    static = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="circular", bias=False)
    layer = DCDConv2d(channels, channels, 3, padding=1, bias=False)
    for part in (static, layer):
        draw_kernels(part, he_normal)
    assert layer(x).detach().var() / static(x).detach().var() == pytest.approx(1 + more, rel=0.15)


@pytest.mark.parametrize(("feature_norm", "least", "most"), [("none", 0.3, 1.0), ("rms", 0.0, 1e-3)])
def test_an_image_twice_as_strong(feature_norm: Any, least: float, most: float) -> None:
    x = torch.rand(4, 16, 8, 8, dtype=torch.float64)
    layer = DCDConv2d(16, 16, 3, padding=1, bias=False, feature_norm=feature_norm).double().eval()
    once, twice = layer(x).detach(), layer(2 * x).detach()
    assert least <= (twice - 2 * once).norm() / twice.norm() < most


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="groups=2: DCD mixes all channels with each other; groups must be 1"):
        DCDConv2d(8, 8, 3, groups=2)
    with pytest.raises(ValueError, match="pool=0"):
        DCDConv2d(8, 8, 3, pool=0)
    with pytest.raises(ValueError, match=r"initial_scale='large'.*published, corrected"):
        DCDConv2d(8, 8, 3, initial_scale="large")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"feature_norm='batch'.*none, rms"):
        DCDConv2d(8, 8, 3, feature_norm="batch")  # type: ignore[arg-type]
