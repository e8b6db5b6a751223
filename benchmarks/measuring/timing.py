"""Timing that survives a noisy machine: candidates in turn, a deadline, and memory that really came on top."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import Self

import torch

from dynfilt.cost import peak_memory_mb, reset_peak_memory

SHORTEST_SAMPLE_MS = 10.0
FIRST_CALLS = 2
NO_TIME = "no time was left"  # why what a deadline has cut off was not measured


class Deadline:
    """A moment after which nothing new is started; None is never."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @classmethod
    def after_minutes(cls, minutes: float | None) -> Self:
        """What `--minutes` asks for. Raises ValueError for a number that is not finite and above 0."""
        if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
            raise ValueError(f"--minutes {minutes:g}: must be a finite number above 0")
        return cls(None if minutes is None else 60 * minutes)

    def seconds_left(self) -> float:
        """Seconds until then, infinite for never, 0 when it has passed."""
        return float("inf") if self._end is None else max(0.0, self._end - time.monotonic())


def interleaved_ms(
    candidates: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, deadline: Deadline
) -> dict[str, list[float]]:
    """Milliseconds of one call of each candidate in each round, one after the other within a round.

    A sample is so many calls, after two to warm up, as take 10 ms together. No round is begun after the deadline.
    """
    calls = {}
    for name, candidate in candidates.items():
        first_calls = [_call_ms(candidate, device, 1) for _ in range(FIRST_CALLS)]
        calls[name] = max(1, int(SHORTEST_SAMPLE_MS / min(first_calls)))
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        if not deadline.seconds_left():
            break
        for name, candidate in candidates.items():
            samples[name].append(_call_ms(candidate, device, calls[name]))
    return samples


def extra_memory_mb(candidate: Callable[[], object], device: torch.device) -> float:
    """MiB by which one call raises the peak above what is held before it."""
    _return_freed_memory()
    reset_peak_memory(device)
    before = peak_memory_mb(device)
    candidate()
    wait(device)
    return max(0.0, peak_memory_mb(device) - before)


def wait(device: torch.device) -> None:
    """Return when the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _call_ms(candidate: Callable[[], object], device: torch.device, calls: int) -> float:
    wait(device)
    started = time.perf_counter()
    for _ in range(calls):
        candidate()
    wait(device)
    return (time.perf_counter() - started) * 1e3 / calls


def _return_freed_memory() -> None:
    """Give the system what was freed: a call that reuses it would seem to need nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
        if trim is not None:
            trim(0)
