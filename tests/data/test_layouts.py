import dataclasses
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dynfilt.data.layouts import read_layout
from dynfilt.data.published import CIFAR10, CIFAR100, PublishedData

from .conftest import binary_records, python2_pickle, python3_pickle

LAYOUTS = [
    pytest.param(CIFAR10, 0, python2_pickle, id="cifar10-python2"),
    pytest.param(CIFAR10, 0, python3_pickle, id="cifar10-python3"),
    pytest.param(CIFAR10, 1, binary_records, id="cifar10-binary"),
    pytest.param(CIFAR100, 0, python2_pickle, id="cifar100-python2"),
    pytest.param(CIFAR100, 1, binary_records, id="cifar100-binary"),
]

Encode = Callable[[np.ndarray, np.ndarray, str], bytes]


class RunsCommand:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize(("published", "number", "encode"), LAYOUTS)
def test_every_layout_gives_the_images_and_labels_that_were_written(
    fake: Callable, published: PublishedData, number: int, encode: Callable
) -> None:
    files = fake(published, number, encode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training, test = read_layout(files.root, files.layout, len(published.class_names))
    for split, (pixels, labels) in ((training, files.train), (test, files.test)):
        assert torch.equal(split.images, torch.from_numpy(pixels))
        assert split.labels.tolist() == labels.tolist()


def pickled(protocol: int, order: Any, labels: Callable[[np.ndarray], Any], old_numpy: bool = False) -> Encode:
    def encode(pixels: np.ndarray, numbers: np.ndarray, label_key: str) -> bytes:
        content = {"data": np.asarray(pixels, order=order), label_key: labels(numbers)}
        raw = pickle.dumps(content, protocol=protocol)
        if not old_numpy:
            return raw
        # Without the frame, which would say how many bytes follow.
        return raw[:2] + raw[11:].replace(b"\x13numpy._core.numeric", b"\x12numpy.core.numeric")

    return encode


@pytest.mark.parametrize(
    "encode",
    [
        *(pytest.param(pickled(protocol, "C", np.ndarray.tolist), id=f"protocol {protocol}") for protocol in range(6)),
        pytest.param(pickled(5, "C", np.ndarray.tolist, old_numpy=True), id="protocol 5 of NumPy 1"),
        pytest.param(pickled(4, "F", np.ndarray.tolist), id="columns"),
        pytest.param(pickled(5, "F", np.ndarray.tolist), id="columns, protocol 5"),
        pytest.param(pickled(4, "C", np.uint8), id="uint8 labels"),
        pytest.param(pickled(4, "C", np.int64), id="int64 labels"),
    ],
)
def test_every_pickle_gives_the_images_and_labels_that_were_written(fake: Callable, encode: Encode) -> None:
    files = fake(CIFAR100, 0, encode)  # one file a split, so that nothing but it decides the order in memory
    for split, (pixels, labels) in zip(
        read_layout(files.root, files.layout, 100), (files.train, files.test), strict=True
    ):
        assert torch.equal(split.images, torch.from_numpy(pixels))
        assert split.labels.tolist() == labels.tolist()


@pytest.mark.parametrize(("published", "number", "encode"), LAYOUTS)
def test_a_truncated_file_is_named(fake: Callable, published: PublishedData, number: int, encode: Callable) -> None:
    files = fake(published, number, encode)
    broken = files.file(-1)
    broken.write_bytes(broken.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=f"{broken.name}: truncated, damaged"):
        read_layout(files.root, files.layout, len(published.class_names))


def test_a_whole_number_of_records_too_few_is_named(fake: Callable) -> None:
    files = fake(CIFAR10, 1, binary_records)
    files.file(2).write_bytes(files.file(2).read_bytes()[:-3073])
    with pytest.raises(ValueError, match=r"data_batch_3.bin: holds 19 images instead of 20"):
        read_layout(files.root, files.layout, 10)


def test_an_empty_file_is_named(fake: Callable) -> None:
    files = fake(CIFAR10, 1, binary_records)
    files.file().write_bytes(b"")
    with pytest.raises(ValueError, match=r"data_batch_1.bin: holds 0 images"):
        read_layout(files.root, files.layout, 10)


@pytest.mark.parametrize("label", [10, 255])
def test_a_label_out_of_range_is_named(fake: Callable, label: int) -> None:
    files = fake(CIFAR10, 1, binary_records)
    raw = bytearray(files.file(1).read_bytes())
    raw[3073 * 4] = label
    files.file(1).write_bytes(raw)
    with pytest.raises(ValueError, match=rf"data_batch_2.bin: labels must be 0 to 9, found 0 to {label}"):
        read_layout(files.root, files.layout, 10)


def test_a_negative_label_is_named(fake: Callable) -> None:
    files = fake(CIFAR10, 0, python3_pickle)
    files.file().write_bytes(python3_pickle(np.zeros((20, 3072), np.uint8), np.full(20, -1), "labels"))
    with pytest.raises(ValueError, match="data_batch_1: labels must be 0 to 9, found -1"):
        read_layout(files.root, files.layout, 10)


def test_other_content_with_the_right_counts_is_a_warning_that_names_the_file(fake: Callable) -> None:
    files = fake(CIFAR10, 1, binary_records)
    raw = bytearray(files.file(5).read_bytes())
    raw[-1] ^= 1
    files.file(5).write_bytes(raw)
    with pytest.warns(UserWarning, match=r"test_batch.bin: its SHA256 .* is not the published") as caught:
        _, test = read_layout(files.root, files.layout, 10)
    assert len(caught) == 1
    assert test.images.view(-1)[-1] == raw[-1]


def test_a_pickle_is_never_executed(fake: Callable, tmp_path: Path) -> None:
    files = fake(CIFAR10, 0, python3_pickle)
    marker = tmp_path / "executed"
    files.file().write_bytes(pickle.dumps({"data": RunsCommand(marker), "labels": []}, protocol=2))
    with pytest.raises(ValueError, match=r"data_batch_1: .*system, which no data set needs"):
        read_layout(files.root, files.layout, 10)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"labels": [0] * 20}, id="no data"),
        pytest.param({"data": np.zeros((20, 3072), np.uint8)}, id="no labels"),
        pytest.param({"data": np.zeros((20, 3072), np.float32), "labels": [0] * 20}, id="floats"),
        pytest.param({"data": np.zeros((20, 1024), np.uint8), "labels": [0] * 20}, id="grey"),
        pytest.param({"data": np.zeros((20, 3072), np.uint8), "labels": [0] * 19}, id="a label too few"),
        pytest.param([1, 2, 3], id="a list"),
    ],
)
def test_a_pickle_of_something_else_is_named(fake: Callable, content: object) -> None:
    files = fake(CIFAR10, 0, python3_pickle)
    files.file().write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match="data_batch_1: truncated, damaged or no CIFAR file"):
        read_layout(files.root, files.layout, 10)


def test_missing_names_the_first_file_that_is_not_there(fake: Callable) -> None:
    files = fake(CIFAR10, 1, binary_records)
    assert files.layout.missing(files.root) is None
    files.file(3).unlink()
    assert files.layout.missing(files.root) == "cifar-10-batches-bin/data_batch_4.bin"
    elsewhere = dataclasses.replace(files.layout, folder="elsewhere")
    assert elsewhere.missing(files.root) == "elsewhere/data_batch_1.bin"
