"""The sum of a convolution's shifted maps: both ways on both sides of their border, and what is kept of it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from dynfilt.layers import taps
from dynfilt.layers.taps import LARGEST_SUMMED_MAP, conv2d_taps

ONES = (1, 1)


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    torch.manual_seed(0)
    taps._cached_summation_matrix.cache_clear()


def tensors(size: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    return torch.randn(2, 3, size, size, dtype=dtype), torch.randn(2, 2, 3, 3, 3, dtype=dtype)


def loop(x: Tensor, weight: Tensor) -> Tensor:
    return torch.stack([F.conv2d(image, kernel, padding=1) for image, kernel in zip(x, weight, strict=True)])


@pytest.mark.parametrize(("size", "folds"), [(11, False), (12, False), (13, True)])
def test_small_maps_are_added_by_a_matrix_and_large_ones_folded(
    size: int, folds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded, fold = [], F.fold
    monkeypatch.setattr(F, "fold", lambda *args, **options: (folded.append(1), fold(*args, **options))[1])
    x, weight = tensors(size)
    torch.testing.assert_close(conv2d_taps(x, weight, ONES, ONES), loop(x, weight))
    assert bool(folded) is folds is (size**2 > LARGEST_SUMMED_MAP)


def test_the_matrix_of_a_geometry_is_made_once() -> None:
    x, weight = tensors()
    for _ in range(3):
        conv2d_taps(x, weight, ONES, ONES)
    conv2d_taps(x.float(), weight.float(), ONES, ONES)
    assert (taps._cached_summation_matrix.cache_info().misses, taps._cached_summation_matrix.cache_info().hits) == (
        2,
        2,
    )


def test_what_an_evaluation_has_made_serves_training() -> None:
    x, weight = tensors()
    with torch.inference_mode():
        conv2d_taps(x, weight, ONES, ONES)
    weight.requires_grad_()
    gradients = [
        torch.autograd.grad(f.square().sum(), weight) for f in (conv2d_taps(x, weight, ONES, ONES), loop(x, weight))
    ]
    torch.testing.assert_close(*gradients)


def test_what_only_shapes_were_asked_of_is_not_kept() -> None:
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(tensor) for tensor in tensors()]
        assert conv2d_taps(*fakes, ONES, ONES).shape == (2, 2, 4, 4)
    assert taps._cached_summation_matrix.cache_info().currsize == 0
    x, weight = tensors()
    torch.testing.assert_close(conv2d_taps(x, weight, ONES, ONES), loop(x, weight))


@pytest.mark.parametrize("size", [4, 13])
def test_under_autocast_the_result_is_that_of_bfloat16(size: int) -> None:
    x, weight = tensors(size, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv2d_taps(x, weight, ONES, ONES)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), loop(x, weight), rtol=0.03, atol=0.1)


@pytest.mark.parametrize("size", [4, 13])
def test_it_can_be_derived_twice(size: int) -> None:
    x, weight = (tensor.requires_grad_() for tensor in tensors(size))
    assert torch.autograd.gradgradcheck(lambda *ts: conv2d_taps(*ts, ONES, ONES), (x, weight), fast_mode=True)
