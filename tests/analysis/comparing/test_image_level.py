"""The uncertainty over test images, against scipy and by hand, and what makes predictions unusable."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy

from analysis.comparing import image_level as image_level_module
from analysis.comparing.comparison import Comparison, compare
from analysis.comparing.crossed import crossed
from analysis.comparing.image_level import ImageLevel, image_level
from analysis.reading.sources import read_runs
from analysis.tables.command import table
from analysis.tables.footer import footer

WriteRun = Callable[..., Path]
IMAGES = 400
LABELS = (np.arange(IMAGES) * 7 % 10).tolist()


def right(variant: str, seed: int) -> np.ndarray:
    """Which images a run classifies correctly: some are easy for all runs."""
    random = np.random.default_rng([len(variant), seed])
    return random.random(IMAGES) < np.where(np.arange(IMAGES) % 3 == 0, 0.95, 0.5 + len(variant) / 50)


def write(write_run: WriteRun, variant: str, seed: int, **changes: object) -> Path:
    correct = right(variant, seed)
    best = [label if is_right else (label + 1) % 10 for label, is_right in zip(LABELS, correct, strict=True)]
    settings = {"predictions": {"label": LABELS, "best_class": best}, **changes}
    return write_run(variant, seed, float(correct.mean()), **settings)


def found() -> tuple[ImageLevel, Comparison]:
    comparison = compare(read_runs(["outputs"]), None)
    return image_level(comparison), comparison


@pytest.fixture
def study(write_run: WriteRun) -> WriteRun:
    for variant in ("static", "dynamic"):
        for seed in range(3):
            write(write_run, variant, seed)
    return write_run


def test_the_standard_error_of_an_accuracy_is_over_images(study: WriteRun) -> None:
    level, comparison = found()
    of_image = np.mean([right("dynamic", seed) for seed in range(3)], axis=0)
    summary = level.accuracy["lab_3x3", "dynamic"]
    assert (summary.n, summary.standard_error) == (IMAGES, pytest.approx(scipy.stats.sem(of_image)))
    assert summary.mean == pytest.approx(comparison.variants[1].summary.mean)


def test_one_run_alone_has_the_binomial_standard_error(write_run: WriteRun) -> None:
    write(write_run, "static", 0)
    level, _ = found()
    p = right("static", 0).mean()
    assert level.accuracy["lab_3x3", "static"].standard_error == pytest.approx(np.sqrt(p * (1 - p) / (IMAGES - 1)))


def test_differences_are_paired_by_image(study: WriteRun) -> None:
    level, comparison = found()
    ours, theirs = ([right(variant, seed) for seed in range(3)] for variant in ("dynamic", "static"))
    expected = scipy.stats.ttest_rel(np.mean(ours, axis=0), np.mean(theirs, axis=0))
    summary = level.differences["lab_3x3", "dynamic", "static"]
    low, high = expected.confidence_interval()
    assert summary.mean == pytest.approx(comparison.claims[0].paired.difference.mean)
    assert (summary.low, summary.high) == (pytest.approx(low), pytest.approx(high))
    assert summary.standard_error == pytest.approx(summary.mean / expected.statistic)


def test_a_difference_of_gains_is_paired_by_image_too(write_run: WriteRun) -> None:
    gains = {"dynamic": {"over": "plain", "more_than": {"static": "untied_one"}}}
    about = {"about.baseline": "static", "about.gains": gains}
    for variant in ("dynamic", "plain", "static", "untied_one"):
        for seed in range(4 if variant == "static" else 3):
            write(write_run, variant, seed, settings=about)
    level, comparison = found()
    dynamic, plain, static, other = (
        np.stack([right(variant, seed) for seed in range(3)]).astype(float)
        for variant in ("dynamic", "plain", "static", "untied_one")
    )
    gain = next(claim for claim in comparison.claims if claim.over)
    expected = scipy.stats.ttest_rel((dynamic - plain).mean(axis=0), (static - other).mean(axis=0))
    summary = level.differences["lab_3x3", "dynamic", gain.rival]
    assert summary.mean == pytest.approx(gain.paired.difference.mean) and summary.n == IMAGES
    assert (summary.low, summary.high) == pytest.approx(tuple(expected.confidence_interval()))
    both = level.differences_both["lab_3x3", "dynamic", gain.rival]
    assert both == crossed(dynamic - plain - static + other) and both.low < gain.paired.difference.low
    moved = {"label": LABELS[::-1], "best_class": np.where(right("untied_one", 9), LABELS[::-1], 11).tolist()}
    write(write_run, "untied_one", 9, settings=about, predictions=moved)
    assert ("lab_3x3", "dynamic", gain.rival) not in found()[0].differences


def test_only_shared_seeds_make_a_difference(study: WriteRun) -> None:
    write(study, "dynamic", 7)
    level, comparison = found()
    difference = level.differences["lab_3x3", "dynamic", "static"]
    assert difference.mean == pytest.approx(comparison.claims[0].paired.difference.mean)
    assert level.accuracy["lab_3x3", "dynamic"].mean == pytest.approx(comparison.variants[1].summary.mean)


def test_without_any_file_nothing_is_told(write_run: WriteRun) -> None:
    write_run("static", 0, 0.5)
    level, comparison = found()
    assert level == ImageLevel()
    told = " ".join(footer(comparison, level, []))
    assert "image-level" not in told and "Test images" not in told


def test_runs_of_wandb_say_why_they_have_none(write_offline: Callable[..., Path], no_account: None) -> None:
    write_offline()
    comparison = compare(read_runs(["runs"]), None)
    level = image_level(comparison)
    assert level.notes == ["runs are read from W&B, which keeps no test_predictions.npz: dynamic_3x3"]
    assert f"No image-level uncertainty where {level.notes[0]}." in footer(comparison, level, [])


def test_unusable_predictions_are_left_out_and_named(study: WriteRun) -> None:
    write(study, "no_labels", 0, predictions={"best_class": LABELS})
    write(study, "partial", 0)
    write(study, "partial", 1, predictions=None)
    write(study, "stale", 0, predictions={"label": LABELS, "best_class": LABELS})
    (write(study, "torn", 0) / "test_predictions.npz").write_bytes(b"PK\x03\x04 torn")
    write(study, "other_images", 0)
    other = {"label": LABELS[::-1], "best_class": np.where(right("other_images", 1), LABELS[::-1], 11).tolist()}
    write(study, "other_images", 1, predictions=other)
    level, comparison = found()
    assert {label for _, label in level.accuracy} == {"static", "dynamic"}
    assert level.notes == [
        "test_predictions.npz has no labels (it was written before they were saved): no_labels",
        "the test images of seed 1 differ from those of seed 0: other_images",
        "test_predictions.npz is missing in some runs: partial",
        "test_predictions.npz cannot be read (BadZipFile): torn",
    ]
    assert level.caveats == ["other_images: the test images of seed 1 differ from those of seed 0"]
    assert f"- {level.caveats[0]}" in table(["outputs"], None, "md").text
    [stale] = [run for run in comparison.runs if run.variant == "stale"]
    assert not stale.counts and stale.error.startswith("test_accuracy in result.json is ")
    text = "\n".join(footer(comparison, level, []))
    assert "No image-level uncertainty where test_predictions.npz is missing in some runs: partial." in text


def test_arms_of_other_test_images_are_not_paired(study: WriteRun) -> None:
    other = {"label": LABELS[::-1], "best_class": np.where(right("moved", 0), LABELS[::-1], 11).tolist()}
    write(study, "moved", 0, predictions=other)
    write(study, "without", 0, predictions=None)
    level, _ = found()
    assert ("lab_3x3", "moved") in level.accuracy
    assert [key[1] for key in level.differences] == ["dynamic"]
    assert level.notes == [
        "there is no test_predictions.npz: without",
        "the test images of two rows differ: moved and static",
    ]
    assert level.caveats == ["rows of different test images: moved and static"]


def test_the_predictions_of_a_run_are_read_once_however_often_it_is_compared(
    study: WriteRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        write(study, "another", seed)
    read: list[str] = []
    read_file = image_level_module.read_predictions
    monkeypatch.setattr(image_level_module, "read_predictions", lambda run: (read.append(run.place), read_file(run))[1])
    level, comparison = found()
    assert len(level.differences) == 2  # both with the same twin
    assert sorted(read) == sorted(run.place for variant in comparison.variants for run in variant.runs)
