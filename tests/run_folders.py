"""What tests compare of run folders: all bytes, or all but what a clock or a meter has measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynfilt.train.checkpoint import load_checkpoint

MEASURED_ROWS = {"seconds", "images_per_second"}
MEASURED_RESULT = {"latency_ms", "train_seconds", "peak_memory_mb", "images_per_second"}
MEASURED_STATE = {"train_seconds", "seconds_at_evaluation"}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of metrics.jsonl, none when there is no file."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def read_result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def read_status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def assert_same_outcome(left: Path, right: Path, ignored: frozenset[str] = frozenset()) -> None:
    """Weights, metrics, result and predictions of two runs agree to the last bit; `ignored` are result keys."""
    for name in ("last.pt", "best.pt"):
        states = [load_checkpoint(folder / "checkpoint" / name) for folder in (left, right)]
        assert states[0].keys() == states[1].keys()
        assert states[0].get("config_digest") == states[1].get("config_digest") or "config_digest" in ignored
        for key in states[0].keys() - MEASURED_STATE - {"config_digest"}:
            torch.testing.assert_close(
                states[0][key], states[1][key], rtol=0, atol=0, msg=lambda text, at=f"{name} {key}": f"{at}: {text}"
            )
    assert [_without(row, MEASURED_ROWS) for row in read_rows(left)] == [
        _without(row, MEASURED_ROWS) for row in read_rows(right)
    ]
    unequal = MEASURED_RESULT | ignored
    assert _without(read_result(left), unequal) == _without(read_result(right), unequal)
    arrays = [np.load(folder / "test_predictions.npz") for folder in (left, right)]
    assert arrays[0].files == arrays[1].files
    for name in arrays[0].files:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])


def _without(row: dict[str, Any], keys: frozenset[str] | set[str]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in keys}
