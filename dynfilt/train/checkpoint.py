"""Checkpoints that are whole or not there: atomic, checksummed, free of code."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynfilt.wording import one_line

CHECKSUM = "sha256"
MOST_EXPANDED = 100
WAY_OUT = "; rerun=damaged goes on from what is sound, rerun=true trains the run anew"


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be read, or that is not what was written; `flaw` says so without its path."""

    def __init__(self, path: Path, flaw: str) -> None:
        super().__init__(f"{path}: {flaw}{WAY_OUT}")
        self.flaw = flaw


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write `state` (nested dicts and lists of tensors and plain values) to `path` in one atomic step.

    The file can be read with torch.load(..., weights_only=True); its key `sha256` covers everything else.
    Raises OSError when the disk is full or the folder cannot be written; an older file at `path` then stays.
    """
    buffer = io.BytesIO()
    torch.save({**state, CHECKSUM: _checksum(state)}, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_atomically(path, buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU. Raises DamagedCheckpoint, naming the file, when it is damaged."""
    if path.exists() and not path.is_file():  # a pipe would never end
        raise DamagedCheckpoint(path, f"not a readable checkpoint (it is {'a folder' if path.is_dir() else 'no file'})")
    content = path.read_bytes()  # by itself: what the disk refuses is no damage, and torch raises OSError for both
    try:
        _require_no_more_than_written(content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        expected = state.pop(CHECKSUM)
        if _bytes_of(state) > MOST_EXPANDED * len(content):  # a tensor of one byte can have any number of elements
            raise ValueError("its tensors have far more elements than it has bytes")
        found = _checksum(state)
    except Exception as error:
        raise DamagedCheckpoint(path, f"not a readable checkpoint ({one_line(error)})") from error
    if expected != found:
        raise DamagedCheckpoint(path, "damaged, its content does not have the checksum it was written with")
    return state


def _require_no_more_than_written(content: bytes) -> None:
    """Raise ValueError for a zip whose files unpack to more bytes than it has: torch packs nothing."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > len(content):
            raise ValueError("it is packed, and torch packs no checkpoint")


def copy_checkpoint(source: Path, target: Path) -> None:
    """Make `target` the same checkpoint as `source`, atomically; with bytes of its own, so that damage to one file
    leaves the other."""
    replace_atomically(target, source.read_bytes())


def replace_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that a reader, or a crash, sees either the old content or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a crash, or a link that leads out of the folder
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _bytes_of(node: Any) -> int:
    if isinstance(node, Tensor):
        return node.numel() * node.element_size()
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    return sum(map(_bytes_of, inside))


def _checksum(state: Any) -> str:
    digest = hashlib.sha256()
    _update(digest, state)
    return digest.hexdigest()


def _update(digest: Any, node: Any) -> None:
    if isinstance(node, Tensor):
        digest.update(f"{node.dtype}{tuple(node.shape)}".encode())
        digest.update(node.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    elif isinstance(node, dict):
        for key, value in node.items():
            digest.update(f"{key!r}:".encode())
            _update(digest, value)
    elif isinstance(node, (list, tuple)):
        digest.update(f"[{len(node)}]".encode())
        for value in node:
            _update(digest, value)
    else:
        digest.update(f"{node!r};".encode())
