"""Seeds and images in one interval, against simulated studies and the parts that it is made of."""

import math

import numpy as np
import pytest

from analysis.comparing.crossed import crossed
from analysis.comparing.statistics import half_width, summarise


def simulated(seed_sd: float, image_sd: float, rest_sd: float, seeds: int, images: int, studies: int = 1500) -> float:
    """How often the interval holds the true mean."""
    random, held = np.random.default_rng(4), 0
    for _ in range(studies):
        values = 0.7 + seed_sd * random.normal(size=(seeds, 1)) + image_sd * random.normal(size=images)
        found = crossed(values + rest_sd * random.normal(size=(seeds, images)))
        held += found.low <= 0.7 <= found.high
    return held / studies


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed_sd", "image_sd", "rest_sd", "seeds"),
    [(0.03, 0.1, 0.4, 5), (0.005, 0.35, 0.3, 5), (0.012, 0.3, 0.0, 5), (0.01, 0.4, 0.2, 10)],
)
def test_it_covers_the_truth_in_93_to_97_percent(seed_sd: float, image_sd: float, rest_sd: float, seeds: int) -> None:
    assert 0.93 <= simulated(seed_sd, image_sd, rest_sd, seeds, images=400) <= 0.97


def test_seeds_alone_and_images_alone_cover_too_little() -> None:
    random, held = np.random.default_rng(6), np.zeros(2)
    for _ in range(1000):
        values = 0.7 + 0.03 * random.normal(size=(5, 1)) + 0.3 * random.normal(size=400)
        for axis in (0, 1):
            means = values.mean(axis=1 - axis)
            half = {0: 2.776, 1: 1.966}[axis] * means.std(ddof=1) / math.sqrt(len(means))
            held[axis] += abs(means.mean() - 0.7) <= half
    assert (held / 1000 < 0.9).all()


def test_of_right_and_wrong_it_covers_the_accuracy_too() -> None:
    random, held, truth = np.random.default_rng(8), 0, []
    for _ in range(600):
        chance = random.beta(2, 0.8, size=500) + 0.02 * random.normal(size=(6, 1))
        found = crossed((random.random((6, 500)) < chance).astype(float))
        held += found.low <= 2 / 2.8 - 0.0004 <= found.high
        truth.append(found.mean)
    assert 0.92 <= held / 600 <= 0.98 and np.mean(truth) == pytest.approx(2 / 2.8, abs=0.003)


def test_its_variance_is_that_of_both_parts_less_what_they_share() -> None:
    values = np.random.default_rng(1).normal(size=(4, 30)) + np.arange(30) / 10
    seeds, images = values.mean(axis=1), values.mean(axis=0)
    rest = values - seeds[:, None] - images + values.mean()
    expected = seeds.var(ddof=1) / 4 + images.var(ddof=1) / 30 - np.sum(rest**2) / (3 * 29) / 120
    assert crossed(values).standard_error == pytest.approx(math.sqrt(expected))


def test_where_images_are_all_alike_it_is_the_interval_over_seeds() -> None:
    values = np.repeat(np.array([[0.1], [0.3], [0.2]]), 8, axis=1)
    found = crossed(values)
    assert (found.low, found.high) == pytest.approx(
        (0.2 - 4.3027 * 0.1 / 3**0.5, 0.2 + 4.3027 * 0.1 / 3**0.5), rel=1e-4
    )


def test_it_is_wider_than_either_part() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        values = random.normal(size=(4, 1)) * seed / 50 + random.normal(size=200) + random.normal(size=(4, 200))
        found, over_seeds = crossed(values, 0.01), summarise(values.mean(axis=1).tolist())
        assert found.high - found.low >= 2 * half_width(over_seeds.standard_error, 3, 0.01)


def test_one_seed_or_no_spread_has_no_interval() -> None:
    assert math.isnan(crossed(np.ones((1, 9))).low) and math.isnan(crossed(np.ones((3, 9))).low)
