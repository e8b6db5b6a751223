"""conv2d_per_position against its definition, written as loops over images, channels and positions in float64."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers import per_position
from dynfilt.layers.formulation import force_formulation
from dynfilt.layers.per_position import conv2d_per_position

CASES = {
    "plain": {"image": (6, 5), "kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)},
    "no padding": {"image": (6, 5), "kernel": (3, 2), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)},
    "stride": {"image": (7, 6), "kernel": (3, 3), "stride": (2, 3), "padding": (1, 1), "dilation": (1, 1)},
    "dilated": {"image": (7, 8), "kernel": (3, 1), "stride": (1, 2), "padding": (2, 0), "dilation": (2, 1)},
    "one by one": {"image": (4, 3), "kernel": (1, 1), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)},
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["windows", "taps", "canonical"], autouse=True)
def formulation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(per_position, "SMALLEST_MAP", 10_000 if request.param == "windows" else 0)
    with force_formulation("grouped" if request.param == "canonical" else "auto"):
        yield request.param


def tensors(case: dict, batch: int = 3) -> tuple[list[Tensor], dict]:
    geometry = {key: case[key] for key in ("stride", "padding", "dilation")}
    size = F.conv2d(torch.zeros(1, 1, *case["image"]), torch.zeros(1, 1, *case["kernel"]), **geometry).shape[2:]
    shapes = [(batch, 4, *case["image"]), (batch, 2, *case["kernel"], *size)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes], geometry


def loop(x: Tensor, filters: Tensor, stride: tuple, padding: tuple, dilation: tuple) -> Tensor:
    groups, rows, columns, height, width = filters.shape[1:]
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    values = []
    for b in range(len(x)):
        for c in range(x.shape[1]):
            own = filters[b, c // (x.shape[1] // groups)]
            for p in range(height):
                for q in range(width):
                    top, left = p * stride[0], q * stride[1]
                    window = padded[b, c, top:, left:][:: dilation[0], :: dilation[1]][:rows, :columns]
                    values.append((window * own[:, :, p, q]).sum())
    return torch.stack(values).view(len(x), x.shape[1], height, width)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_outputs_and_gradients_equal_the_loop(case: dict) -> None:
    inputs, geometry = tensors(case)
    ours, expected = conv2d_per_position(*inputs, **geometry), loop(*inputs, **geometry)
    torch.testing.assert_close(ours, expected)
    above = torch.randn(expected.shape, dtype=torch.float64)
    torch.testing.assert_close(*(torch.autograd.grad(y, inputs, above) for y in (ours, expected)))


@pytest.mark.parametrize("case", [CASES["stride"], CASES["dilated"]], ids=["stride", "dilated"])
def test_first_and_second_derivatives_are_those_of_finite_differences(case: dict) -> None:
    inputs, geometry = tensors(case, batch=2)
    assert torch.autograd.gradcheck(lambda *ts: conv2d_per_position(*ts, **geometry), inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda *ts: conv2d_per_position(*ts, **geometry), inputs, fast_mode=True)


def test_function_transforms_go_through() -> None:
    inputs, geometry = tensors(CASES["plain"])

    def of_one(x: Tensor, filters: Tensor) -> Tensor:
        return conv2d_per_position(x[None], filters[None], **geometry).square().sum()

    gradients = torch.func.vmap(torch.func.grad(of_one, argnums=(0, 1)))(*inputs)
    expected = torch.autograd.grad(conv2d_per_position(*inputs, **geometry).square().sum(), inputs)
    torch.testing.assert_close(gradients, expected)


def test_shapes_that_do_not_fit() -> None:
    (x, filters), geometry = tensors(CASES["plain"])
    for wrong in (filters[:2], filters[0], filters.repeat(1, 3, 1, 1, 1, 1)[:, :3]):
        with pytest.raises(ValueError, match=r"filters \(B, G, kh, kw, H', W'\), G dividing C"):
            conv2d_per_position(x, wrong, **geometry)
