"""What goes on in an arm's process: training steps of the real trainer."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring.arm import Arm
from benchmarks.measuring.clock import StepClock, fit_steps, loop_alone_ms
from benchmarks.measuring.public_loop import PublicLoop
from benchmarks.measuring.timing import wait
from dynfilt.assembly import build_trainer
from dynfilt.cost import count_layer_flops, name_formulations, peak_memory_mb, reset_peak_memory
from dynfilt.train.graphed_step import EAGER_STEPS
from dynfilt.train.trainer import Trainer

WARMUP_STEPS = 8
LEAST_WARMUP_STEPS = 2
PARTS = ("data, ms", "network, ms", "rest of the step, ms")
LOOP_ALONE = "loop alone, ms"
MOST_CLOCKED_STEPS = 50
LOOP_STEPS = 200


def build(arm: Arm, config: dict[str, Any], device: torch.device) -> TrainerArm | PublicLoop:
    """The arm's trainer, or public loop, on its device."""
    if arm.run == "data-loader":
        return PublicLoop(config, device)
    torch.backends.cudnn.benchmark = arm.run == "cudnn-benchmark"
    return TrainerArm(build_trainer(config, device))


class TrainerArm:
    """Steps of dynfilt's Trainer through its own `fit`, on full batches."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.steps = 1
        reset_peak_memory(trainer.device)

    def prepare(self, seconds: float) -> dict[str, Any]:
        """Warm up, choose how many steps take about `seconds`, and say what a step is made of."""
        trainer = self.trainer
        with trainer.settings.autocast(trainer.device):
            path = name_formulations(trainer.model, trainer.data.image_shape, trainer.settings.batch_size)
        took: list[float] = []
        least = EAGER_STEPS + 2 if trainer.settings.cuda_graph else LEAST_WARMUP_STEPS  # the last is a replay
        while len(took) < least or (len(took) < WARMUP_STEPS and sum(took) < seconds):
            took.append(self._seconds(1))
        self.steps = max(1, round(seconds / took[-1]))
        flops, size = _work(self.trainer)
        return {"path": path, "images": self.trainer.settings.batch_size, "flops": flops, "bytes": size}

    def repetition(self) -> float:
        """Milliseconds a step."""
        return self._seconds(self.steps) / self.steps * 1e3

    def breakdown(self) -> dict[str, float]:
        """Milliseconds a step by part, median over some steps, each part waited for: the batch; forward, backward
        and update; all the rest of the loop. And that rest by itself, as `loop_alone_ms` has it."""
        count = max(3, min(MOST_CLOCKED_STEPS, self.steps // 2))
        rows = StepClock(self.trainer).steps(count)
        columns = zip(*((data, network, whole - data - network) for data, network, whole in rows), strict=True)
        medians = dict(zip(PARTS, map(statistics.median, columns), strict=True))
        return {**medians, LOOP_ALONE: loop_alone_ms(self.trainer, LOOP_STEPS)}

    def peak_mb(self) -> float:
        """Peak in MiB since the trainer was built: allocated on the GPU, or of the whole process on a CPU."""
        return peak_memory_mb(self.trainer.device)

    def _seconds(self, count: int) -> float:
        wait(self.trainer.device)
        started = time.perf_counter()
        fit_steps(self.trainer, count, lambda: None)
        wait(self.trainer.device)
        return time.perf_counter() - started


def _work(trainer: Trainer) -> tuple[float, float]:
    """FLOPs and least bytes of a training step in the canonical form.

    Three times the forward FLOPs, but no gradient of the images. Of each layer with FLOPs the output is written,
    read by the next, read again for a weight's gradient, and its own gradient written and read; of each parameter
    (float32) twice read, its gradient written and read, and it and the optimizer's state read and written.
    """
    batch = trainer.settings.batch_size
    layers = [cost for cost in count_layer_flops(trainer.model, trainer.data.image_shape) if sum(cost.flops.values())]
    flops = [sum(cost.flops.values()) for cost in layers]
    numbers = sum(torch.Size(cost.output_shape).numel() for cost in layers)
    item_bytes = 2 if trainer.settings.precision == "bfloat16" else 4
    parameters = list(trainer.model.parameters())
    states = sum(v.numel() for s in trainer.optimizer.state.values() for v in s.values() if isinstance(v, Tensor))
    traffic = 4 * (6 * sum(p.numel() for p in parameters) + 2 * states)
    return batch * (3 * sum(flops) - flops[0]), batch * 5 * numbers * item_bytes + traffic
