"""Compiles what per-image filters would run on an H100, without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from dynfilt.layers import per_image


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
    """Stands in for a module of kernels: a launch compiles, as it would on the device, and notes what came of it."""

    def __init__(self, kernels: ModuleType, found: list[tuple[str, Any]]) -> None:
        self._kernels, self._found = kernels, found

    def __getattr__(self, name: str) -> Any:
        return _Launch(name, getattr(self._kernels, name), self._found)


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
    driver, kernels = triton.runtime.driver, per_image._kernels
    active, driver._active = driver._active, _NoDevice()
    per_image._kernels = lambda: _CompiledOnly(kernels(), found)
    try:
        yield found
    finally:
        driver._active = active
        per_image._kernels = kernels
