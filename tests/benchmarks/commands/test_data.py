"""`python -m benchmarks data`: ours and the public loader on the same images."""

import itertools
import sys

import pytest
import torch

from benchmarks.commands.data import _steps
from dynfilt.assembly import build_data
from dynfilt.config.compose import compose
from tests.benchmarks.conftest import Bench
from tests.benchmarks.reporting.test_tables import cells

OPTIONS = ("--batch", "16", "--repetitions", "2", "--seconds", "0")


@pytest.mark.slow
def test_batches_and_the_first_read_are_timed(bench: Bench) -> None:
    content, text = bench("data", *OPTIONS, "data=cifar10_sample")
    read, *feeds = content["timings"]
    assert (read.case, read.images, len(read.ms)) == ("cifar10_sample from its files to the device", 2500, 2)
    assert [(t.case.rpartition(", ")[2], t.arm, t.role) for t in feeds] == [
        (augmentation, arm, role)
        for augmentation in ("no augmentation", "flip and crop")
        for arm, role in (
            ("dynfilt", "ours"),
            ("DataLoader, 0 workers", "other"),
            ("DataLoader, 2 workers", "public"),
        )
    ]
    assert all(len(t.ms) == 2 and t.images == 16 and t.floor_ms for t in feeds)
    assert "images/s" in cells(text, "DataLoader, 2 workers")


@pytest.mark.slow
def test_without_torchvision_ours_is_timed_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    content, text = bench("data", *OPTIONS, "data=cifar10_sample")
    failed = [timing for timing in content["timings"] if timing.failure]
    assert {timing.arm for timing in failed} == {"DataLoader, 0 workers", "DataLoader, 2 workers"}
    assert "failed: the public data loader needs torchvision" in text


def test_only_full_batches_are_fed() -> None:
    data = build_data(compose(["data=cifar10_sample"]), torch.device("cpu"))
    for size in (700, 600):  # 1,800 images: with and without a partial batch
        sizes = {len(labels) for _, labels in itertools.islice(_steps(data, size), 7)}
        assert sizes == {size}
