"""Looks of variants that a test knows by their labels only."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from analysis.figures.legend import Look, looks_of


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """A look for each label, as of variants that were recorded under it."""
    variants: list[Any] = [SimpleNamespace(label=label, recorded_name=label) for label in labels]
    return looks_of(variants)
