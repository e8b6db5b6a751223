"""Where the time of a training step goes: the trainer's own `fit`, with a clock at its parts."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from benchmarks.measuring.timing import wait
from dynfilt.train.trainer import Trainer


class _Enough(Exception):
    """Ends `fit` after the steps that were asked for."""


def fit_steps(
    trainer: Trainer, count: int, after_step: Callable[[], None], before_next: Callable[[], None] = lambda: None
) -> None:
    """Have `fit` take `count` steps; the partial batch at the end of an epoch, another shape, is left out.

    What is done between `after_step` and `before_next` is not the trainer's.
    """
    done = 0

    def on_step(step: int) -> None:
        nonlocal done
        after_step()
        done += 1
        if done == count:
            raise _Enough
        _skip_partial_batch(trainer)
        before_next()

    _skip_partial_batch(trainer)
    try:
        trainer.fit(lambda row, improved: None, lambda: None, on_step)
    except _Enough:
        return
    raise AssertionError("the trainer ended by itself")


def _skip_partial_batch(trainer: Trainer) -> None:
    partial = len(trainer.data.train) % trainer.settings.batch_size
    if partial and trainer.step % trainer.batches.steps_per_epoch == trainer.batches.steps_per_epoch - 1:
        trainer.step += 1


def loop_alone_ms(trainer: Trainer, count: int) -> float:
    """Milliseconds a step of the loop around a batch that is there and a network that has answered.

    Nothing waits for the device in between, as in training, and the caches are warm, as in training they are not:
    on CUDA this is what the loop costs, on a CPU the least that it can cost.
    """
    batch, take_step = trainer.batches.batch, trainer.step_function
    images, labels = batch(trainer.step)
    answer = take_step(images, labels)
    trainer.batches.batch = lambda step: (images, labels)  # type: ignore[method-assign]
    trainer.step_function = lambda images, labels: answer  # type: ignore[method-assign]
    try:
        fit_steps(trainer, 1, lambda: None)
        wait(trainer.device)
        started = time.perf_counter()
        fit_steps(trainer, count, lambda: None)
        wait(trainer.device)
        return (time.perf_counter() - started) * 1e3 / count
    finally:
        trainer.batches.batch, trainer.step_function = batch, take_step  # type: ignore[method-assign]


class StepClock:
    """Times of the parts of each step, by wrapping the trainer's `batches.batch` and `step_function`."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.rows: list[tuple[float, float, float]] = []
        self.data = self.network = self.step_started = 0.0

    def steps(self, count: int) -> list[tuple[float, float, float]]:
        """(batch, network, whole) in milliseconds for each of `count` steps."""
        batch, take_step = self.trainer.batches.batch, self.trainer.step_function

        def timed_batch(step: int) -> tuple[Tensor, Tensor]:
            result, self.data = self._timed(lambda: batch(step))
            return result

        def timed_step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            result, self.network = self._timed(lambda: take_step(images, labels))
            return result

        self.trainer.batches.batch = timed_batch  # type: ignore[method-assign]
        self.trainer.step_function = timed_step  # type: ignore[method-assign]
        try:
            self._begin_step()
            fit_steps(self.trainer, count, self._end_step, self._begin_step)
        finally:
            self.trainer.batches.batch, self.trainer.step_function = batch, take_step  # type: ignore[method-assign]
        return self.rows

    def _begin_step(self) -> None:
        self.step_started = self._now()

    def _end_step(self) -> None:
        self.rows.append((self.data, self.network, self._now() - self.step_started))

    def _timed(self, call: Callable[[], tuple[Tensor, Tensor]]) -> tuple[tuple[Tensor, Tensor], float]:
        started = self._now()
        result = call()
        return result, self._now() - started

    def _now(self) -> float:
        wait(self.trainer.device)
        return time.perf_counter() * 1e3
