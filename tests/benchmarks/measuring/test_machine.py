"""The machine's peaks and the floor that follows from them."""

import pytest
import torch

from benchmarks.measuring import machine
from benchmarks.measuring.machine import Machine

CPU = torch.device("cpu")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """1 TFLOP/s, 1 GB/s for each byte of a MiB that is copied."""
    monkeypatch.setattr(machine, "_best_product", lambda device, dtype: (1e12, 2048))
    monkeypatch.setattr(machine, "_best_copy", lambda device, moved: 1e9 * moved / 2**20)
    return Machine(CPU)


def test_the_floor_is_the_higher_of_both_bounds(stand_in: Machine) -> None:
    assert stand_in.floor_ms(2e12, 1, torch.float32) == pytest.approx(2000)
    assert stand_in.floor_ms(1, 2**20, torch.float32) == pytest.approx(2**20 / 1e9 * 1e3)


def test_a_copy_is_of_the_work_s_own_size(stand_in: Machine) -> None:
    assert [stand_in.bandwidth(size * 2**20) / 1e9 for size in (0.5, 1, 5, 16, 10**6)] == [1, 1, 4, 16, 256]
    assert list(stand_in.facts()) == [f"GB/s of {size} MiB" for size in (1, 4, 16, 256)]


@pytest.mark.parametrize(("ms_of_a_product", "size"), [(120.0, 256), (60.0, 512), (1.0, 2048)])
def test_slow_products_are_kept_small_and_named(
    ms_of_a_product: float, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each doubling of the rows takes eight times as long."""
    monkeypatch.setitem(machine.LARGEST_PRODUCT, "cpu", 2048)
    monkeypatch.setattr(machine, "_product_ms", lambda device, dtype, size, rounds: ms_of_a_product * (size / 256) ** 3)
    slow = Machine(CPU)
    assert slow.flops(torch.bfloat16) == pytest.approx(2 * 256**3 / ms_of_a_product * 1e3)
    assert list(slow.facts()) == ["TFLOP/s in bfloat16" + (f", {size} x {size} only" if size < 2048 else "")]


def test_real_peaks_are_those_of_a_computer() -> None:
    real = Machine(CPU)
    assert 1e9 < real.flops(torch.float32) < 1e14
    assert 1e8 < real.bandwidth(2**20) < 1e13
    assert torch.get_float32_matmul_precision() == "highest"
