"""One interval for seeds and test images: how far the mean may be off for other seeds and other images together."""

import math
from dataclasses import dataclass

import numpy as np

from .statistics import ALPHA, half_width


@dataclass(frozen=True)
class Crossed:
    """A mean over seeds and images, its standard error over both, and the ends of its t interval; NaN if undefined."""

    mean: float
    standard_error: float
    low: float
    high: float


NO_CROSSED = Crossed(math.nan, math.nan, math.nan, math.nan)


def crossed(values: np.ndarray, alpha: float = ALPHA) -> Crossed:
    """Mean of `values` (seeds, images) with its 1 - alpha interval, both effects being drawn at random.

    Each value is a mean plus an effect of its seed, of its image and of the pair. The interval's half width is the root
    of the sum of squares of the t half widths over seeds and over images, the images' without what the pairs alone
    bring about, which the seeds' holds already (Zou and Donner 2008). So it is never narrower than that over seeds; of
    5 seeds 95 to 97 % of simulated intervals hold the truth. NaN below 2 seeds or images and without spread over seeds.
    """
    seeds, images = values.shape
    if min(seeds, images) < 2:
        return NO_CROSSED
    mean, of_seeds, of_images = float(values.mean()), values.mean(axis=1), values.mean(axis=0)
    rest = values - of_seeds[:, None] - of_images + mean
    by_pairs = float(np.sum(rest**2)) / (seeds - 1) / (images - 1) / values.size
    parts = float(of_seeds.var(ddof=1)) / seeds, max(0.0, float(of_images.var(ddof=1)) / images - by_pairs)
    halves = half_width(math.sqrt(parts[0]), seeds - 1, alpha), half_width(math.sqrt(parts[1]), images - 1, alpha)
    half = math.hypot(halves[0], halves[1] if parts[1] else 0.0)
    return Crossed(mean, math.sqrt(sum(parts)), mean - half, mean + half)
