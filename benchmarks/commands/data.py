"""Feeding the network: batches with augmentation, against torchvision's transforms in a DataLoader; first read."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.measuring.machine import Machine
from benchmarks.measuring.peers import public_loader
from benchmarks.measuring.timing import NO_TIME, Deadline, wait
from benchmarks.reporting.report import Result, Timing, require_any
from dynfilt.assembly import build_data
from dynfilt.config.compose import compose
from dynfilt.data.batches import TrainingBatches
from dynfilt.data.bundle import ImageData
from dynfilt.train.settings import resolve_device

Batches = Iterator[tuple[Tensor, Tensor]]
# Batches that two workers have made while other arms had their turn; they are not timed.
PREFETCHED = 4
AUGMENTATIONS = {"no augmentation": (False, 0), "flip and crop": (True, 4)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a repetition of each arm")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="of the DataLoader")
    parser.add_argument("overrides", nargs="*", help="config overrides, e.g. data.root=... or data=cifar10_sample")


def run(arguments: argparse.Namespace, deadline: Deadline) -> Result:
    """Time the reading of the files, then each way to feed batches, in turn within a repetition."""
    device = resolve_device(arguments.device)
    machine = Machine(device)
    try:
        config = compose(arguments.overrides)
    except Exception as error:  # Hydra has an exception for each way to go wrong
        raise ValueError(" ".join(str(error).split())) from error
    first_read = [_ms_of(lambda: build_data(config, device), device) for _ in range(arguments.repetitions)]
    data = build_data(config, torch.device("cpu"))
    images = len(data.train) + len(data.val) + len(data.test)
    timings = [Timing(f"{data.name} from its files to the device", "dynfilt", "ours", ms=first_read, images=images)]
    for name, (flip, pad) in AUGMENTATIONS.items():
        augmented = dataclasses.replace(data, flip=flip, pad=pad)
        size = arguments.batch * data.train.images[0].numel() * (1 + 4)  # uint8 read, float32 written
        floor_ms = size / machine.bandwidth(size) * 1e3
        case = f"batches of {arguments.batch} on the device, {name}"
        timings += _measure(case, _feeds(augmented, arguments, device), device, arguments, deadline, floor_ms)
    require_any(timings)
    return Result("data", device, timings, machine.facts())


def _feeds(data: ImageData, arguments: argparse.Namespace, device: torch.device) -> dict[str, Callable[[], Batches]]:
    def public(workers: int) -> Callable[[], Batches]:
        return lambda: _epochs(public_loader(data, arguments.batch, workers, device), device)

    peers = {f"DataLoader, {count} workers": public(count) for count in arguments.workers}
    return {"dynfilt": lambda: _steps(data.to(device), arguments.batch), **peers}


def _steps(data: ImageData, batch_size: int) -> Batches:
    batches = TrainingBatches(data, batch_size, seed=0)
    full = len(data.train) // batch_size
    step = 0
    while True:
        yield batches.batch(step)
        partial = len(data.train) % batch_size and step % batches.steps_per_epoch == full - 1
        step += 2 if partial else 1


def _epochs(loader: torch.utils.data.DataLoader, device: torch.device) -> Batches:
    while True:
        for images, labels in loader:
            yield images.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def _measure(
    case: str,
    feeds: dict[str, Callable[[], Batches]],
    device: torch.device,
    arguments: argparse.Namespace,
    deadline: Deadline,
    floor_ms: float,
) -> list[Timing]:
    timings: dict[str, Timing] = {}
    started: dict[str, Batches] = {}
    public = list(feeds)[-1]
    for name, start in feeds.items():
        role = "ours" if name == "dynfilt" else "public" if name == public else "other"
        timings[name] = Timing(case, name, role, images=arguments.batch, floor_ms=floor_ms)
        try:
            started[name] = start()
            next(started[name])
        except ValueError as error:  # torchvision is not here
            timings[name] = dataclasses.replace(timings[name], failure=str(error))
            started.pop(name, None)
    for _ in range(arguments.repetitions):
        if not deadline.seconds_left():
            break
        for name, batches in started.items():
            timings[name].ms.append(_ms_a_batch(batches, device, arguments.seconds))
    return [t if t.ms or t.failure else dataclasses.replace(t, failure=NO_TIME) for t in timings.values()]


def _ms_a_batch(batches: Batches, device: torch.device, seconds: float) -> float:
    """Milliseconds a batch over as many batches as take so long, one at least."""
    for _ in range(PREFETCHED):
        next(batches)
    wait(device)
    started, count = time.perf_counter(), 0
    while not count or time.perf_counter() - started < seconds:
        next(batches)
        count += 1
    wait(device)
    return (time.perf_counter() - started) * 1e3 / count


def _ms_of(call: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    call()
    wait(device)
    return (time.perf_counter() - started) * 1e3
