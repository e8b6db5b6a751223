"""The training loop: a pure function of settings, data, seed and step, so that it can stop and go on anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.annealing import scheduled_buffers
from dynfilt.data.batches import TrainingBatches
from dynfilt.data.bundle import ImageData
from dynfilt.layers.attention import fill_temperatures, get_temperature, temperature_buffers
from dynfilt.schedules import Progress
from dynfilt.seeding import seed_global_generators
from dynfilt.train.compile_check import require_same_gradients
from dynfilt.train.evaluation import Evaluator, Stopped
from dynfilt.train.graphed_step import GraphedStep, Step, make_recordable, record_cuda_graph
from dynfilt.train.memory import naming_batch_size
from dynfilt.train.running_sums import RunningSums
from dynfilt.train.settings import TrainerSettings

Schedule = Callable[[Progress], float]
STEPS_BETWEEN_LOSS_CHECKS = 50


class Trainer:
    """Trains one model, evaluates it on the validation split, and asks for checkpoints.

    `on_evaluation(row, improved)` is called after each evaluation, `on_checkpoint()` when one is due in between.
    All state that training needs to go on is in `state_dict()`; order, augmentation and dropout of a step, and what an
    evaluation draws, depend on (seed, step) only. `buffers` are schedules of what layers call so, beside their
    temperature. Raises ValueError for settings that the data cannot satisfy, and when no layer has a scheduled buffer.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ImageData,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        temperature: Schedule,
        buffers: Mapping[str, Schedule],
        settings: TrainerSettings,
        device: torch.device,
        seed: int,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.schedule = schedule
        self.temperature = temperature
        self.settings = settings
        self.device = device
        self.seed = seed
        self.data = data
        self.batches = TrainingBatches(data, settings.batch_size, seed)
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.forward = settings.compiled(model)
        if settings.compile:
            batch, autocast = self.batches.batch(0), partial(settings.autocast, device)
            require_same_gradients(model, self.forward, *batch, autocast, settings.memory_format, settings.precision)
        self.step_function: Step = self._step_once
        if settings.cuda_graph:
            self._record_steps()
        self.evaluator = Evaluator.from_settings(data, settings, device)
        self.temperatures = temperature_buffers(model)
        self.applied_temperature: float | None = None
        self.buffers = {name: (scheduled_buffers(model, name), schedule) for name, schedule in buffers.items()}
        self.step = 0
        self.best_accuracy = -1.0
        self.best_epoch = 0.0
        self.best_step: int | None = 0
        self.evaluations_without_improvement = 0
        self.evaluation_due = False
        self.rounds_evaluations = False
        self.train_seconds = self.seconds_at_evaluation = 0.0
        self.sums = RunningSums()

    @cached_property
    def total_steps(self) -> int:
        """Training steps of the whole run, at least 1; a fraction of an epoch is rounded to whole steps."""
        total = max(1, round(self.settings.epochs * self.batches.steps_per_epoch))
        return total if self.settings.max_steps is None else min(total, self.settings.max_steps)

    @property
    def last_temperature(self) -> float | None:
        """The temperature of the last training step, None for a model without one."""
        last = Progress(self.total_steps - 1, self.total_steps, self.batches.steps_per_epoch)
        return self.temperature(last) if self.temperatures else None

    @property
    def evaluations_so_far(self) -> int:
        """How many evaluations there were up to this step."""
        if self.step == 0:
            return 0
        return self._evaluations_by(self.step - 1) + self._is_evaluated(self.step) - self.evaluation_due

    @property
    def epoch(self) -> float:
        """Images seen, divided by the number of training images."""
        epochs, steps = divmod(self.step, self.batches.steps_per_epoch)
        return epochs + steps * self.settings.batch_size / len(self.data.train)

    @property
    def finished(self) -> bool:
        patience = self.settings.patience
        out_of_patience = patience is not None and self.evaluations_without_improvement >= patience
        return self.step >= self.total_steps or out_of_patience

    def fit(
        self,
        on_evaluation: Callable[[dict[str, float | int | None], bool], None],
        on_checkpoint: Callable[[], None],
        on_step: Callable[[int], None],
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until the last step or until patience runs out.

        `stop` is called after each step and each batch of an evaluation; when it returns True, a checkpoint is asked
        for and Stopped raised. Raises FloatingPointError, naming the step, when a loss of training or of an evaluation
        is not finite.
        """
        self.model.train()
        started = checkpointed = time.perf_counter()
        while self.evaluation_due or not self.finished:
            if not self.evaluation_due:
                self.train_step()
                on_step(self.step)
                self.evaluation_due = self._is_evaluated(self.step)
            stopping = stop()
            if not (self.evaluation_due or stopping) and self.step % STEPS_BETWEEN_LOSS_CHECKS:
                continue
            self._require_finite_loss()
            now = time.perf_counter()
            if not (self.evaluation_due or stopping or now - checkpointed >= self.settings.checkpoint_every_seconds):
                continue
            self.train_seconds += now - started
            try:
                self._evaluate_or_checkpoint(on_evaluation, on_checkpoint, stop)
            except Stopped:
                on_checkpoint()
                raise
            started = checkpointed = time.perf_counter()

    def _evaluate_or_checkpoint(
        self,
        on_evaluation: Callable[[dict[str, float | int | None], bool], None],
        on_checkpoint: Callable[[], None],
        stop: Callable[[], bool],
    ) -> None:
        if stop():
            raise Stopped
        if not self.evaluation_due:
            on_checkpoint()
            return
        row, improved = self._evaluate(stop)
        self.evaluation_due = False
        on_evaluation(row, improved)

    def train_step(self) -> None:
        """One optimizer step on the batch of the current global step."""
        images, labels = self.batches.batch(self.step)
        self._apply_schedules(self.step)
        seed_global_generators(self.device, self.seed, "step", self.step)
        with naming_batch_size("trainer.batch_size", self.settings.batch_size):
            loss, scores = self.step_function(images, labels)
        self.sums.add(loss, scores, labels)
        self.step += 1

    def _record_steps(self) -> None:
        if self.device.type != "cuda":
            raise ValueError(f"trainer.cuda_graph=true needs a CUDA device, but trainer.device is {self.device}")
        make_recordable(self.optimizer, self.device)
        record = partial(record_cuda_graph, device=self.device)
        self.step_function = GraphedStep(self._step_once, self.settings.batch_size, record)

    def _step_once(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Forward, backward and update on one batch -> (mean loss, scores (B, classes)), both detached."""
        # A batch of another size would be compiled anew; once an epoch, the eager model does as well.
        forward = self.forward if len(images) == self.settings.batch_size else self.model
        with self.settings.autocast(self.device):
            scores = forward(images.contiguous(memory_format=self.settings.memory_format))
            loss = F.cross_entropy(scores.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        if self.settings.clip_gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_gradient_norm)
        self.optimizer.step()
        return loss.detach(), scores.detach()

    def state_dict(self) -> dict[str, Any]:
        """Everything that training needs to go on from here, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "best": {"accuracy": self.best_accuracy, "epoch": self.best_epoch, "step": self.best_step},
            "evaluations_without_improvement": self.evaluations_without_improvement,
            "evaluation_due": self.evaluation_due,
            "rounds_evaluations": self.rounds_evaluations,
            "sums": self.sums.state_dict(),
            "train_seconds": self.train_seconds,
            "seconds_at_evaluation": self.seconds_at_evaluation,
            "seed": self.seed,
            "rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict()`."""
        self.model.load_state_dict(state["model"])
        options = [{k: v for k, v in g.items() if k != "params"} for g in self.optimizer.param_groups]
        saved = zip(state["optimizer"]["param_groups"], options, strict=True)
        groups = [{**group, **own} for group, own in saved]  # they say where the state belongs
        self.optimizer.load_state_dict({**state["optimizer"], "param_groups": groups})
        for group, own in zip(self.optimizer.param_groups, options, strict=True):
            group.update(own)  # the config decides, also when it changed since the checkpoint
        self.applied_temperature = None
        self.step = state["step"]
        self.best_accuracy = state["best"]["accuracy"]
        self.best_epoch = state["best"]["epoch"]
        self.best_step = state["best"].get("step")  # older checkpoints lack it
        self.evaluations_without_improvement = state["evaluations_without_improvement"]
        self.evaluation_due = state.get("evaluation_due", False)  # older checkpoints were written after it only
        # Runs that were begun before there was this key keep their whole number of steps between evaluations.
        self.rounds_evaluations = state.get("rounds_evaluations", True)
        self.sums = RunningSums.from_state(state["sums"])
        self.train_seconds = state["train_seconds"]
        self.seconds_at_evaluation = state["seconds_at_evaluation"]
        torch.set_rng_state(state["rng"])
        if self.evaluation_due:  # its row tells the learning rate of the step before it
            self._apply_schedules(self.step - 1)

    def _apply_schedules(self, step: int) -> None:
        progress = Progress(step, self.total_steps, self.batches.steps_per_epoch)
        factor = self.schedule(progress)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(base * factor)
            else:
                group["lr"] = base * factor
        if self.temperatures and (temperature := self.temperature(progress)) != self.applied_temperature:
            fill_temperatures(self.temperatures, temperature)
            self.applied_temperature = temperature
        for found, of_buffer in self.buffers.values():
            for buffer in found:
                buffer.fill_(of_buffer(progress))

    def _evaluations_by(self, step: int) -> int:
        """How many evaluations are due after so many steps; rounded steps between two would drift from epochs."""
        epochs = self.settings.evaluate_every_epochs
        between = self.settings.evaluate_every_steps or max(1.0, epochs * self.batches.steps_per_epoch)
        if self.rounds_evaluations:
            between = round(between)
        # The tolerance keeps 0.7 epochs of 10 steps at step 7 although the product is 7.000000000000001 or so.
        return math.floor(step / between + 1e-9)

    def _is_evaluated(self, step: int) -> bool:
        return step == self.total_steps or self._evaluations_by(step) > self._evaluations_by(step - 1)

    def _require_finite_loss(self) -> None:
        self.sums.add_up()
        if self.sums.steps_since_bad:
            first = self.step - self.sums.steps_since_bad
            raise FloatingPointError(f"the training loss is not finite at step {first} (counted from 0)")

    def _evaluate(self, stop: Callable[[], bool]) -> tuple[dict[str, float | int | None], bool]:
        # So that one that is begun again draws the same, where a layer draws in evaluation too.
        seed_global_generators(self.device, self.seed, "evaluation", self.step)
        try:
            val = self.evaluator.evaluate(self.model, self.data.val, stop)
        except FloatingPointError as error:
            raise FloatingPointError(f"{error} after step {self.step}") from error
        improved = val.accuracy > self.best_accuracy
        if improved:
            self.best_accuracy, self.best_epoch, self.best_step = val.accuracy, self.epoch, self.step
        self.evaluations_without_improvement = 0 if improved else self.evaluations_without_improvement + 1
        sums, self.sums = self.sums, RunningSums()
        seconds, self.seconds_at_evaluation = self.train_seconds - self.seconds_at_evaluation, self.train_seconds
        return {
            "epoch": self.epoch,
            "step": self.step,
            "lr": float(self.optimizer.param_groups[0]["lr"]),
            "temperature": get_temperature(self.model),
            **{f"buffers.{name}": float(found[0].flatten()[0]) for name, (found, _) in self.buffers.items()},
            "train_loss": sums.loss / sums.images,
            "train_accuracy": sums.correct / sums.images,
            **val.numbers("val"),
            "seconds": self.train_seconds,
            "images_per_second": sums.images / seconds,
        }, improved
