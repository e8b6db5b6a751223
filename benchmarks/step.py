"""A training step through the real trainer: images per second, and the share that is not the network itself."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import Result, spread, text_table
from dynfilt.assembly import build_trainer
from dynfilt.config import compose
from dynfilt.record import RunRecord
from dynfilt.train.checkpoint import save_checkpoint
from dynfilt.train.settings import resolve_device
from dynfilt.train.trainer import Trainer

LAB_MODELS = ["static_3x3", "dynamic_3x3"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", default=LAB_MODELS, help="choices of conf/model")
    parser.add_argument("--steps", type=int, default=704, help="steps a repetition; 704 = one epoch of CIFAR-10 at 64")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--warmup", type=int, default=20, help="steps before the clock starts")
    parser.add_argument("overrides", nargs="*", help="config overrides, e.g. data.root=... trainer.compile=true")


def run(arguments: argparse.Namespace) -> Result:
    """Time each model's epochs in turn, so that a drift of the machine falls on all alike."""
    device = resolve_device(arguments.device)
    trainers = {model: _trainer(model, arguments.overrides, device) for model in arguments.models}
    for trainer in trainers.values():
        _steps(trainer, arguments.warmup)
    samples: dict[str, list[dict[str, float]]] = {model: [] for model in trainers}
    for _ in range(arguments.repetitions):
        for model, trainer in trainers.items():
            samples[model].append(_measure(trainer, arguments.steps))
    rows: list[dict[str, Any]] = [
        {"model": m, "samples": s, "threads": torch.get_num_threads()} for m, s in samples.items()
    ]
    return Result("step", arguments.device, rows, _table(samples))


def _measure(trainer: Trainer, steps: int) -> dict[str, float]:
    """Seconds of `steps` steps with one record and one checkpoint, and how much of it the network took."""
    in_network = 0.0
    optimise = trainer.optimise

    def timed_optimise(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal in_network
        started = time.perf_counter()
        result = optimise(images, labels)
        in_network += time.perf_counter() - started
        return result

    trainer.optimise = timed_optimise  # type: ignore[method-assign]
    images = trainer.images_seen
    with tempfile.TemporaryDirectory() as folder, RunRecord(Path(folder), {}) as record:
        started = time.perf_counter()
        _steps(trainer, steps)
        seconds_of_steps = time.perf_counter() - started
        record.append_metrics({"step": trainer.step})
        save_checkpoint(trainer.state_dict(), record.last_checkpoint)
        seconds = time.perf_counter() - started
    trainer.optimise = optimise  # type: ignore[method-assign]
    return {
        "seconds": seconds,
        "network_seconds": in_network,
        "record_and_checkpoint_seconds": seconds - seconds_of_steps,
        "step_ms": seconds_of_steps / steps * 1e3,
        "images_per_second": (trainer.images_seen - images) / seconds,
        "share_outside_network": 1 - in_network / seconds,
    }


def _steps(trainer: Trainer, count: int) -> None:
    trainer.model.train()
    for _ in range(count):
        trainer.train_step()
    if trainer.device.type == "cuda":
        torch.cuda.synchronize(trainer.device)


def _trainer(model: str, overrides: list[str], device: torch.device) -> Trainer:
    return build_trainer(compose([f"model={model}", *overrides]), device)


def _table(samples: dict[str, list[dict[str, float]]]) -> str:
    header = ["model", "n", "images/s", "ms a step", "outside the network", "record and checkpoint, ms"]
    rows = []
    for model, measured in samples.items():
        column = {key: [sample[key] for sample in measured] for key in measured[0]}
        percent = [100 * share for share in column["share_outside_network"]]
        rows.append(
            [
                model,
                str(len(measured)),
                spread(column["images_per_second"], 0),
                spread(column["step_ms"], 1),
                f"{spread(percent, 1)} %",
                f"{statistics.median(column['record_and_checkpoint_seconds']) * 1e3:.0f}",
            ]
        )
    return text_table(header, rows)
