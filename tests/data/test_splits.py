from fractions import Fraction

import pytest
import torch

from dynfilt.data.splits import stratified_holdout


def test_equal_classes_give_equal_counts() -> None:
    labels = torch.arange(1000) % 10
    train, val = stratified_holdout(labels, 200, 0)
    assert torch.bincount(labels[val]).tolist() == [20] * 10
    assert torch.bincount(labels[train]).tolist() == [80] * 10


def test_the_two_parts_are_the_whole_in_ascending_order() -> None:
    train, val = stratified_holdout(torch.randint(5, (317,)), 40, 3)
    assert torch.cat([train, val]).sort().values.tolist() == list(range(317))
    assert train.tolist() == sorted(train.tolist())
    assert val.tolist() == sorted(val.tolist())


def test_unequal_classes_are_shared_out_by_largest_remainder() -> None:
    counts, size = [50, 7, 0, 133, 11], 23
    labels = torch.arange(5).repeat_interleave(torch.tensor(counts))[torch.randperm(201)]
    exact = [Fraction(size * count, sum(counts)) for count in counts]
    expected = [int(share) for share in exact]
    for label in sorted(range(5), key=lambda k: expected[k] - exact[k])[: size - sum(expected)]:
        expected[label] += 1
    _, val = stratified_holdout(labels, size, 0)
    assert torch.bincount(labels[val], minlength=5).tolist() == expected


def test_the_seed_alone_decides_which_images() -> None:
    labels = torch.arange(1000) % 10
    torch.manual_seed(1)
    first = stratified_holdout(labels, 200, 0)[1]
    torch.manual_seed(2)
    assert torch.equal(first, stratified_holdout(labels, 200, 0)[1])
    shared = set(first.tolist()) & set(stratified_holdout(labels, 200, 1)[1].tolist())
    assert 15 <= len(shared) <= 65  # 40 expected of two independent choices


def test_every_image_can_be_chosen() -> None:
    labels = torch.arange(40) % 4
    chosen = {index for seed in range(60) for index in stratified_holdout(labels, 8, seed)[1].tolist()}
    assert chosen == set(range(40))


@pytest.mark.parametrize("size", [0, -1, 100, 101])
def test_a_size_that_leaves_nothing_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"data.validation_size must be between 1 and 99, .* got {size}"):
        stratified_holdout(torch.arange(100) % 10, size, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.split_seed must be 0 or greater, got -1"):
        stratified_holdout(torch.arange(100) % 10, 10, -1)
