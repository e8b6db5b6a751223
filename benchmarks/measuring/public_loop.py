"""The training loop of tutorials, to time ours against."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measuring.peers import public_loader
from dynfilt.assembly import build_data
from dynfilt.config.checks import make
from dynfilt.cost import peak_memory_mb, reset_peak_memory

WORKERS = 2
WARMUP_STEPS = 2


class PublicLoop:
    """Steps with torchvision's transforms in a DataLoader, and `.item()` in every one."""

    def __init__(self, config: dict[str, Any], device: torch.device) -> None:
        self.device = device
        self.model = make(config["model"], "model").to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config["optimizer"]["lr"])
        self.batch_size = config["trainer"]["batch_size"]
        data = build_data(config, torch.device("cpu"))
        self.loader = public_loader(data, self.batch_size, WORKERS, device)
        self.batches = self._endless()
        self.loss = self.correct = 0.0
        self.steps = 1
        reset_peak_memory(device)

    def prepare(self, seconds: float) -> dict[str, Any]:
        """Warm up and choose how many steps take about `seconds`."""
        for _ in range(WARMUP_STEPS):
            self._step()
        started = time.perf_counter()
        for _ in range(WARMUP_STEPS):
            self._step()
        self.steps = max(1, round(seconds / (time.perf_counter() - started) * WARMUP_STEPS))
        return {"path": f"data loader, {WORKERS} workers", "images": self.batch_size, "flops": 0.0, "bytes": 0.0}

    def repetition(self) -> float:
        """Milliseconds a step; batches that were made while other arms had their turn are used up first."""
        for _ in range(2 * WORKERS):
            self._step()
        started = time.perf_counter()
        for _ in range(self.steps):
            self._step()
        return (time.perf_counter() - started) / self.steps * 1e3

    def peak_mb(self) -> float:
        """As TrainerArm's, without the loader's workers."""
        return peak_memory_mb(self.device)

    def _step(self) -> None:
        images, labels = next(self.batches)
        images, labels = images.to(self.device), labels.to(self.device)
        self.optimizer.zero_grad()
        scores = self.model(images)
        loss = F.cross_entropy(scores, labels)
        loss.backward()
        self.optimizer.step()
        self.loss += loss.item()
        self.correct += (scores.argmax(1) == labels).sum().item()

    def _endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader
