"""Mosaics and upscaled maps, cell by cell."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from analysis.filters import panels


def test_sixty_four_kernels_make_eight_rows_of_eight(noise: Callable[..., Tensor]) -> None:
    kernels = noise(64, 3, 3)
    picture, corners = panels.mosaic(kernels, gap=1)
    assert picture.shape == (8 * 4 + 1, 8 * 4 + 1)
    assert picture[0].isnan().all() and picture[:, 4].isnan().all()
    for number, (row, column) in enumerate(corners):
        assert (row, column) == (1 + 4 * (number // 8), 1 + 4 * (number % 8))
        assert torch.equal(picture[row : row + 3, column : column + 3], kernels[number])
    assert picture.isfinite().sum() == 64 * 9


def test_an_incomplete_last_row_stays_empty() -> None:
    picture, corners = panels.mosaic(torch.ones(5, 2, 2), gap=0)
    assert picture.shape == (4, 6) and corners[-1] == (2, 2)
    assert picture[2:, 4:].isnan().all()


def test_a_scale_covers_all_and_never_collapses() -> None:
    assert panels.largest_magnitude(torch.tensor([1.0, -3.0]), torch.tensor([2.0])) == 3
    assert panels.largest_magnitude(torch.zeros(2)) == 1


def test_a_map_is_enlarged_without_a_shift() -> None:
    ramp = torch.arange(8.0).expand(8, 8)
    large = panels.upscaled(ramp, (32, 32))
    # Pixel centres: a map's cell spans four pixels, the ramp goes on between the outermost centres.
    assert large[16, 2:30].tolist() == pytest.approx([(x + 0.5) / 4 - 0.5 for x in range(2, 30)])
    assert large.mean() == pytest.approx(3.5)
