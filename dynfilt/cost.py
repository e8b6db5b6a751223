"""What a model costs: parameters, FLOPs of its canonical form, latency, peak memory."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from dynfilt.layers.formulation import force_formulation

FLOP_BATCH = 64
LATENCY_RUNS = 30
LATENCY_WARMUP = 5


def count_parameters(model: nn.Module) -> int:
    """Numbers of the model that training may change."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def count_flops(model: nn.Module, image_shape: tuple[int, int, int]) -> float:
    """FLOPs of one forward pass for one image: twice the multiply-accumulates of convolutions and matrix products.

    image_shape: (C, H, W). Counted in the canonical form (mix the kernels, then one convolution an image),
    whatever formulation runs, on a batch of 64 and divided by it. Nothing is computed: the tensors are fake.
    """
    was_training = model.training
    model.eval()
    state, fake = model.state_dict(), FakeTensorMode()
    with fake, torch.no_grad():
        tensors: dict[str, Tensor] = {name: fake.from_tensor(tensor) for name, tensor in state.items()}
        images = torch.empty(FLOP_BATCH, *image_shape, device=next(model.parameters()).device)
        with force_formulation("grouped"), FlopCounterMode(display=False) as counter:
            functional_call(model, tensors, (images,))
    model.train(was_training)
    return counter.get_total_flops() / FLOP_BATCH


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


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring the peak anew: CUDA's counter, on Linux also the process's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Peak in MiB since the reset: memory allocated on the GPU, or resident memory of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    kilobytes = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kilobytes
