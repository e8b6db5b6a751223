"""Words for seeds, counts and config values."""

from typing import Any

import pytest

from analysis.comparing.words import in_words, number_of, origin, seed_list, seeds_each
from analysis.reading.run import NO_SEED, Run
from dynfilt.run.folder import RunState


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


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (4, "4"),
        (0.0005, "0.0005"),
        (True, "true"),
        (None, "unset"),
        ("layer1", "layer1"),
        (["a", 1], '["a", 1]'),
        ({"_target_": "dynfilt.data.cifar.cifar100", "pad": 4}, "cifar100"),
        ({"pad": 4}, '{"pad": 4}'),
    ],
)
def test_values_in_words(value: Any, words: str) -> None:
    assert in_words(value) == words


def test_one_and_several() -> None:
    assert [number_of(n, "pair") for n in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]


def test_sources_and_commits_in_words() -> None:
    made = [("outputs/", "a" * 40), ("outputs", "b" * 40), ("/", "b" * 40)]
    runs = [Run(source, "", "lab", "static", 0, RunState.COMPLETED, commits=(commit,)) for source, commit in made]
    assert origin(runs, runs) == "Source: outputs, /; commits bbbbbbb (2 runs), aaaaaaa (1 run)."
    assert origin(runs, runs[:1]) == "Source: outputs, /; commit aaaaaaa."


@pytest.mark.parametrize(
    ("counts", "words"), [([3, 3], "n = 3 seeds each."), ([2, 5, 3], "n = 2 to 5 seeds, as the names say.")]
)
def test_numbers_of_seeds_in_words(counts: list[int], words: str) -> None:
    assert seeds_each(counts) == words
