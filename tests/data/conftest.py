"""Small files in the published layouts, with known images."""

import dataclasses
import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dynfilt.data.layouts import Layout
from dynfilt.data.published import PublishedData

RECORDS = 20


@dataclasses.dataclass(frozen=True)
class Fake:
    """A published data set cut down to RECORDS images a file, written under `root`, and what it holds."""

    data: PublishedData
    root: Path
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @property
    def layout(self) -> Layout:
        return self.data.layouts[0]

    def file(self, number: int = 0) -> Path:
        return self.root / self.layout.folder / (self.layout.train + self.layout.test)[number].name


def binary_records(pixels: np.ndarray, labels: np.ndarray, label_bytes: int) -> bytes:
    coarse = np.full((len(labels), label_bytes - 1), 255, np.uint8)
    return np.concatenate([coarse, labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()


def python2_pickle(pixels: np.ndarray, labels: np.ndarray, label_key: str) -> bytes:
    """The opcodes that Python 2 wrote for {'data': array, label_key: list}, as the official files are."""

    def text(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    shape = integer(pixels.shape[0]) + integer(pixels.shape[1]) + b"\x86"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + integer(0) + b"\x85" + text(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + integer(0) + integer(1) + b"\x87R"
    dtype_state = b"(" + integer(3) + text(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
    state = b"(" + integer(1) + shape + dtype + dtype_state + b"\x89" + text(pixels.tobytes()) + b"tb"
    numbers = b"](" + b"".join(integer(int(label)) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + state + text(label_key.encode()) + numbers + b"u."


def python3_pickle(pixels: np.ndarray, labels: np.ndarray, label_key: str) -> bytes:
    return pickle.dumps({"data": pixels, label_key: labels.tolist()}, protocol=2)


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[PublishedData, int, Callable[..., bytes]], Fake]:
    """fake(published, number of the layout, encode) writes the files and returns the reduced data set."""

    def make(published: PublishedData, number: int, encode: Callable[..., bytes]) -> Fake:
        layout = published.layouts[number]
        random = np.random.default_rng(0)
        classes = len(published.class_names)
        folder = tmp_path / "root" / layout.folder
        folder.mkdir(parents=True)

        def write(names: list[str]) -> tuple[tuple, tuple[np.ndarray, np.ndarray]]:
            files, pixels, labels = [], [], []
            for name in names:
                pixels.append(random.integers(0, 256, (RECORDS, 3072), dtype=np.uint8))
                labels.append(np.arange(RECORDS) // 2 * 7 % classes)
                raw = encode(pixels[-1], labels[-1], *layout.decode.keywords.values())  # type: ignore[attr-defined]
                (folder / name).write_bytes(raw)
                checksum = hashlib.new(layout.checksum_kind, raw).hexdigest()
                files.append(dataclasses.replace(layout.train[0], name=name, records=RECORDS, checksum=checksum))
            return tuple(files), (np.concatenate(pixels).reshape(-1, 3, 32, 32), np.concatenate(labels))

        train_files, train = write([file.name for file in layout.train])
        test_files, test = write([file.name for file in layout.test])
        small = dataclasses.replace(layout, train=train_files, test=test_files)
        return Fake(dataclasses.replace(published, layouts=(small,)), tmp_path / "root", train, test)

    return make
