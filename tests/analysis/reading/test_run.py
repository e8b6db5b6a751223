"""Words for seeds."""

import pytest

from analysis.reading.run import NO_SEED, seed_list


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ([4], "seed 4"),
        ([1, 0], "seeds 0, 1"),
        ([0, 1, 2, 7, 5, 5], "seeds 0-2, 5, 7"),
        ([100, 101, 0], "seeds 0, 100, 101"),
        ([NO_SEED], "no known seed"),
        ([NO_SEED, 3], "seed 3"),
    ],
)
def test_seeds_in_words(seeds: list[int], words: str) -> None:
    assert seed_list(seeds) == words
