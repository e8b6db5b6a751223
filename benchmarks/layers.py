"""One layer forward and backward: each formulation against the public one (grouped) and the static twin."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.report import Result, text_table
from benchmarks.timing import extra_memory_mb, interleaved_ms, peak_bandwidth, peak_flops
from dynfilt.layers.formulation import force_formulation
from dynfilt.layers.mixture import conv2d_mixture
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.train.settings import resolve_device

ONES = (1, 1)
NUM_KERNELS = 4


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


SHAPES = [Shape(64, 1, 8, batch, mixture=False) for batch in (64, 128, 512)] + [
    Shape(channels, channels, size, 128, mixture=True) for channels, size in ((64, 32), (128, 16), (256, 8), (512, 4))
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--only", default="", help="only shapes whose name contains this")


def run(arguments: argparse.Namespace) -> Result:
    """Time every formulation of every shape, in turn within a round."""
    device, dtype = resolve_device(arguments.device), getattr(torch, arguments.dtype)
    machine = {"peak_tflops": peak_flops(device, dtype) / 1e12, "peak_gb_s": peak_bandwidth(device) / 1e9}
    rows = []
    for shape in [shape for shape in SHAPES if arguments.only in shape.name]:
        memory_format = torch.channels_last if arguments.channels_last else torch.contiguous_format
        steps = _candidates(shape, device, dtype, memory_format)
        memory = {name: extra_memory_mb(step, device) for name, step in steps.items()}
        samples = interleaved_ms(steps, device, arguments.rounds, warmup=1)
        floor_ms = _floor_ms(shape, machine, dtype)
        rows += [
            {"shape": shape.name, "formulation": name, "ms": ms, "extra_memory_mb": memory[name], "floor_ms": floor_ms}
            for name, ms in samples.items()
        ]
    title = f"{arguments.dtype}, peak {machine['peak_tflops']:.2f} TFLOP/s, {machine['peak_gb_s']:.0f} GB/s"
    return Result("layers", arguments.device, [{"machine": machine}, *rows], f"{title}\n\n{_table(rows)}")


def _candidates(
    shape: Shape, device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format
) -> dict[str, Callable[[], object]]:
    images = torch.randn(shape.batch, shape.in_channels, shape.size, shape.size, device=device, dtype=dtype)
    x = images.to(memory_format=memory_format).requires_grad_()
    kernel = torch.randn(shape.out_channels, shape.in_channels, 3, 3, device=device, dtype=dtype).requires_grad_()
    static = {"static": lambda: _step(F.conv2d(x, kernel, padding=1), [x, kernel])}
    if shape.mixture:
        kernels = torch.randn(NUM_KERNELS, *kernel.shape, device=device, dtype=dtype).requires_grad_()
        pi = torch.rand(shape.batch, NUM_KERNELS, device=device).requires_grad_()
        names, inputs = ["grouped", "auto", "chunked", "outputs", "inputs"], [x, kernels, pi]
        layer = lambda: conv2d_mixture(x, kernels, pi, None, ONES, ONES, ONES, 1)  # noqa: E731
    else:
        weight = torch.randn(shape.batch, *kernel.shape, device=device, dtype=dtype).requires_grad_()
        names, inputs = ["grouped", "auto", "taps"], [x, weight]
        layer = lambda: conv2d_per_sample(x, weight, padding=1)  # noqa: E731
        static["static, taps"] = lambda: _step(
            conv2d_per_sample(x, kernel.expand(shape.batch, *kernel.shape), padding=1), [x, kernel]
        )
    return static | {name: _forced(name, layer, inputs) for name in names}


def _forced(name: str, layer: Callable[[], Tensor], inputs: list[Tensor]) -> Callable[[], object]:
    def step() -> None:
        with force_formulation(name):
            _step(layer(), inputs)

    return step


def _step(y: Tensor, inputs: list[Tensor]) -> None:
    torch.autograd.grad(y, inputs, torch.ones_like(y))


def _floor_ms(shape: Shape, machine: dict[str, float], dtype: torch.dtype) -> float:
    """What forward and backward of the canonical form cost at the machine's measured peak, by the higher bound."""
    macs = shape.batch * shape.size**2 * shape.in_channels * shape.out_channels * 9
    activations = shape.batch * shape.size**2 * (shape.in_channels + shape.out_channels)
    filters = NUM_KERNELS if shape.mixture else shape.batch
    numbers = 3 * activations + 3 * filters * shape.in_channels * shape.out_channels * 9
    compute = 3 * 2 * macs / (machine["peak_tflops"] * 1e12)
    memory = numbers * dtype.itemsize / (machine["peak_gb_s"] * 1e9)
    return max(compute, memory) * 1e3


def _table(rows: list[dict[str, Any]]) -> str:
    header = ["layer", "formulation", "n", "ms, median (min .. max)", "/ static", "/ grouped", "extra MB", "floor, ms"]
    medians = {(row["shape"], row["formulation"]): statistics.median(row["ms"]) for row in rows}
    cells = []
    for row in rows:
        ms, shape = medians[row["shape"], row["formulation"]], row["shape"]
        cells.append(
            [
                *(shape, row["formulation"], str(len(row["ms"]))),
                f"{ms:.2f} ({min(row['ms']):.2f} .. {max(row['ms']):.2f})",
                *(f"{ms / medians[shape, other]:.2f}" for other in ("static", "grouped")),
                *(f"{row['extra_memory_mb']:.0f}", f"{row['floor_ms']:.2f}"),
            ]
        )
    return text_table(header, cells)
