"""Memory on a CPU that training uses again, and out of memory, in words: which setting to change."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dynfilt.wording import one_line

HOST = "can't allocate memory"  # of torch's RuntimeError on a CPU
LONGEST_TEXT, LONGEST_REASON = 1000, 120
# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Have this process keep what it frees for its next request, where the C library is glibc.

    Left alone, it gives tensors of more than 32 MiB back to the system, which hands them out again page by page, filled
    with zeros; the activations of a large network are such tensors, and each step asks for the same ones.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


@contextmanager
def naming_batch_size(key: str, batch_size: int) -> Iterator[None]:
    """Raise torch.OutOfMemoryError or MemoryError that names `key`, the setting to change, where memory runs out."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and HOST not in str(error):
            raise
        kind = torch.OutOfMemoryError if isinstance(error, torch.OutOfMemoryError) else MemoryError
        said = one_line(error, LONGEST_TEXT)
        reason = said[max(0, said.find(HOST)) :][:LONGEST_REASON]
        raise kind(f"out of memory with {key}={batch_size}, choose less or another device ({reason})") from error
