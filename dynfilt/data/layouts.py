"""The files in which CIFAR is published: read without trusting them, checked before any training.

Both layouts are described at https://www.cs.toronto.edu/~kriz/cifar.html: pickled dictionaries ("python
version"), and records of one or two label bytes and 3,072 pixel bytes ("binary version").
"""

import hashlib
import io
import pickle
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from dynfilt.data.bundle import Split

PIXELS = (3, 32, 32)
PIXEL_BYTES = 3 * 32 * 32
Records = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class OfficialFile:
    """A published file: its name, how many images it holds, its checksum in hexadecimal digits."""

    name: str
    records: int
    checksum: str


@dataclass(frozen=True)
class Layout:
    """One published form of a data set; `decode` turns a file into uint8 pixels (N, 3072) and labels (N,)."""

    folder: str
    train: tuple[OfficialFile, ...]
    test: tuple[OfficialFile, ...]
    checksum_kind: str
    decode: Callable[[bytes], Records]

    def missing(self, root: Path) -> str | None:
        """The first file that is not under `root`, as folder/name; None when the layout is complete."""
        names = (f"{self.folder}/{file.name}" for file in self.train + self.test)
        return next((name for name in names if not (root / name).is_file()), None)


def read_layout(root: Path, layout: Layout, num_classes: int) -> tuple[Split, Split]:
    """Training and test images of a complete layout under `root`.

    Raises ValueError that names the file for a damaged file, a wrong number of images or a label that is not
    in 0 .. num_classes - 1. A file that is sound but not the published one is a warning.
    """

    def read(file: OfficialFile) -> Records:
        return _read_file(root / layout.folder / file.name, file, layout, num_classes)

    with ThreadPoolExecutor() as pool:
        parts = list(pool.map(read, layout.train + layout.test))
    cut = len(layout.train)
    return _split(parts[:cut]), _split(parts[cut:])


def decode_records(raw: bytes, label_bytes: int) -> Records:
    """Pixels and labels of the binary version; the last of the label bytes is the (fine) label."""
    size = label_bytes + PIXEL_BYTES
    if len(raw) % size:
        raise ValueError(f"{len(raw):,} bytes are no whole number of records of {size:,} bytes")
    records = np.frombuffer(raw, np.uint8).reshape(-1, size)
    return records[:, label_bytes:], records[:, label_bytes - 1]


def decode_pickle(raw: bytes, label_key: str) -> Records:
    """Pixels and labels of the python version: keys `data` and `label_key`, as bytes (Python 2) or text."""
    content = _ArrayUnpickler(io.BytesIO(raw), encoding="bytes").load()
    entries = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
    pixels, labels = np.asarray(entries["data"]), np.asarray(entries[label_key])
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXEL_BYTES:
        raise ValueError(f"'data' must be uint8 (N, {PIXEL_BYTES}), got {pixels.dtype} {pixels.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise ValueError(f"'{label_key}' must be {len(pixels):,} integers, one an image")
    return pixels, labels


class _ArrayUnpickler(pickle.Unpickler):
    """Builds containers, numbers, bytes and numpy arrays, and calls nothing else that a pickle may name."""

    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy.core.numeric", "_frombuffer"): np.empty(0).__reduce_ex__(5)[0],
        ("numpy._core.numeric", "_frombuffer"): np.empty(0).__reduce_ex__(5)[0],
        ("_codecs", "encode"): lambda text, encoding: text.encode(encoding),
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data set needs") from None


def _read_file(path: Path, file: OfficialFile, layout: Layout, num_classes: int) -> Records:
    raw = path.read_bytes()
    try:
        pixels, labels = layout.decode(raw)
    except Exception as error:  # a damaged pickle can raise anything
        detail = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: truncated, damaged or no CIFAR file ({detail}); replace it") from error
    if len(labels) != file.records:
        raise ValueError(f"{path}: holds {len(labels):,} images instead of {file.records:,}; replace it")
    if labels.min() < 0 or labels.max() >= num_classes:
        found = f"{labels.min()} to {labels.max()}"
        raise ValueError(f"{path}: labels must be 0 to {num_classes - 1}, found {found}; replace it")
    checksum = hashlib.new(layout.checksum_kind, raw, usedforsecurity=False).hexdigest()
    if checksum != file.checksum:
        warnings.warn(
            f"{path}: its {layout.checksum_kind.upper()} {checksum} is not the published {file.checksum}; "
            "its image count and labels are right, so it is used as it is",
            stacklevel=2,
        )
    return pixels, labels


def _split(parts: list[Records]) -> Split:
    # A pickled array may have its columns one after the other.
    pixels = np.ascontiguousarray(np.concatenate([pixels for pixels, _ in parts])).reshape(-1, *PIXELS)
    labels = np.concatenate([labels for _, labels in parts]).astype(np.int64)
    return Split(torch.from_numpy(pixels), torch.from_numpy(labels))
