"""Cut a validation set from the training images so that every class keeps its share."""

import torch
from torch import Tensor

from dynfilt.seeding import seeded_generator


def stratified_holdout(labels: Tensor, validation_size: int, split_seed: int) -> tuple[Tensor, Tensor]:
    """Indices (int64, ascending) of the training and of the validation images; a function of labels and seed.

    Every class gives validation_size times its share of `labels`, rounded by largest remainder: exactly equal
    counts where classes are equal and the size divides. Raises ValueError unless 0 < validation_size < N and
    split_seed >= 0.
    """
    if not 0 < validation_size < len(labels):
        limit = f"between 1 and {len(labels) - 1}, the training images less one"
        raise ValueError(f"data.validation_size must be {limit}, got {validation_size}")
    if split_seed < 0:
        raise ValueError(f"data.split_seed must be 0 or greater, got {split_seed}")
    order = torch.randperm(len(labels), generator=seeded_generator("cpu", "validation split", split_seed))
    by_class = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    first_of_class = counts.cumsum(0) - counts
    rank = torch.arange(len(labels)) - first_of_class.repeat_interleave(counts)
    held_out = rank < _quotas(counts, validation_size).repeat_interleave(counts)
    return by_class[~held_out].sort().values, by_class[held_out].sort().values


def _quotas(counts: Tensor, size: int) -> Tensor:
    """`size` shared out in proportion to `counts`, in whole numbers that sum to it."""
    total = int(counts.sum())
    quotas = counts * size // total
    remainders = counts * size % total
    largest = remainders.argsort(descending=True, stable=True)[: size - int(quotas.sum())]
    quotas[largest] += 1
    return quotas
