"""Run folders with curves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WriteRun = Callable[..., Path]
STEPS_PER_EPOCH = 32


def metric_row(epoch: float, level: float, **changed: Any) -> dict[str, Any]:
    """A line of metrics.jsonl in which all values follow from a level of accuracy."""
    row = {
        "epoch": epoch,
        "step": int(epoch * STEPS_PER_EPOCH),
        "train_loss": 1.2 - level,
        "train_accuracy": level + 0.05,
        "val_loss": 1.5 - level,
        "val_accuracy": level,
        "seconds": 10.0 * epoch,
    }
    return {**row, **changed}


@pytest.fixture
def write_curves(write_run: WriteRun) -> WriteRun:
    """Writes a run folder whose `levels` are its accuracies by epoch; the result's is the last of them."""

    def write(variant: str, seed: int, levels: list[float], **result: Any) -> Path:
        folder = write_run(variant, seed, result.pop("accuracy", levels[-1]), **result)
        rows = [metric_row(epoch, level) for epoch, level in enumerate(levels, start=1)]
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return folder

    return write
