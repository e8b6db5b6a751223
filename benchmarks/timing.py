"""Timing that survives a noisy machine: candidates in turn, medians, and what the machine can do at best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

from dynfilt.cost import peak_memory_mb, reset_peak_memory


def interleaved_ms(
    candidates: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, warmup: int
) -> dict[str, list[float]]:
    """Milliseconds of each candidate in each round, one after the other within a round."""
    for candidate in candidates.values():
        for _ in range(warmup):
            candidate()
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, candidate in candidates.items():
            samples[name].append(once_ms(candidate, device))
    return samples


def once_ms(candidate: Callable[[], object], device: torch.device) -> float:
    """Wall milliseconds of one call, the device's work included."""
    _wait(device)
    started = time.perf_counter()
    candidate()
    _wait(device)
    return (time.perf_counter() - started) * 1e3


def extra_memory_mb(candidate: Callable[[], object], device: torch.device) -> float:
    """MiB by which one call raises the peak above what is held before it."""
    reset_peak_memory(device)
    before = peak_memory_mb(device)
    candidate()
    _wait(device)
    return max(0.0, peak_memory_mb(device) - before)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs a second of the best of some large matrix products."""
    size = 8192 if device.type == "cuda" else 2048
    a = torch.randn(size, size, device=device, dtype=dtype)
    best_ms = min(interleaved_ms({"product": lambda: a @ a}, device, rounds=6, warmup=2)["product"])
    return 2 * size**3 / best_ms * 1e3


def peak_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of the best of some large copies."""
    source = torch.ones(2**26 if device.type == "cpu" else 2**28, device=device)
    target = torch.empty_like(source)
    best_ms = min(interleaved_ms({"copy": lambda: target.copy_(source)}, device, rounds=6, warmup=2)["copy"])
    return 2 * source.numel() * source.element_size() / best_ms * 1e3


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
