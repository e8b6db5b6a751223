"""Metrics that result.json lacks, computed from its other numbers or from the predictions for the test images."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from dynfilt.run.folder import PREDICTIONS, RunFolder
from dynfilt.run.parsing import DamagedFile

from .metrics import BINS, CHANNEL_SUBSETS, Metric
from .run import Run

TOP = 5
MISSING_CHANNELS = "missing_channels_accuracy"


def with_metric(run: Run, metric: Metric) -> Run:
    """The run with the metric among its numbers; one that lacks it does not count and says why."""
    if not run.counts or metric.name in run.numbers:
        return run
    try:
        value = _missing_channels(run) if metric.name == MISSING_CHANNELS else _from_predictions(run, metric.name)
    except (ValueError, TypeError) as error:
        return replace(run, numbers={}, error=f"no {metric.name}: {error}")
    return replace(run, numbers={**run.numbers, metric.name: value})


def calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean over the images of |accuracy - mean confidence| of their bin of confidence, BINS of equal width in (0, 1].

    Expected calibration error (Guo et al. 2017, arXiv 1706.04599); both arrays are of shape (images,).
    """
    bins = np.clip(np.ceil(confidence.astype(np.float64) * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=correct - confidence.astype(np.float64), minlength=BINS)
    return float(np.abs(gaps).sum() / len(correct))


def top5_accuracy(rank: np.ndarray) -> float:
    """Share of images of which at most four classes come before the true one."""
    return float(np.mean(rank < TOP))


# Metric -> the arrays it is computed from, and how.
PREDICTED: Mapping[str, tuple[tuple[str, ...], Callable[..., float]]] = {
    "calibration_error": (
        ("best_class_probability", "best_class", "label"),
        lambda confidence, best, label: calibration_error(confidence, best == label),
    ),
    "top5_accuracy": (("best_true_class_rank",), top5_accuracy),
}


def _missing_channels(run: Run) -> float:
    """The mean over the subsets of the channels. Raises ValueError for a run that was not tested on them."""
    keys = [f"test_accuracy_{channels}" for channels in CHANNEL_SUBSETS]
    if lacking := [key for key in keys if key not in run.numbers]:
        raise ValueError(f"its result does not hold {lacking[0]}")
    return sum(run.numbers[key] for key in keys) / len(keys)


def _from_predictions(run: Run, name: str) -> float:
    """Raises ValueError, with the reason, where the run does not have what the metric needs."""
    if name not in PREDICTED:
        raise ValueError("its result does not hold it")
    needed, compute = PREDICTED[name]
    folder = RunFolder(Path(run.place))
    try:
        kept = folder.predictions(*needed)
    except DamagedFile as error:
        raise ValueError(error.flaw.strip()) from error
    if not folder.predictions_file.exists():
        raise ValueError(f"there is no {PREDICTIONS} beside it")
    if lacking := set(needed) - kept.keys():
        raise ValueError(f"its {PREDICTIONS} has no {', '.join(sorted(lacking))}")
    return compute(*kept.values())
