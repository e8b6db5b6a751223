"""Comparing by another metric than test accuracy: where less is better, everything is mirrored and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.comparing.arrangement import PLAIN
from analysis.comparing.caveats import caveats
from analysis.comparing.claims import EXPLORATORY
from analysis.comparing.comparison import Comparison, compare
from analysis.reading.sources import read_runs
from analysis.tables.columns import chosen
from analysis.tables.command import table

WriteRun = Callable[..., Path]
BASELINE = [0.60, 0.62, 0.61, 0.64, 0.63, 0.60]
GAINS = {
    "up": [0.03, 0.04, 0.02, 0.03, 0.05, 0.03],
    "same": [0.001, -0.001, 0.0005, -0.0005, 0.001, -0.001],
    "down": [-0.03, -0.02, -0.04, -0.03, -0.02, -0.05],
    "open": [0.03, -0.02, 0.04, -0.03, 0.02, 0.00],
}


def fill(write_run: WriteRun, study: str = "lab_3x3", about: dict[str, Any] | None = None) -> None:
    """Losses that are 1 - accuracy, so that both metrics tell the same story."""
    for variant, gains in {"static": [0.0] * 6, **GAINS}.items():
        for seed, (base, gain) in enumerate(zip(BASELINE, gains, strict=True)):
            settings = {} if about is None else {"about": about}
            write_run(variant, seed, base + gain, study=study, settings=settings, val_loss=1 - base - gain)


def compared(metric: str | None = None) -> Comparison:
    return compare(read_runs(["outputs"]), None, metric=metric)


def test_a_loss_has_the_verdicts_of_the_accuracy_that_mirrors_it(write_run: WriteRun) -> None:
    fill(write_run)
    by_accuracy, by_loss = compared(), compared("val_loss")
    assert {claim.verdict for claim in by_loss.claims} == {"supported", "undecided", "refuted"}
    for ours, theirs in zip(by_loss.claims, by_accuracy.claims, strict=True):
        assert (ours.verdict, ours.paired.ahead) == (theirs.verdict, theirs.paired.ahead)
        assert ours.paired.difference.mean == pytest.approx(-theirs.paired.difference.mean)
        assert ours.paired.difference.low == pytest.approx(-theirs.paired.difference.high)
        assert ours.p_holm == pytest.approx(theirs.p_holm) and ours.e_value == pytest.approx(theirs.e_value)
        assert ours.welch.low == pytest.approx(-theirs.welch.high)


def test_a_study_declares_its_metric_and_a_margin_in_its_unit(write_run: WriteRun) -> None:
    fill(write_run, about={"baseline": "static", "metric": "val_loss", "margin": 0.01, "looks": [3, 6]})
    comparison = compared()
    assert comparison.metric.name == "val_loss"
    verdicts = {variant.label: claim.verdict for variant in comparison.variants for claim in variant.claims}
    assert verdicts == {"up": "supported", "same": "equivalent", "down": "refuted", "open": "undecided"}
    text = table(["outputs"], None, "md").text
    assert "Margin that lab_3x3 declares: 0.01 cross-entropy." in text
    assert "the paired 95 % interval then lies below 0, refuted when it lies above 0" in text
    assert "Cross-entropy on the validation split" in text and "Accuracy on the test set" not in text


def test_what_is_not_the_declared_metric_is_exploratory(write_run: WriteRun) -> None:
    fill(write_run, about={"baseline": "static", "margin": 0.5})
    comparison = compared("val_loss")
    assert {claim.verdict for claim in comparison.claims} == {EXPLORATORY}
    assert "compared by validation loss, but test accuracy is declared: no comparison is a claim" in caveats(comparison)
    assert "Margin" not in table(["outputs"], None, "md", metric="val_loss").text


def test_a_declared_control_is_one_by_any_metric(write_run: WriteRun) -> None:
    fill(write_run, about={"baseline": "static", "controls": {"up": ["same"]}})
    for metric in (None, "val_loss"):
        text = table(["outputs"], None, "md", metric=metric).text
        assert "that the study declares the variant must beat" in text and "second head" not in text


def test_studies_that_declare_different_metrics_are_one_clear_line(write_run: WriteRun) -> None:
    fill(write_run, "first", {"baseline": "static", "metric": "val_loss"})
    fill(write_run, "second", {"baseline": "static"})
    message = r"several metrics \(first val_loss, second test_accuracy\); choose one by --metric"
    with pytest.raises(ValueError, match=message):
        compared()
    assert compared("test_accuracy").metric.name == "test_accuracy"


def test_a_recorded_metric_that_there_is_not_is_one_line(write_run: WriteRun) -> None:
    fill(write_run, about={"baseline": "static", "metric": "f1"})
    with pytest.raises(ValueError, match="no metric f1; it may be test_accuracy, "):
        compared()


def test_a_run_that_lacks_the_metric_does_not_count_and_all_lacking_is_one_line(write_run: WriteRun) -> None:
    fill(write_run)
    write_run("up", 6, 0.7, val_loss=None)
    comparison = compared("val_loss")
    assert next(variant.summary.n for variant in comparison.variants if variant.label == "up") == 6
    expected = "not counted: up seed 6, completed: no val_loss: its result does not hold it (outputs/lab_3x3/up/seed6)"
    assert caveats(comparison)[0] == expected
    with pytest.raises(ValueError, match=r"no run can be compared by top5_accuracy; .*no test_predictions.npz"):
        compared("top5_accuracy")
    with pytest.raises(ValueError, match="no metric accuracy; it may be test_accuracy, "):
        compared("accuracy")


def test_headings_numbers_and_bold_are_those_of_the_metric(write_run: WriteRun) -> None:
    fill(write_run)
    columns = chosen(["accuracy", "interval", "delta", "detectable"])
    header, _, *rows = table(["outputs"], None, "md", PLAIN, columns, metric="val_loss").text.splitlines()[:7]
    assert "| validation loss, cross-entropy ↓ |" in header and "Δ, cross-entropy ↓" in header
    assert [row.split()[1] for row in rows if "**" in row] == ["up"]
    assert "**0.350 ± 0.023** |" in next(row for row in rows if "**" in row)
    csv = table(["outputs"], None, "csv", PLAIN, columns, metric="val_loss").text
    assert csv.startswith("study,variant,label,config_digest,n,seeds,val_loss_mean,val_loss_sd,val_loss_ci95_low,")
