"""Runs of the repository as rows beside one's own: where configs agree, under one's own declaration."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparing.comparison import compare
from analysis.reading import reference
from analysis.reading.sources import read_runs

WriteRun = Callable[..., Path]


@pytest.fixture
def write(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> WriteRun:
    """Writes runs; those below docs/runs/ are the repository's: two variants of the study lab, declared."""
    monkeypatch.setattr(reference, "FOLDER", Path("docs"))
    for seed in (0, 1, 2):
        for variant, accuracy in (("static", 0.7), ("dynamic", 0.75)):
            settings = {"model.name": variant, "about.baseline": "dynamic", "trainer.compile": True}
            write_run(variant, seed, accuracy + seed / 100, "lab", "docs/runs", settings=settings)
    return write_run


def test_they_are_rows_of_ones_own_study(write: WriteRun) -> None:
    for seed in (0, 1, 3):
        write("mine", seed, 0.8, "own", settings={"model.name": "mine", "about.baseline": "static"})
    comparison = compare(read_runs(["outputs/own", "reference:lab"]), None)
    assert list(comparison.groups) == ["own"]
    assert {variant.label: variant.seeds for variant in comparison.variants} == {
        "static": [0, 1, 2],
        "dynamic": [0, 1, 2],
        "mine": [0, 1, 3],
    }
    assert comparison.variants[0].is_baseline and comparison.variants[0].label == "static"  # as one's own runs declare
    [claim] = next(variant for variant in comparison.variants if variant.label == "mine").claims
    assert claim.rival == "static" and claim.n == 2 and not claim.is_exploratory


def test_alone_they_are_what_they_were(write: WriteRun) -> None:
    comparison = compare(read_runs(["reference:lab"]), None)
    assert list(comparison.groups) == ["lab"] and comparison.variants[0].label == "dynamic"


def test_a_key_that_differs_is_named(write: WriteRun) -> None:
    settings = {"model.name": "mine", "trainer.batch_size": 32, "optimizer.lr": 0.1}
    write("mine", 0, 0.8, "own", settings=settings, epochs=30)
    with pytest.raises(ValueError) as error:
        compare(read_runs(["outputs/own", "reference:lab"]), None)
    assert str(error.value) == (
        "reference:lab: cannot stand beside outputs/own, whose config differs in optimizer.lr 0.1 (there unset), "
        "trainer.batch_size 32 (there 64), trainer.epochs 30 (there 20); run yours with these values, or leave "
        "reference:lab out"
    )


def test_a_key_that_one_side_compares_may_differ(write: WriteRun) -> None:
    for epochs in (20, 30):
        write(f"mine,trainer.epochs={epochs}", 0, 0.8, "own", settings={"model.name": "mine"}, epochs=epochs)
    assert len(compare(read_runs(["outputs/own", "reference:lab"]), None).variants) == 4


def test_they_stand_beside_one_study(write: WriteRun) -> None:
    for study in ("first", "second"):
        write("mine", 0, 0.8, study, settings={"model.name": "mine"})
    with pytest.raises(ValueError, match="beside one study, but the other sources hold first, second; give the folder"):
        compare(read_runs(["outputs", "reference:lab"]), None)
    write("static", 0, 0.7, "lab", settings={"model.name": "static"})
    comparison = compare(read_runs(["outputs", "reference:lab"]), None)
    assert {heading: len(variants) for heading, variants in comparison.groups.items()} == {
        "first": 1,
        "lab": 2,
        "second": 1,
    }
    assert len(comparison.repeats) == 1
