"""What the machine can do at best, measured in the same run: products, copies, and the floor that follows."""

from __future__ import annotations

from functools import cache

import torch

from benchmarks.measuring.timing import Deadline, interleaved_ms

SMALLEST_COPY = 2**20
# Rows of the square matrices: doubled up to the largest while one product takes less than this.
SMALLEST_PRODUCT, LONGEST_PRODUCT_MS = 256, 100.0
LARGEST_PRODUCT = {"cpu": 2048, "cuda": 8192}
REPETITIONS = 20


class Machine:
    """A device's measured peaks; each is measured when a process first asks for it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._flops: dict[torch.dtype, tuple[float, int]] = {}
        self._bandwidth: dict[int, float] = {}

    def flops(self, dtype: torch.dtype) -> float:
        """FLOPs a second of the best of some large matrix products; float32 on CUDA in TF32, as convolutions are.

        What a machine has no fast instructions for (bfloat16 on a CPU without AVX-512 or AMX) is measured small.
        """
        if dtype not in self._flops:
            self._flops[dtype] = _best_product(self.device, dtype)
        return self._flops[dtype][0]

    def bandwidth(self, size: float) -> float:
        """Bytes a second, read and written, of the best of some copies that move `size` bytes or somewhat less.

        A small copy stays in the caches, like a small layer; sizes are powers of 4, from 1 MiB.
        """
        largest = 2**28 if self.device.type == "cpu" else 2**31
        moved = SMALLEST_COPY
        while 4 * moved <= min(size, largest):
            moved *= 4
        if moved not in self._bandwidth:
            self._bandwidth[moved] = _best_copy(self.device, moved)
        return self._bandwidth[moved]

    def floor_ms(self, flops: float, size: float, dtype: torch.dtype) -> float:
        """Milliseconds that so many FLOPs and so many bytes take at the measured peaks, by the higher bound."""
        return max(flops / self.flops(dtype), size / self.bandwidth(size)) * 1e3

    def facts(self) -> dict[str, float]:
        """What was measured, for the record; products that were kept small are named with their size."""
        usual = LARGEST_PRODUCT[self.device.type]
        products = {
            f"TFLOP/s in {str(dtype)[6:]}" + (f", {size} x {size} only" if size < usual else ""): rate / 1e12
            for dtype, (rate, size) in self._flops.items()
        }
        copies = {f"GB/s of {size / 2**20:g} MiB": rate / 1e9 for size, rate in sorted(self._bandwidth.items())}
        return products | copies


@cache
def _best_product(device: torch.device, dtype: torch.dtype) -> tuple[float, int]:
    """FLOPs a second, and the rows of the square matrices that were multiplied."""
    precision = torch.get_float32_matmul_precision()
    if device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        torch.set_float32_matmul_precision("high")
    try:
        size, largest = SMALLEST_PRODUCT, LARGEST_PRODUCT[device.type]
        while size < largest and _product_ms(device, dtype, size, 1) < LONGEST_PRODUCT_MS:
            size *= 2
        return 2 * size**3 / _product_ms(device, dtype, size, REPETITIONS) * 1e3, size
    finally:
        torch.set_float32_matmul_precision(precision)


def _product_ms(device: torch.device, dtype: torch.dtype, size: int, rounds: int) -> float:
    a = torch.randn(size, size, device=device, dtype=dtype)
    return min(interleaved_ms({"product": lambda: a @ a}, device, rounds, Deadline(None))["product"])


@cache
def _best_copy(device: torch.device, moved: int) -> float:
    source = torch.ones(moved // 2, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best_ms = min(interleaved_ms({"copy": lambda: target.copy_(source)}, device, REPETITIONS, Deadline(None))["copy"])
    return moved / best_ms * 1e3
