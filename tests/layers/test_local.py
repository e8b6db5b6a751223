"""One filter for each image and position, and its untied twin, against loops."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers.choice import check_dynamic_layer
from dynfilt.layers.local import GeneratedLocalConv2d, UntiedConv2d
from tests.layers.drop_ins import assert_equals_the_loop, images, lively


def by_positions(image: Tensor, filters: Tensor) -> Tensor:
    """Image (C, H, W) and filters (C, 3, 3, H, W), position by position: (1, H, W)."""
    padded = F.pad(image, (1, 1, 1, 1))
    rows = [
        torch.stack([(padded[:, i : i + 3, j : j + 3] * filters[..., i, j]).sum() for j in range(image.shape[2])])
        for i in range(image.shape[1])
    ]
    return torch.stack(rows)[None]


def test_a_generated_filter_is_the_loops() -> None:
    torch.manual_seed(0)
    layer = lively(GeneratedLocalConv2d(4, 3))
    linear = layer.get_submodule("generator")

    def output(image: Tensor) -> Tensor:
        filters = torch.empty(4, 3, 3, *image.shape[1:], dtype=torch.float64)
        columns = []
        for i in range(image.shape[1]):
            for j in range(image.shape[2]):
                w = torch.tanh(linear.weight[:, :, 0, 0] @ image[:, i, j] + linear.bias)
                columns.append((w / w.square().sum().sqrt()).reshape(4, 3, 3))
        filters = torch.stack(columns, dim=-1).unflatten(-1, image.shape[1:])
        return by_positions(image, filters)

    x = images(2, channels=4, height=4, width=5)
    assert_equals_the_loop(layer, output, x)
    assert_equals_the_loop(layer, output, images(1, channels=4, height=7, width=6))
    assert list(check_dynamic_layer(layer, x)) == ["local filter"]


def test_what_training_keeps_is_linear_in_the_positions() -> None:
    layer = GeneratedLocalConv2d(4, 3)

    def kept(side: int) -> int:
        storages: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = layer(torch.ones(2, 4, side, side, requires_grad=True))
        assert y.requires_grad
        return sum(storages.values()) - sum(p.untyped_storage().nbytes() for p in layer.parameters())

    of_filters = 2 * 4 * 9 * 4  # bytes a position: two images' filters in float32
    assert of_filters * 64 < kept(8) < 3 * of_filters * 64
    assert 3.5 * kept(8) < kept(16) < 4.1 * kept(8)


def test_an_untied_filter_is_the_loops() -> None:
    torch.manual_seed(0)
    layer = UntiedConv2d(4, 3, 6).double()
    assert_equals_the_loop(
        layer, lambda image: by_positions(image, layer.weight.unflatten(1, (3, 3))), images(2, 4, 6, 6)
    )


def test_normalised_untied_filters_have_length_one() -> None:
    torch.manual_seed(0)
    layer = UntiedConv2d(4, 3, 6, normalised=True).double()

    def loop(image: Tensor) -> Tensor:
        lengths = torch.stack([torch.stack([layer.weight[..., i, j].norm() for j in range(6)]) for i in range(6)])
        return by_positions(image, (layer.weight / lengths).unflatten(1, (3, 3)))

    assert_equals_the_loop(layer, loop, images(2, 4, 6, 6))


@pytest.mark.parametrize("build", [lambda: GeneratedLocalConv2d(4, 2), lambda: UntiedConv2d(4, 2, 6)])
def test_a_filter_without_a_centre(build) -> None:
    with pytest.raises(ValueError, match="kernel_size=2: must be odd"):
        build()
