"""Which formulations a forward pass takes, seen from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from dynfilt.layers import mixture, per_sample
from dynfilt.layers.formulation import FORMULATIONS


@contextmanager
def record_paths() -> Iterator[Counter[str]]:
    """Count the formulations that filters of one's own are applied by; what one calls inside is not counted.

    A formulation `x` is the function `_x` of per_sample.py or mixture.py; of mixtures, `grouped` is per_sample's.
    """
    taken: Counter[str] = Counter()
    inside: list[str] = []

    def noting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            taken[name] += not inside
            inside.append(name)
            try:
                return function(*arguments, **options)
            finally:
                inside.pop()

        return call

    with ExitStack() as patches:
        for module in (per_sample, mixture):
            for name in FORMULATIONS:
                function = getattr(module, f"_{name}", None)
                if function is not None:
                    patches.enter_context(mock.patch.object(module, f"_{name}", noting(name, function)))
        yield taken


def describe_paths(taken: Counter[str]) -> str:
    """`chunked x 15, outputs x 4`; nothing taken means ordinary convolutions only."""
    counted = ((name, count) for name, count in taken.most_common() if count)
    return ", ".join(name if count == 1 else f"{name} x {count}" for name, count in counted) or "nn.Conv2d"
