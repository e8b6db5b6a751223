"""The cost of a model: parameters, FLOPs of its canonical form, latency, peak memory."""

from __future__ import annotations

import contextlib
import copy
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from dynfilt.layers.formulation import describe, force_formulation, record_formulations

FLOP_BATCH = 64
LATENCY_RUNS = 30
LATENCY_WARMUP = 5
Seen = TypeVar("Seen")


def count_parameters(model: nn.Module) -> int:
    """Numbers of the model that training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True)
class LayerCost:
    """The cost of one module itself, without the modules inside it: FLOPs for one image by operation, and the
    shape of its output, without the batch dimension where it has one, empty where the output is no tensor."""

    name: str
    output_shape: tuple[int, ...]
    flops: dict[str, float]


def count_flops(model: nn.Module, image_shape: tuple[int, int, int]) -> float:
    """FLOPs of one forward pass for one image: twice the multiply-accumulates of convolutions and matrix products.

    image_shape: (C, H, W). Counted in the canonical form (mix the kernels, then one convolution an image),
    whatever formulation runs, on a batch of 64 and divided by it. Nothing is computed: the tensors are fake, but for a
    layer that looks at their numbers, which gets zeros.
    """
    return _watched(model, image_shape, FLOP_BATCH, _counting_flops).get_total_flops() / FLOP_BATCH


@contextmanager
def _counting_flops(model: nn.Module) -> Iterator[FlopCounterMode]:
    with force_formulation("grouped"), FlopCounterMode(display=False) as counter:
        yield counter


def count_layer_flops(model: nn.Module, image_shape: tuple[int, int, int]) -> list[LayerCost]:
    """The costs of all modules that run, in the order in which they end; their FLOPs add up to count_flops."""
    return list(_watched(model, image_shape, FLOP_BATCH, _counting_by_layer).values())


@contextmanager
def _counting_by_layer(model: nn.Module) -> Iterator[dict[str, LayerCost]]:
    costs: dict[str, LayerCost] = {}
    started: list[Counter[str]] = []
    inside: list[Counter[str]] = [Counter()]

    def so_far() -> Counter[str]:
        return Counter(
            {str(operation): flops for operation, flops in counter.get_flop_counts().get("Global", {}).items()}
        )

    def enter() -> None:
        started.append(so_far())
        inside.append(Counter())

    def leave(name: str, output: object) -> None:
        total = so_far() - started.pop()
        own = total - inside.pop()
        inside[-1].update(total)
        known = costs[name].flops if name in costs else {}
        flops = {key: known.get(key, 0.0) + own[key] / FLOP_BATCH for key in {**known, **own}}
        shape = tuple(output.shape) if isinstance(output, Tensor) else ()
        costs[name] = LayerCost(name, shape[1:] if shape[:1] == (FLOP_BATCH,) else shape, flops)

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_: enter()))
        handles.append(module.register_forward_hook(lambda _, inputs, output, name=name: leave(name, output)))
    try:
        with _counting_flops(model) as counter:
            yield costs
    finally:
        for handle in handles:
            handle.remove()


def _watched(
    model: nn.Module,
    image_shape: tuple[int, int, int],
    batch: int,
    watch: Callable[[nn.Module], AbstractContextManager[Seen]],
) -> Seen:
    """What `watch` has seen in a forward pass in eval mode: of fake images, else of zeros."""
    was_training = model.training
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    model.eval()
    try:
        with contextlib.suppress(Exception):
            layers = copy.deepcopy(model)  # one of them may keep what it makes of fake images
            with watch(layers) as seen:
                _forward_fake_images(layers, torch.Size((batch, *image_shape)), device)
                return seen
        with torch.no_grad(), watch(model) as seen:
            model(torch.zeros(batch, *image_shape, device=device))
            return seen
    finally:
        model.train(was_training)


def _forward_fake_images(model: nn.Module, shape: torch.Size, device: torch.device) -> None:
    # A constant of a layer that is no buffer may be real.
    state, fake = (*model.named_parameters(), *model.named_buffers()), FakeTensorMode(allow_non_fake_inputs=True)
    with fake, torch.no_grad():
        tensors: dict[str, Tensor] = {name: fake.from_tensor(tensor) for name, tensor in state}
        functional_call(model, tensors, (torch.empty(shape, device=device),))


@torch.inference_mode()
def measure_latency_ms(model: nn.Module, image_shape: tuple[int, int, int], device: torch.device) -> float:
    """Median milliseconds of one forward pass with one image, in eval mode, after a warm-up."""
    was_training = model.training
    model.eval()
    image = torch.zeros(1, *image_shape, device=device)
    times = []
    for _ in range(LATENCY_WARMUP + LATENCY_RUNS):
        started = time.perf_counter()
        model(image)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    model.train(was_training)
    return statistics.median(times[LATENCY_WARMUP:]) * 1e3


def name_formulations(model: nn.Module, image_shape: tuple[int, int, int], batch: int) -> str:
    """Name how many layers apply per-image filters to a batch by which formulation: `chunked x 15, outputs x 4`.

    The choice may depend on the dtype, so call it under training's autocast. Computes as little as `count_flops` does.
    """
    return describe(_watched(model, image_shape, batch, lambda _: record_formulations()))


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring the peak anew: CUDA's counter, on Linux also the process's.

    Where the system forbids that, as some containers do, the process's peak is that since its beginning.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Peak in MiB since the reset: memory allocated on the GPU, or resident memory of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    import resource  # not on Windows, where models are loaded but not trained

    kilobytes = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kilobytes


if __name__ == "__main__":
    print("error: what a network costs is printed by `python -m dynfilt.cost_twins model=resnet8`", file=sys.stderr)
    sys.exit(2)
