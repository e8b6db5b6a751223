"""Which of several exact formulations applies a filter: chosen by shape and device, or forced; and what was taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from dynfilt.layers.arguments import require_choice

# For per-image filters: all images as groups of one convolution; the same a few images at a time; one matrix product
# for each tap; on a GPU a matrix product for each image, by Triton kernels. For mixtures of K kernels also: K static
# convolutions weighted at their outputs, at their inputs, or in one with K times the outputs.
Formulation = Literal["auto", "grouped", "chunked", "taps", "per_image", "outputs", "stacked", "inputs"]
FORMULATIONS: tuple[str, ...] = get_args(Formulation)
_forced = "auto"
_taken: Counter[str] | None = None


@contextmanager
def force_formulation(name: str) -> Iterator[None]:
    """Use one formulation wherever it applies; elsewhere, and with `auto`, the choice is by shape.

    `grouped` applies everywhere and is the canonical form. Raises ValueError when `name` is not in FORMULATIONS.
    """
    global _forced
    require_choice("formulation", name, Formulation)
    previous, _forced = _forced, name
    try:
        yield
    finally:
        _forced = previous


def decide(applicable: Collection[str], fastest: str) -> str:
    """The forced formulation when it is one of those that apply, else the fastest."""
    assert fastest in applicable
    decision = _forced if _forced in applicable else fastest
    if _taken is not None:
        _taken[decision] += 1
    return decision


def is_canonical() -> bool:
    """Whether the canonical form is forced, which multiplies by padding too."""
    return _forced == "grouped"


@contextmanager
def record_formulations() -> Iterator[Counter[str]]:
    """Count the formulations by which per-image filters are applied."""
    global _taken
    previous, _taken = _taken, Counter()
    try:
        yield _taken
    finally:
        _taken = previous


def describe(taken: Counter[str]) -> str:
    """`chunked x 15, outputs x 4`; nothing taken means ordinary convolutions only."""
    names = (name if count == 1 else f"{name} x {count}" for name, count in taken.most_common())
    return ", ".join(names) or "nn.Conv2d"
