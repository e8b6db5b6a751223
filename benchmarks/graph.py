"""A piece of work recorded as one CUDA graph: what is left of it without the launching of its kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

WARMUP = 3
T = TypeVar("T")


def graphed(work: Callable[[], T]) -> tuple[Callable[[], None], T]:
    """What repeats the work on the same tensors, and what it returned, which each repetition overwrites.

    Raises ValueError without CUDA, RuntimeError for work that cannot be recorded.
    """
    if not torch.cuda.is_available():
        raise ValueError("a CUDA graph needs a CUDA device")
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARMUP):
            work()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph.replay, result
