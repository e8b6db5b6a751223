"""Which variants are drawn: the named ones in that order, and of very many the baseline and the best on validation."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparing.comparison import compare
from analysis.comparing.variants import Variant
from analysis.figures.legend import looks_of
from analysis.figures.selection import MOST, drawn, left_out, selected
from analysis.reading.sources import read_runs

WriteRun = Callable[..., Path]


def groups() -> dict[str, list[Variant]]:
    return compare(read_runs(["outputs"]), None).groups


def labels(variants: list[Variant]) -> list[str]:
    return [variant.label for variant in variants]


def test_the_named_variants_come_in_the_order_of_their_names(write_run: WriteRun) -> None:
    for variant in ("static", "a", "b,lr=0.1"):
        write_run(variant, 0, 0.5)
    write_run("b,lr=0.1", 0, 0.5, study="other")
    found = selected(groups(), ["b,lr=0.1", "static", "b,lr=0.1"])
    assert {heading: labels(members) for heading, members in found.items()} == {
        "lab_3x3": ["b,lr=0.1", "static"],
        "other": ["b,lr=0.1"],
    }
    assert list(selected(groups(), [])) == ["lab_3x3", "other"]
    with pytest.raises(ValueError, match=r"--variants c: no such variant .* are: static, a, b,lr=0.1$"):
        selected(groups(), ["a", "c"])


def test_of_very_many_the_best_on_validation_are_drawn_and_have_looks_of_their_own(write_run: WriteRun) -> None:
    write_run("static", 0, 0.9, val_accuracy=0.1)
    for rank in range(80):
        write_run(f"v{rank:02}", 0, 0.5 - rank / 1000, val_accuracy=0.5 + rank / 1000)
    (members,) = groups().values()
    shown = drawn(members)
    assert labels(shown) == ["static", *(f"v{rank:02}" for rank in range(81 - MOST, 80))]
    assert drawn(members, are_named=True) == list(members)
    assert left_out(shown, members).startswith(f"{MOST} of 81 variants: ") and left_out(members, members) == ""
    looks = looks_of(members, shown)
    assert len(looks) == 81
    assert len({(looks[label].colour, looks[label].marker) for label in labels(shown)}) == MOST
