"""Metrics that are computed from predictions, against loops, and what a run without them says."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.reading.metrics import COMPARED
from analysis.reading.predicted import calibration_error, with_metric
from analysis.reading.sources import read_runs
from dynfilt.config.about import METRICS

WriteRun = Callable[..., Path]


def test_what_a_study_may_declare_is_what_analysis_can_compare() -> None:
    assert sorted(COMPARED) == sorted(METRICS)
    assert COMPARED["val_loss"].label == "Validation loss" and not COMPARED["val_loss"].higher_is_better


def test_the_calibration_error_agrees_with_a_loop_over_bins() -> None:
    random = np.random.default_rng(0)
    confidence = np.concatenate([random.uniform(0.2, 1, 60), [1.0, 4 / 15, 5 / 15]])
    correct = random.uniform(size=len(confidence)) < 0.5
    # Bins side by side whose gaps differ in sign, so that no two may be one; an edge belongs to the bin below it.
    confidence, correct = np.append(confidence, [0.9 / 15] * 9 + [1.1 / 15] * 9), np.append(correct, [0] * 9 + [1] * 9)
    expected = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected > 0.05
    assert calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-12)


def test_a_run_is_measured_from_the_predictions_beside_it(write_run: WriteRun) -> None:
    kept = {"label": [0, 1, 2, 3], "best_class": [0, 1, 2, 0], "best_true_class_rank": [0, 0, 0, 5]}
    write_run("whole", 0, 0.75, predictions={**kept, "best_class_probability": [0.9, 0.9, 0.9, 0.9]})
    write_run("old", 0, 0.75, predictions=kept)
    write_run("without", 0, 0.75)
    runs = {run.variant: run for run in read_runs(["outputs"])}
    measured = {name: with_metric(run, COMPARED["calibration_error"]) for name, run in runs.items()}
    assert measured["whole"].number("calibration_error") == pytest.approx(0.15)
    assert not measured["old"].counts and "has no best_class_probability" in measured["old"].error
    assert not measured["without"].counts
    assert measured["without"].error == "no calibration_error: there is no test_predictions.npz beside it"
    assert with_metric(runs["old"], COMPARED["top5_accuracy"]).number("top5_accuracy") == 0.75
    assert with_metric(runs["old"], COMPARED["val_loss"]) == runs["old"]


def test_accuracy_with_missing_channels_is_the_mean_over_the_subsets(write_run: WriteRun) -> None:
    of_subsets = {"R": 0.2, "G": 0.1, "B": 0.3, "RG": 0.5, "RB": 0.4, "GB": 0.6}
    folder = write_run("tested", 0, 0.75)
    result = json.loads((folder / "result.json").read_text())
    more = {f"test_accuracy_{channels}": accuracy for channels, accuracy in of_subsets.items()}
    (folder / "result.json").write_text(json.dumps(result | more))
    write_run("plain", 0, 0.75)
    metric = COMPARED["missing_channels_accuracy"]
    measured = {run.variant: with_metric(run, metric) for run in read_runs(["outputs"])}
    assert measured["tested"].number(metric.name) == pytest.approx(0.35)
    assert measured["plain"].error == "no missing_channels_accuracy: its result does not hold test_accuracy_R"
