"""Run folders as training leaves them, made up; W&B without an account; axes to draw on."""

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing import style
from dynfilt.tracking import mirror
from tests.wandb_logs import exit_record, history_record, log_folder, row, run_record, summary_record, write_log
from tests.wandb_server import API_KEY, WandbServer

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
WriteOffline = Callable[..., Path]


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
            if "test_loss" not in result:  # no two trainings end in the same
                content["test_loss"] += 1e-9 * zlib.crc32(variant.encode()) / 2**32
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


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A home without a key and settings, a current folder without runs, and afterwards no process of W&B's."""
    for name in list(os.environ):
        if name.startswith(("WANDB", "XDG")) or name.lower() in ("netrc", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    yield
    mirror.end_service()
    monkeypatch.delenv("WANDB_SERVICE", raising=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server, and a key for it."""
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_API_KEY", API_KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


@pytest.fixture
def write_offline(tmp_path: Path) -> WriteOffline:
    """Writes runs/wandb/offline-run-<time>-<run_id>/run-<run_id>.wandb, relative to the current folder."""

    def write(
        run_id: str = "abc",
        time: str = "000000",
        seed: int = 0,
        accuracy: float | None = 0.75,
        epochs: range = range(1, 4),
        code: int | None = 0,
        loss: float = 0.5,
        config: dict[str, object] | None = None,
        **summary: object,
    ) -> Path:
        identity = {"study": "lab", "variant": "dynamic_3x3", "seed": seed}
        records = [run_record(run_id, {"study": "lab", "seed": seed, **(config or {})})]
        for epoch in epochs:
            records += [summary_record(row(epoch, loss)), history_record(row(epoch, loss), epoch)]
        if accuracy is not None:
            records.append(summary_record({**identity, "test_accuracy": accuracy, "config_digest": "d", **summary}))
        elif summary:
            records.append(summary_record(summary))
        if code is not None:
            records.append(exit_record(code))
        return write_log(log_folder(Path("runs/wandb"), run_id, time), records)

    return write


@pytest.fixture(scope="module")
def coarse_figures() -> Iterator[None]:
    """Files of figures with a sixth of their pixels, which take most of the time to draw them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(style.FIGURE_STYLE, "savefig.dpi", 100)
        yield


@pytest.fixture
def axes() -> Iterator[Axes]:
    """Empty axes in the style of the figures."""
    with style.figure_style():
        yield Figure(figsize=(3, 2), dpi=style.FIGURE_STYLE["savefig.dpi"]).add_axes((0.2, 0.2, 0.75, 0.75))
