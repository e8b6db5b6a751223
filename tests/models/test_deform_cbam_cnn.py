"""The small deformable network: published sizes, its parts against loops, and what its options take out."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from dynfilt.cost import count_flops, count_parameters
from dynfilt.models.deform_cbam_cnn import CBAM, ChannelNorm, DeformCbamCnn, MapAttention, ModulatedDeformConv2d
from dynfilt.models.resnet import ResNet, resnet18

DEFAULTS: dict[str, Any] = {"num_classes": 50, "norm": "channel", "image_size": None, "attention_first": True}
DEFAULTS |= {"deformable": True, "cbam": True, "dropout": 0.0}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def network(**changes: Any) -> DeformCbamCnn:
    return DeformCbamCnn(**{**DEFAULTS, **changes})


def shaken(layer: nn.Module) -> Any:
    """The layer in float64, no parameter at zero."""
    for parameter in layer.double().parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return layer


def test_the_published_sizes_and_those_of_its_rivals() -> None:
    assert count_parameters(network(norm="element", image_size=128)) == 1_109_879
    stages = [(64, 3), (128, 4), (256, 6), (512, 3)]
    assert count_parameters(ResNet(50, stages, "imagenet", 1.0, nn.Conv2d, "all", 0.0, "none")) == 21_310_322
    narrow = count_parameters(resnet18(50, "imagenet", 0.3125, nn.Conv2d, "all", 0.1, "none"))
    assert narrow == pytest.approx(1_109_879, rel=0.01)


def sampled(x: Tensor, row: float, column: float) -> Tensor:
    """x (C, H, W) between its pixels, zero outside: (C,)."""
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            total = total + x[:, i, j] * max(0.0, 1 - abs(row - i)) * max(0.0, 1 - abs(column - j))
    return total


def test_deformable_convolution_is_its_definition() -> None:
    layer, x = shaken(ModulatedDeformConv2d(2, 3)), torch.randn(1, 2, 3, 4, dtype=torch.float64)
    offsets, weights = layer.offsets(x)[0], 2 * torch.sigmoid(layer.modulators(x))[0]
    expected = torch.zeros(3, 3, 4, dtype=torch.float64)
    kernel = layer.convolution.weight
    for i in range(3):
        for j in range(4):
            for tap in range(9):
                row = i + tap // 3 - 1 + offsets[2 * tap, i, j].item()
                column = j + tap % 3 - 1 + offsets[2 * tap + 1, i, j].item()
                seen = sampled(x[0], row, column) * weights[tap, i, j]
                expected[:, i, j] += kernel[:, :, tap // 3, tap % 3] @ seen
    expected += layer.convolution.bias[:, None, None]
    torch.testing.assert_close(layer(x)[0], expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 3), (7, 12), (8, 8)])
@pytest.mark.parametrize("moved", [True, False])  # at whole pixels, where training starts, the offsets' gradient jumps
def test_deformable_convolution_is_that_of_torchvision(size: tuple[int, int], moved: bool) -> None:
    layer, x = ModulatedDeformConv2d(3, 4), torch.randn(2, 3, *size, requires_grad=True)
    if moved:
        layer, x = shaken(layer), x.detach().double().requires_grad_()
    library = deform_conv2d(
        x,
        layer.offsets(x),
        layer.convolution.weight,
        layer.convolution.bias,
        padding=1,
        mask=2 * torch.sigmoid(layer.modulators(x)),
    )
    inputs = [x, *layer.parameters()]
    for ours, expected in zip(
        [layer(x), *torch.autograd.grad(layer(x).square().sum(), inputs)],
        [library, *torch.autograd.grad(library.square().sum(), inputs)],
        strict=True,
    ):
        rounding = {"rtol": 1e-9, "atol": 1e-10} if moved else {"rtol": 1e-5, "atol": 1e-4}
        torch.testing.assert_close(ours, expected, **rounding)


def test_it_starts_as_a_plain_convolution() -> None:
    layer, x = ModulatedDeformConv2d(4, 5), torch.randn(2, 4, 6, 7)
    plain = torch.conv2d(x, layer.convolution.weight, layer.convolution.bias, padding=1)
    torch.testing.assert_close(layer(x), plain, rtol=1e-4, atol=1e-5)


def test_low_precision_gives_the_same_scores_to_rounding() -> None:
    model, x = network().eval(), torch.randn(2, 3, 16, 16)
    expected = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        model.train()(x).float().sum().backward()
        scores = model(x)
    for low in (scores, model.to(torch.bfloat16)(x.bfloat16())):
        torch.testing.assert_close(low.float(), expected, rtol=0.1, atol=0.03)


def test_cbam_and_the_first_attention_are_their_definitions() -> None:
    cbam, x = shaken(CBAM(4, 2)), torch.randn(2, 4, 5, 6, dtype=torch.float64)
    first, second = (dict(layer.named_parameters()) for layer in (cbam.hidden, cbam.channel_gate))
    for image, ours in zip(x, cbam(x), strict=True):
        logits = torch.zeros(4, dtype=torch.float64)
        for vector in (image.flatten(1).mean(1), image.flatten(1).max(1).values):
            hidden = (first["weight"] @ vector + first["bias"]).clamp(min=0)
            logits = logits + second["weight"] @ hidden + second["bias"]
        gated = image * torch.sigmoid(logits)[:, None, None]
        maps = torch.stack([gated.mean(0), gated.max(0).values])
        expected = gated * torch.sigmoid(torch.conv2d(maps[None], cbam.position_gate.weight, padding=3))[0]
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
    gates = shaken(MapAttention(4, 3))
    pixel = x[1, :, 2, 3]
    squeezed = (gates.squeeze.weight[:, :, 0, 0] @ pixel + gates.squeeze.bias).clamp(min=0)
    expected = pixel * torch.sigmoid(gates.excite.weight[:, :, 0, 0] @ squeezed + gates.excite.bias)
    torch.testing.assert_close(gates(x)[1, :, 2, 3], expected, rtol=1e-10, atol=1e-12)


def test_normalisation_by_position_looks_at_one_position() -> None:
    norm, x = ChannelNorm(8), torch.randn(2, 8, 3, 4)
    torch.testing.assert_close(norm(x)[0, :, 1, 2], nn.functional.layer_norm(x[0, :, 1, 2], [8]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [{}, {"norm": "element", "image_size": 20}, {"attention_first": False}, {"deformable": False, "cbam": False}],
)
def test_every_form_trains_all_its_parameters(changes: dict[str, Any]) -> None:
    model = network(**changes)
    model(torch.randn(2, 3, 20, 20)).square().sum().backward()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert not still
    assert isinstance(model.conv4, nn.Conv2d) == (changes.get("deformable") is False)


def test_the_order_of_attention_and_normalisation_matters() -> None:
    first, second, x = network(), network(attention_first=False), torch.randn(2, 3, 16, 16)
    second.load_state_dict(first.state_dict())
    assert not torch.allclose(first(x), second(x), atol=1e-4)


def test_its_deformable_convolution_is_counted() -> None:
    plain, deformable = (count_flops(network(deformable=deformable), (3, 16, 16)) for deformable in (False, True))
    assert deformable - plain == 2 * 4 * 4 * 64 * 27 * 9  # what finds offsets and modulators


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, (7, 30), "images are 7x30, must be of at least 8x8"),
        ({"norm": "element", "image_size": 16}, (16, 20), "images are 16x20, must be of 16x16"),
        ({"norm": "element"}, (16, 16), "image_size: norm=element has parameters for every pixel"),
        ({"norm": "batch"}, (16, 16), "norm='batch': choose one of element, channel"),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], size: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**changes)(torch.zeros(1, 3, *size))
