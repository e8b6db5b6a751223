"""Cosine distances against loops over pairs, shares against constructions with a known answer."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from analysis.filters.diversity import diversity


def test_distances_are_means_over_all_pairs_of_images(noise: Callable[..., Tensor]) -> None:
    filters, labels = noise(13, 1, 4, 3, 3) + 0.4, torch.tensor([0, 1, 2, 0, 1, 2, 2, 1, 0, 0, 0, 1, 5])
    same, different = [], []
    for i, j in itertools.combinations(range(13), 2):
        a, b = filters[i].flatten().tolist(), filters[j].flatten().tolist()
        cosine = sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
        (same if labels[i] == labels[j] else different).append(1 - cosine)
    found = diversity(filters, labels)
    assert found.images == 13
    assert found.within_class == pytest.approx(sum(same) / len(same), rel=1e-6)
    assert found.between_classes == pytest.approx(sum(different) / len(different), rel=1e-6)


def test_a_filter_that_ignores_its_input_has_no_share_and_no_distance(noise: Callable[..., Tensor]) -> None:
    found = diversity(noise(1, 1, 64, 3, 3).expand(20, -1, -1, -1, -1), torch.arange(20) % 4)
    assert found.input_share == 0 and math.isnan(found.class_share)
    assert found.within_class == pytest.approx(0, abs=1e-12) and found.between_classes == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("length", [1.0, 3.0])
def test_shares_of_a_construction(length: float) -> None:
    # A common part of some length; each of two classes adds +1 or -1 in one direction, each image +2 or -2 in another.
    filters = torch.tensor([[length, c, i] for c in (1.0, -1.0) for i in (2.0, -2.0)])
    found = diversity(filters, torch.tensor([0, 0, 1, 1]))
    assert found.input_share == pytest.approx(5 / (length**2 + 5))
    assert found.class_share == pytest.approx(1 / 5)


def test_filters_without_anything_in_common_are_all_input() -> None:
    filters = torch.cat([torch.eye(6), -torch.eye(6)])
    assert diversity(filters, torch.arange(12) % 3).input_share == pytest.approx(1)


def test_the_class_share_of_random_labels_is_the_one_by_chance(noise: Callable[..., Tensor]) -> None:
    filters, generator = noise(30, 5), torch.Generator().manual_seed(1)
    labels = torch.arange(30) % 4
    found = [diversity(filters, labels[torch.randperm(30, generator=generator)]) for _ in range(600)]
    mean = sum(numbers.class_share for numbers in found) / len(found)
    assert mean == pytest.approx(3 / 29, rel=0.05) == found[0].class_share_by_chance


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]])
def test_too_few_images_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="at least two classes, with two images of one"):
        diversity(torch.eye(3), torch.tensor(labels))
