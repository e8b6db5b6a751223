"""Schedules as pure functions of training progress, shared by learning rate and softmax temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The progress of training: `step` of `total_steps` (0-based, the step about to be taken)."""

    step: int
    total_steps: int
    steps_per_epoch: int

    @property
    def fraction(self) -> float:
        """0 at the first step, 1 after the last."""
        return self.step / self.total_steps


class Constant:
    """The same value throughout. Raises ValueError unless value > 0."""

    def __init__(self, value: float) -> None:
        _require(value > 0, f"value={value} must be > 0")
        self.value = value

    def __call__(self, progress: Progress) -> float:
        return self.value


class MultiStep:
    """1, times `gamma` from each milestone on; milestones are fractions of training, compared in whole steps.

    Raises ValueError unless the milestones rise within 0..1 and gamma > 0.
    """

    def __init__(self, milestones: Sequence[float], gamma: float) -> None:
        _require(gamma > 0, f"gamma={gamma} must be > 0")
        rising = list(milestones) == sorted(set(milestones)) and all(0 < m < 1 for m in milestones)
        _require(rising, f"milestones={list(milestones)} must rise between 0 and 1 (fractions of training)")
        self.milestones = list(milestones)
        self.gamma = gamma

    def __call__(self, progress: Progress) -> float:
        # The tolerance keeps 0.85 * 100 steps at step 85 although the product is 85.00000000000001 or so.
        first_steps = [math.ceil(m * progress.total_steps - 1e-6) for m in self.milestones]
        return self.gamma ** sum(progress.step >= first for first in first_steps)


class Cosine:
    """Half a cosine from 1 to `final` (Loshchilov & Hutter, ICLR 2017, arXiv 1608.03983, without restarts).

    Raises ValueError unless 0 <= final <= 1.
    """

    def __init__(self, final: float) -> None:
        _require(0 <= final <= 1, f"final={final} must lie in 0..1")
        self.final = final

    def __call__(self, progress: Progress) -> float:
        return _half_cosine(1.0, self.final, progress.fraction)


class OneCycle:
    """Linear from `initial` to 1 over `warmup_fraction` of training, then half a cosine to `final`.

    Smith & Topin, arXiv 1708.07120. Raises ValueError for values outside 0..1.
    """

    def __init__(self, warmup_fraction: float, initial: float, final: float) -> None:
        _require(0 < warmup_fraction < 1, f"warmup_fraction={warmup_fraction} must lie between 0 and 1")
        _require(0 <= initial <= 1, f"initial={initial} must lie in 0..1")
        _require(0 <= final <= 1, f"final={final} must lie in 0..1")
        self.warmup_fraction = warmup_fraction
        self.initial = initial
        self.final = final

    def __call__(self, progress: Progress) -> float:
        done = progress.fraction
        if done < self.warmup_fraction:
            return self.initial + (1 - self.initial) * done / self.warmup_fraction
        return _half_cosine(1.0, self.final, (done - self.warmup_fraction) / (1 - self.warmup_fraction))


class Linear:
    """Linear from `initial` to `final` over the first `epochs`, then `final`.

    Raises ValueError unless initial, final and epochs are > 0.
    """

    def __init__(self, initial: float, final: float, epochs: float) -> None:
        _require(initial > 0 and final > 0, f"initial={initial} and final={final} must be > 0")
        _require(epochs > 0, f"epochs={epochs} must be > 0")
        self.initial = initial
        self.final = final
        self.epochs = epochs

    def __call__(self, progress: Progress) -> float:
        done = min(1.0, progress.step / (self.epochs * progress.steps_per_epoch))
        return self.initial + (self.final - self.initial) * done


class FadeOut:
    """From 1 in a straight line to 0 over the first `epochs`, then 0: the share of what training begins with.

    Raises ValueError unless epochs > 0.
    """

    def __init__(self, epochs: float) -> None:
        _require(epochs > 0, f"epochs={epochs} must be > 0")
        self.epochs = epochs

    def __call__(self, progress: Progress) -> float:
        return max(0.0, 1 - progress.step / (self.epochs * progress.steps_per_epoch))


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
