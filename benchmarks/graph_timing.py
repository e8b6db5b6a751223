"""How long a call takes inside a CUDA graph, and how far its results are from float32."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dynfilt.train.graphed_step import record_cuda_graph

CALLS = 4  # in one graph
REPLAYS = 5


def relative_error(given: Tensor, wanted: Tensor) -> float:
    """||given - wanted|| / ||wanted||, in float32."""
    return float((given.detach().float() - wanted).norm() / wanted.norm())


def graph_us(work: Callable[[], Any], device: torch.device) -> float:
    """Median microseconds of a call among CALLS in a CUDA graph; off CUDA of one call by the clock."""
    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return (time.perf_counter() - started) * 1e6

    def calls() -> None:
        for _ in range(CALLS):
            work()

    replay = record_cuda_graph(calls, device)
    replay()
    times = []
    for _ in range(REPLAYS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / CALLS)
    return statistics.median(times)
