"""One layer forward and backward: each formulation against the public one (grouped) and the static twin."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.commands.step import names, require_known
from benchmarks.measuring.machine import Machine
from benchmarks.measuring.timing import NO_TIME, Deadline, extra_memory_mb, interleaved_ms
from benchmarks.reporting.report import Result, Timing, paired_ratios, require_any
from dynfilt.layers.formulation import FORMULATIONS, describe, force_formulation, record_formulations
from dynfilt.layers.mixture import conv2d_mixture
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.train.graphed_step import EAGER_STEPS, record_cuda_graph
from dynfilt.train.settings import resolve_device
from dynfilt.wording import one_line

ONES = (1, 1)
NUM_KERNELS = 4
PRECISIONS = ("float32", "bfloat16")
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}
COMPILE_MODES = {"compiled": "default", "max-autotune": "max-autotune-no-cudagraphs"}
RUNS = ("eager", *COMPILE_MODES, "graph")
REGRET = "/ fastest"
ROLES = {"static": "static", "grouped": "public", "auto": "ours"}
Step = Callable[[], None]


@dataclass(frozen=True)
class Shape:
    """A 3x3 layer: `batch` images of `size` x `size`; `mixture` says whether its filters are mixed from K kernels."""

    in_channels: int
    out_channels: int
    size: int
    batch: int
    mixture: bool

    @property
    def name(self) -> str:
        kind = f"DY-Conv K={NUM_KERNELS}" if self.mixture else "one filter an image"
        return f"{kind}, {self.in_channels} -> {self.out_channels}, {self.size}x{self.size}, batch {self.batch}"

    def work(self, dtype: torch.dtype) -> tuple[float, float]:
        """FLOPs and least bytes of forward and backward: mix the kernels, then one convolution.

        Images, outputs and filters are each read or written three times: once forward, twice for the gradients.
        """
        numbers = 3 * self.batch * self.size**2 * (self.in_channels + self.out_channels)
        filters = NUM_KERNELS if self.mixture else self.batch
        weights = self.in_channels * self.out_channels * 9
        macs = self.batch * self.size**2 * weights
        return 3 * 2 * macs, (numbers + 3 * filters * weights) * dtype.itemsize


# Stages of the published ResNet-18 on 32x32 images, of small networks with stems of stride 1 and 2, and with the cifar
# stem; each in batches from those of a small study to those of a GPU.
STAGES = ((64, 8), (128, 4), (256, 2), (512, 1), (16, 32), (32, 16), (16, 16), (32, 8), (64, 4))
STAGES += ((64, 32), (128, 16), (256, 8), (512, 4))
BATCHES = (32, 64, 128, 256, 512)
HOPELESS = 4  # times the fastest: not timed again with --all
SHAPES = [Shape(64, 1, 8, batch, mixture=False) for batch in (64, 128, 512)] + [
    Shape(channels, channels, size, 128, mixture=True) for channels, size in ((64, 32), (128, 16), (256, 8), (512, 4))
]


@dataclass(frozen=True)
class Setting:
    """How a shape is run: device, number format, memory layout, and eager, compiled or as a CUDA graph."""

    device: torch.device
    precision: str
    layout: str
    run: str

    @property
    def dtype(self) -> torch.dtype:
        return getattr(torch, self.precision)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", type=names, default=["float32"], help=",".join(PRECISIONS))
    parser.add_argument("--layout", type=names, default=["nchw"], help=",".join(LAYOUTS))
    parser.add_argument("--run", type=names, default=["eager"], help=",".join(RUNS))
    parser.add_argument("--only", default="", help="only shapes whose name contains this")
    parser.add_argument("--batch", type=int, help="instead of each shape's own")
    parser.add_argument("--all", action="store_true", help="all mixtures that networks have, to see the regret")


def run(arguments: argparse.Namespace, deadline: Deadline) -> Result:
    """Time every formulation of every shape, in turn within a round."""
    for option, allowed in (("precision", PRECISIONS), ("layout", LAYOUTS), ("run", RUNS)):
        require_known(f"--{option}", getattr(arguments, option), allowed)
    device = resolve_device(arguments.device)
    machine = Machine(device)
    every = [Shape(c, c, size, batch, mixture=True) for c, size in STAGES for batch in BATCHES]
    listed = every if arguments.all else SHAPES
    shapes = [replace(s, batch=arguments.batch or s.batch) for s in listed if arguments.only in s.name]
    timings = []
    for precision in arguments.precision:
        for layout in arguments.layout:
            for shape in dict.fromkeys(shapes):
                for way in arguments.run:
                    setting = Setting(device, precision, layout, way)
                    timings += _measure(shape, setting, arguments, machine, deadline)
    require_any(timings)
    regrets = [statistics.median(timing.figures[REGRET]) for timing in timings if timing.figures.get(REGRET)]
    worst = {"largest regret": max(regrets)} if regrets else {}
    return Result("layers", device, timings, {**machine.facts(), **worst})


def _measure(
    shape: Shape, setting: Setting, arguments: argparse.Namespace, machine: Machine, deadline: Deadline
) -> list[Timing]:
    case = f"{shape.name}, {setting.precision}, {setting.layout}"
    floor_ms = machine.floor_ms(*shape.work(setting.dtype), setting.dtype)
    torch.compiler.reset()  # shapes and formulations share code, and only so many variants of it are kept
    timings, steps, took = {}, {}, {}
    for candidate in _candidates(shape, setting):
        name = candidate.name
        timing = Timing(case, name, ROLES.get(name, "other"), setting.run, images=shape.batch, floor_ms=floor_ms)
        started = time.perf_counter()
        try:
            path, steps[name], memory = candidate.prepare(setting, deadline)
            took[name] = time.perf_counter() - started
            timings[name] = replace(timing, path=path, peak_mb=memory)
        except Exception as error:  # out of memory, a kernel that does not exist, a compiler's own
            steps.pop(name, None)
            timings[name] = replace(timing, failure=f"{type(error).__name__}: {one_line(error)}")
    hopeless = HOPELESS * min(took.values(), default=0.0) if arguments.all else float("inf")
    for name in [name for name in took if name != "auto" and took[name] > hopeless]:
        del steps[name]
        timings[name] = replace(timings[name], failure=f"over {HOPELESS} times the fastest")
    for name, ms in interleaved_ms(steps, setting.device, arguments.rounds, deadline).items():
        timings[name] = replace(timings[name], ms=ms, failure=None if ms else NO_TIME)
    if timings["auto"].ms:
        timings["auto"] = replace(timings["auto"], figures={REGRET: _regret(timings)})
    return list(timings.values())


def _regret(timings: dict[str, Timing]) -> list[float]:
    """How many times as long as the fastest formulation `auto` takes, repetition by repetition."""
    formulations = [timing for timing in timings.values() if timing.ms and timing.arm in FORMULATIONS]
    return paired_ratios(timings["auto"], min(formulations, key=lambda timing: statistics.median(timing.ms)))


@dataclass(frozen=True)
class Candidate:
    """A layer's forward pass, the formulation to force, and the tensors whose gradients are wanted."""

    name: str
    formulation: str
    forward: Callable[[], Tensor]
    inputs: list[Tensor]

    def prepare(self, setting: Setting, deadline: Deadline) -> tuple[str, Step, float]:
        """The path it takes, its step (forward and backward) run as `setting` says, and the step's extra MiB.

        Raises TimeoutError after the deadline, and whatever running it raises.
        """
        if not deadline.seconds_left():
            raise TimeoutError(NO_TIME)
        with force_formulation(self.formulation), record_formulations() as taken:
            self.forward()
        step = self._step(setting.run)
        step()
        return describe(taken), step, extra_memory_mb(step, setting.device)

    def _step(self, way: str) -> Step:
        forward = self.forward
        if way in COMPILE_MODES:
            forward = torch.compile(self.forward, mode=COMPILE_MODES[way], dynamic=False)

        def step() -> None:
            with force_formulation(self.formulation):
                y = forward()
                torch.autograd.grad(y, self.inputs, torch.ones_like(y))

        if way != "graph":
            return step
        for _ in range(EAGER_STEPS):  # libraries set themselves up, which cannot be recorded
            step()
        return record_cuda_graph(step, self.inputs[0].device)


