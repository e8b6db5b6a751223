"""How much the filters of different images differ, and how much of that the class explains."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Diversity:
    """Numbers about one filter vector an image, for images of several classes.

    within_class, between_classes: the mean cosine distance, 1 - cos in 0..2, over all pairs of two images of the
    same class, and over all pairs of two classes.
    input_share: mean |w_i - mean w|^2 / mean |w_i|^2, in 0..1: 0 for a filter that ignores its input, 1 for
    filters that have nothing in common.
    class_share: of sum |w_i - mean w|^2 the part that the class means account for, in 0..1, NaN where the
    filters do not differ; class_share_by_chance is its expectation for labels dealt out at random.
    """

    images: int
    within_class: float
    between_classes: float
    input_share: float
    class_share: float
    class_share_by_chance: float


def diversity(filters: Tensor, labels: Tensor) -> Diversity:
    """The numbers for filters (N, ...) of N images with labels (N,), exact over all pairs, in float64.

    Raises ValueError unless there are two images of one class and two classes.
    """
    vectors = filters.flatten(1).double()
    classes, members = labels.unique(return_inverse=True)
    counts = torch.bincount(members)
    if len(classes) < 2 or counts.max() < 2:
        raise ValueError("the images must be of at least two classes, with two images of one; take more images")
    within, between = _cosine_distances(vectors, members, counts)
    centred = vectors - vectors.mean(0)
    variance = centred.square().sum().item()
    power = vectors.square().sum().item()
    class_sums = _class_sums(centred, members, len(classes))
    by_class = (class_sums.square().sum(1) / counts).sum().item()
    # Rounding leaves filters that are all the same a variance of about 1e-30 of their power.
    constant = variance <= 1e-12 * power
    return Diversity(
        images=len(vectors),
        within_class=within,
        between_classes=between,
        input_share=0.0 if constant else variance / power,
        class_share=math.nan if constant else by_class / variance,
        class_share_by_chance=(len(classes) - 1) / (len(vectors) - 1),
    )


def _cosine_distances(vectors: Tensor, members: Tensor, counts: Tensor) -> tuple[float, float]:
    """Mean over the pairs of one class and over those of two: the cosines of all pairs add up to |sum of units|^2."""
    units = F.normalize(vectors, dim=1)
    own = units.square().sum(1)
    sums = _class_sums(units, members, len(counts))
    same = sums.square().sum().item() - own.sum().item()
    different = sums.sum(0).square().sum().item() - sums.square().sum().item()
    same_pairs = (counts * (counts - 1)).sum().item()
    different_pairs = len(vectors) ** 2 - counts.square().sum().item()
    within, between = 1 - same / same_pairs, 1 - different / different_pairs
    return max(within, 0.0), max(between, 0.0)


def _class_sums(vectors: Tensor, members: Tensor, classes: int) -> Tensor:
    return vectors.new_zeros(classes, vectors.shape[1]).index_add_(0, members, vectors)
