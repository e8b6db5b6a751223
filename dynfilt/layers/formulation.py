"""Which of several exact formulations applies a filter: chosen by shape and device, or forced."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

# For filters of one's own: all images as groups of one convolution; the same a few images at a time; one matrix
# product for each tap. For mixtures of K kernels also: K static convolutions, weighted at their outputs or inputs; and,
# on CUDA, kernels mixed inside the convolution's own GEMM.
FORMULATIONS = ("auto", "grouped", "chunked", "taps", "outputs", "inputs", "fused")
_forced = "auto"


@contextmanager
def force_formulation(name: str) -> Iterator[None]:
    """Use one formulation wherever it applies; elsewhere, and with `auto`, the choice is by shape.

    `grouped` applies everywhere and is the canonical form. Raises ValueError when `name` is not in FORMULATIONS.
    """
    global _forced
    if name not in FORMULATIONS:
        raise ValueError(f"formulation {name!r} is unknown; allowed: {', '.join(FORMULATIONS)}")
    previous, _forced = _forced, name
    try:
        yield
    finally:
        _forced = previous


def forced_among(applicable: Collection[str]) -> str | None:
    """The forced formulation when it is one of those that apply, else None."""
    return _forced if _forced in applicable else None
