"""Run folders as training leaves them, made up."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

RESULT = {
    "test_loss": 0.9,
    "val_accuracy": 0.7,
    "val_loss": 0.8,
    "train_accuracy": 0.9,
    "train_loss": 0.3,
    "best_epoch": 17.0,
    "last_test_accuracy": 0.66,
    "parameters": 157_514,
    "flops": 14_300_000,
    "latency_ms": 1.5,
    "train_seconds": 512.25,
    "peak_memory_mb": 410.0,
    "images_per_second": 1800.0,
}
CONFIG = """\
study: {study}
seed: {seed}
trainer:
  epochs: {epochs}
  batch_size: 64
data:
  _target_: dynfilt.data.cifar.cifar10
  split_seed: 0
"""
WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteRun:
    """Writes `outputs/<study>/<variant>/seed<seed>` below the current folder, which is a temporary one."""
    monkeypatch.chdir(tmp_path)

    def write(
        variant: str,
        seed: int,
        accuracy: float | None,
        study: str = "lab_3x3",
        root: str = "outputs",
        state: str = "completed",
        error: dict[str, str] | None = None,
        epochs: int = 20,
        digest: str = "",
        commit: str | None = "1a2b3c4d5e6f7890",
        dirty: bool | None = False,
        device: str = "x86_64 CPU",
        settings: Mapping[str, Any] | None = None,
        predictions: Mapping[str, list[int]] | None = None,
        **result: Any,
    ) -> Path:
        folder = Path(root) / study / variant / f"seed{seed}"
        folder.mkdir(parents=True)
        config = CONFIG.format(study=study, seed=seed, epochs=epochs)
        (folder / "config.yaml").write_text(config if settings is None else with_settings(config, settings))
        if predictions is not None:
            np.savez_compressed(folder / "test_predictions.npz", **predictions)  # type: ignore[arg-type]
        (folder / "status.json").write_text(json.dumps({"state": state, "error": error}))
        provenance = {"commit": commit, "dirty": dirty, "device": device}
        (folder / "provenance.json").write_text(json.dumps(provenance))
        if accuracy is not None:
            identity = {"study": study, "variant": variant, "seed": seed}
            content = {**identity, "test_accuracy": accuracy, **RESULT, **result}
            content["config_digest"] = digest or f"digest-of-{variant}"
            (folder / "result.json").write_text(json.dumps(content))
        return folder

    return write


def with_settings(config: str, settings: Mapping[str, Any]) -> str:
    """A config with the values of some dotted keys set."""
    content = yaml.safe_load(config)
    for dotted, value in settings.items():
        *groups, key = dotted.split(".")
        place = content
        for group in groups:
            place = place.setdefault(group, {})
        place[key] = value
    return yaml.safe_dump(content, sort_keys=False)
