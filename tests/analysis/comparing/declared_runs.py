"""Runs of a small study with a declaration, or without one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.comparing.claims import Claim
from analysis.comparing.comparison import Comparison
from analysis.comparing.variants import Variant
from analysis.reading.run import Run

RANDOM = np.random.default_rng(5)
STATIC = [0.70 + float(x) for x in RANDOM.normal(0, 0.004, 12)]
LOOKS = {"looks": [3, 5, 10]}


def runs(variant: str, accuracies: Sequence[float], about: Any = None, study: str = "lab", **config: Any) -> list[Run]:
    told = {**config, **({} if about is None else {"about": about})}
    return [
        Run(
            "outputs",
            f"outputs/{study}/{variant}/seed{seed}",
            study,
            variant,
            seed,
            "completed",
            numbers={"test_accuracy": accuracy, "val_accuracy": accuracy},
            digest=f"of {variant}",
            config=told,
        )
        for seed, accuracy in enumerate(accuracies)
    ]


def better(by: float, n: int, spread: float = 0.003) -> list[float]:
    random = np.random.default_rng(round(1e4 * (by + 1)) + n)
    noise = random.normal(0, spread, n)
    return [base + by + float(x) for base, x in zip(STATIC, noise - noise.mean(), strict=False)]


def study(n: int, about: Any, study: str = "lab") -> list[Run]:
    arms = {"static": STATIC[:n], "up": better(0.02, n), "same": better(0.0002, n), "down": better(-0.02, n)}
    return [run for variant, accuracies in arms.items() for run in runs(variant, accuracies, about, study)]


def row(comparison: Comparison, label: str) -> Variant:
    return next(variant for variant in comparison.variants if variant.label == label)


def against(comparison: Comparison, label: str, rival: str) -> Claim:
    return next(claim for claim in row(comparison, label).claims if claim.rival == rival)


def without_result(made: Sequence[Run]) -> list[Run]:
    return [replace(run, numbers={}, state="running", digest="") for run in made]
