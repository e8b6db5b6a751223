"""Out of memory, in words: which setting asked for it, and what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dynfilt.wording import one_line

HOST = "can't allocate memory"  # of torch's RuntimeError on a CPU
LONGEST_TEXT, LONGEST_REASON = 1000, 120


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
