"""Convolutions of any channel count: against loops over channels, and the published one, which is noise."""

import math

import pytest
import torch
from torch import Tensor, nn

from dynfilt.layers.choice import is_dynamic
from dynfilt.layers.initialisation import draw_kernels
from dynfilt.layers.varchannel import NoiseConv2d, VarChannelConv2d
from tests.layers.drop_ins import assert_equals_the_loop, images, lively

SUBSETS = [(0,), (2,), (2, 0), (1, 2), (0, 1, 2)]


def layer_of(condition: str = "content", templates: int = 2) -> VarChannelConv2d:
    torch.manual_seed(0)
    layer = VarChannelConv2d(3, 4, (3, 2), padding=1, num_templates=templates, condition=condition)  # type: ignore[arg-type]
    assert lively(layer) is layer
    return layer


def by_loops(layer: VarChannelConv2d, image: Tensor, channels: tuple[int, ...]) -> Tensor:
    """The formula, channel by channel."""
    y = torch.zeros((), dtype=torch.float64)
    for pixels, channel in zip(image, channels, strict=True):
        own = layer.identity[channel]
        seen = [pixels.mean(), (pixels.var(correction=0) + 1e-6).sqrt()] if layer.condition == "content" else [0.0, 0.0]
        condition = torch.cat(
            [own, torch.stack([torch.as_tensor(v, dtype=own.dtype) for v in (*seen, len(image) / 3)])]
        )
        hidden = nn.functional.gelu(layer.hidden.weight @ condition + layer.hidden.bias)
        shares = own + layer.output.weight @ hidden
        kernel = sum(share * template for share, template in zip(shares, layer.weight, strict=True))
        y = y + torch.conv2d(pixels[None, None], kernel, padding=1)[0] * 3 / len(image)
    assert layer.bias is not None
    return y + layer.bias[:, None, None]


@pytest.mark.parametrize("condition", ["content", "identity"])
@pytest.mark.parametrize("channels", SUBSETS)
def test_outputs_and_gradients_of_every_subset_are_the_loops(channels: tuple[int, ...], condition: str) -> None:
    layer, x = layer_of(condition), images(3, len(channels), 6, 5)
    y = layer(x, channels)
    torch.testing.assert_close(y, torch.stack([by_loops(layer, v, channels) for v in x]), rtol=1e-10, atol=1e-11)
    if len(channels) == 3:
        assert_equals_the_loop(layer, lambda image: by_loops(layer, image, channels), x)


def test_the_order_of_channels_with_their_numbers_makes_no_difference() -> None:
    layer, x = layer_of(), images(2, 3)
    torch.testing.assert_close(layer(x[:, [2, 0]], (2, 0)), layer(x[:, [0, 2]], (0, 2)), rtol=1e-10, atol=1e-11)
    assert not torch.allclose(layer(x[:, [2, 0]], (2, 0)), layer(x[:, [2, 0]], (0, 2)))


def test_nothing_is_built_at_run_time() -> None:
    layer = layer_of()
    state = {name: value.clone() for name, value in layer.state_dict().items()}
    for channels in SUBSETS:
        for size in (1, 4, 9):
            layer.train()(images(2, len(channels), size, size), channels)
    assert layer.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in layer.state_dict().items())


def test_with_all_channels_it_starts_as_conv2d_and_as_large_with_fewer() -> None:
    torch.manual_seed(0)
    layer, static = VarChannelConv2d(3, 64, 3, bias=False), nn.Conv2d(3, 64, 3, bias=False)
    assert draw_kernels(layer, lambda kernel: kernel.copy_(static.weight))
    grey = torch.randn(4, 1, 8, 8).expand(-1, 3, -1, -1)
    assert ((layer(grey) - static(grey)).norm() / static(grey).norm()).item() < 0.05
    one, three = (layer(grey[:, :count], range(count)).std().item() for count in (1, 3))
    assert one / three == pytest.approx(math.sqrt(3), rel=0.2)  # equal channels add up, drawn kernels do not


def test_filters_that_depend_on_identity_alone_are_no_choice_of_the_images() -> None:
    layer, x = layer_of("identity"), images(2, 3)
    filters = layer.filters(x)
    torch.testing.assert_close(filters[0], filters[1], rtol=1e-12, atol=0)
    assert not is_dynamic(layer)
    assert is_dynamic(layer_of("content"))


@pytest.mark.parametrize("build", [VarChannelConv2d, NoiseConv2d])
@pytest.mark.parametrize(
    ("channels", "count", "message"),
    [
        (None, 4, r"expected input \(B, 3, H, W\), got \(1, 4, 5, 5\)"),
        (None, 2, "of fewer channels name the numbers"),
        ((0, 1, 2, 3), 4, r"channels=\(0, 1, 2, 3\): the layer was built for different numbers from 0 to 2"),
        ((1, 1), 2, "different numbers"),
        ((0, 1), 1, r"expected input \(B, 2, H, W\).* for channels=\(0, 1\)"),
        ((), 0, "expected input"),
    ],
)
def test_channels_that_do_not_fit(build: type, channels: tuple[int, ...] | None, count: int, message: str) -> None:
    layer = build(3, 4, 3)
    with pytest.raises(ValueError, match=message):
        layer(torch.zeros(1, count, 5, 5), channels)


def test_the_published_layer_is_noise() -> None:
    layer, x = NoiseConv2d(3, 4, 3, padding=1).eval(), images(2, 2).float()
    assert not list(layer.parameters()) and not is_dynamic(layer)
    first, second = layer(x, (0, 2)), layer(x, (0, 2))
    assert first.shape == (2, 4, 9, 8) and not torch.allclose(first, second)
    with pytest.raises(ValueError, match="neither"):
        NoiseConv2d(3, 4, 3, bias=True)