def _candidates(shape: Shape, setting: Setting) -> list[Candidate]:
    options: dict[str, Any] = {"device": setting.device, "dtype": setting.dtype}
    images = torch.randn(shape.batch, shape.in_channels, shape.size, shape.size, **options)
    x = images.to(memory_format=LAYOUTS[setting.layout]).requires_grad_()
    kernel = torch.randn(shape.out_channels, shape.in_channels, 3, 3, **options).requires_grad_()
    static = Candidate("static", "auto", lambda: F.conv2d(x, kernel, padding=1), [x, kernel])
    if shape.mixture:
        kernels = torch.randn(NUM_KERNELS, *kernel.shape, **options).requires_grad_()
        pi = torch.rand(shape.batch, NUM_KERNELS, device=setting.device).requires_grad_()

        def mixed() -> Tensor:
            return conv2d_mixture(x, kernels, pi, None, ONES, ONES, ONES, 1)

        own = ("per_image",) if setting.device.type == "cuda" else ()
        forms = ("grouped", "auto", "chunked", "outputs", "stacked", "inputs", *own)
        return [static, *(Candidate(form, form, mixed, [x, kernels, pi]) for form in forms)]
    weight = torch.randn(shape.batch, *kernel.shape, **options).requires_grad_()

    def per_sample() -> Tensor:
        return conv2d_per_sample(x, weight, padding=1)

    def shared() -> Tensor:
        return conv2d_per_sample(x, kernel.expand(shape.batch, *kernel.shape), padding=1)

    arms = [Candidate(form, form, per_sample, [x, weight]) for form in ("grouped", "auto", "taps")]
    return [static, Candidate("static, taps", "taps", shared, [x, kernel]), *arms]
