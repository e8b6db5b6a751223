"""Checkpoints written while training goes on: of a snapshot, in order, one at a time."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor

from dynfilt.train.checkpoint import copy_checkpoint, save_checkpoint
from dynfilt.train.evaluation import Stopped


class CheckpointWriter:
    """Writes each checkpoint in another thread; leaving the context waits for the last one.

    What is on disk is always a whole checkpoint of the order in which they were given: a crash loses at most the
    one under way, and the run goes on from the one before.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)
        if kind in (None, Stopped):  # a stopped run goes on from the last checkpoint, so it must be there
            self.wait()

    def write(self, state: dict[str, Any], path: Path, also: Path | None = None) -> None:
        """Take a snapshot of `state` (on its device), return, and write it to `path`, then make `also` the same.

        Waits only while an earlier checkpoint is still being written. Raises OSError when that one failed.
        """
        self.wait()
        self._under_way = self._thread.submit(_write, _snapshot(state, {}), path, also)

    def wait(self) -> None:
        """Return when nothing is being written. Raises OSError when the last write failed."""
        if self._under_way is not None:
            written, self._under_way = self._under_way, None
            written.result()


def _write(state: dict[str, Any], path: Path, also: Path | None) -> None:
    save_checkpoint(state, path)
    if also is not None:
        copy_checkpoint(path, also)


def _snapshot(node: Any, copies: dict[Any, Tensor]) -> Any:
    """The same nest of dicts and lists with copied tensors: training changes the originals in place.

    Layers that share a parameter, such as a warehouse, share its copy.
    """
    if isinstance(node, Tensor):
        place = node.device, node.data_ptr(), node.dtype, node.shape, node.stride()
        if not node.numel() or place not in copies:
            copies[place] = node.detach().clone()
        return copies[place]
    if isinstance(node, dict):
        return {key: _snapshot(value, copies) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_snapshot(value, copies) for value in node)
    return node
