"""Compiles, without one, what per-image operations would run on an H100 or H200: for tests, and ahead of use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import implicit_gemm, per_image


class _NoDevice:
    """A driver of Triton's that can be asked what to compile for, and nothing else."""

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


class _CompiledOnly:
    """Stands in for the module of kernels: a launch compiles, as it would on the device, and notes what came of it."""

    INTERPRETED = True  # nothing is asked of a device

    def __init__(self, found: list[tuple[str, Any]]) -> None:
        self._found = found

    def __getattr__(self, name: str) -> Any:
        from benchmarks import per_image_kernels

        return _Launch(name, getattr(per_image_kernels, name), self._found)


class _Launch:
    def __init__(self, name: str, kernel: Any, found: list[tuple[str, Any]]) -> None:
        self._name, self._kernel, self._found = name, kernel, found

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        def compile_only(*arguments: Any, **options: Any) -> None:
            self._found.append((self._name, self._kernel.warmup(*arguments, grid=grid, **options)))

        return compile_only


@contextmanager
def compiled_only() -> Iterator[list[tuple[str, Any]]]:
    """Inside, per-image operations on CPU tensors compile their kernels into Triton's cache and compute nothing.

    Gives the name and the compilation of each launch so far.
    """
    import triton

    found: list[tuple[str, Any]] = []
    stand_in, driver = _CompiledOnly(found), triton.runtime.driver
    modules: list[Any] = [implicit_gemm, per_image]
    before = [module.triton_kernels for module in modules]
    active, driver._active = driver._active, _NoDevice()
    for module in modules:
        module.triton_kernels = lambda: stand_in
    try:
        yield found
    finally:
        driver._active = active
        for module, kernels in zip(modules, before, strict=True):
            module.triton_kernels = kernels
