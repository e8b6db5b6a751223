"""Captions say n, what the band is, and what was done to the numbers: nothing."""

import pytest

from analysis.figures import captions
from analysis.figures.series import Series, series

from .conftest import metric_row


def made(label: str, seeds: int) -> Series:
    rows = {seed: [metric_row(epoch, 0.5 + seed / 100 + epoch / 10) for epoch in (1, 2)] for seed in range(seeds)}
    return series(label, rows, "loss", "val", "epochs")


def test_a_caption_of_curves_is_honest() -> None:
    told = captions.of_curves("lab", [made("static", 3), made("dynamic", 2)], "loss", "epochs")
    assert told.startswith("lab: validation loss over epochs.")
    for part in ("n = 2 to 3 seeds", "95 % Student t interval", "cut off", "Nothing is smoothed."):
        assert part in told


def test_a_caption_mentions_nothing_that_is_not_drawn() -> None:
    told = captions.of_curves("lab", [made("static", 1)], "loss", "seconds")
    assert "interval" not in told and "thin lines" not in told and "Training" not in told
    assert "n = 1 seed each, so nothing tells how much of this is chance." in told and "seeds' times" in told


def test_a_caption_of_a_pair_says_which_was_first() -> None:
    told = captions.of_pair("lab", [made("static", 3), made("dynamic", 3)], "epochs")
    assert told.startswith("Before: static; after: dynamic. lab: ") and "n = 3 seeds each." in told


@pytest.mark.parametrize(
    ("counts", "words"), [([3, 3], "n = 3 seeds each."), ([2, 5, 3], "n = 2 to 5 seeds, as the names say.")]
)
def test_numbers_of_seeds_in_words(counts: list[int], words: str) -> None:
    assert captions.seeds_in_words(counts) == words
