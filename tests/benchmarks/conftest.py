"""Benchmarks in the test's own process, at sizes that take no time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.measuring import machine
from benchmarks.measuring.arm import Arm
from benchmarks.reporting.report import read_result

Bench = Callable[..., tuple[dict[str, Any], str]]
TINY_STEP = ("data=cifar10_sample", "trainer.batch_size=4")


def tiny_arm(model: str, *overrides: str, role: str = "ours", **options: Any) -> Arm:
    """An arm of one of conf/model's networks on four images of the bundled sample."""
    return Arm(model, role, (f"model={model}", *TINY_STEP, *overrides), **options)


@pytest.fixture(autouse=True)
def small_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's peaks by small products: the large ones take most of a tiny benchmark's time."""
    monkeypatch.setitem(machine.LARGEST_PRODUCT, "cpu", machine.SMALLEST_PRODUCT)
    machine._best_product.cache_clear()


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    """bench("layers", ...) is what `python -m benchmarks layers ... --device cpu` writes and prints."""

    def call(*words: str) -> tuple[dict[str, Any], str]:
        path = tmp_path / "result.json"
        code = main([words[0], "--device", "cpu", "--out", str(path), *words[1:]])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return read_result(path), printed.out

    return call
