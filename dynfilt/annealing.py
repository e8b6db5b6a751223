"""Anneal the temperature of a network in your own training loop."""

from __future__ import annotations

from torch import Tensor, nn

from dynfilt.layers.attention import fill_temperatures, temperature_buffers
from dynfilt.schedules import Linear, Progress

COUNT_OF_BATCH_NORM = "num_batches_tracked"


def anneal(
    network: nn.Module, step: int, *, steps: int, initial: float, final: float, buffer: str = "temperature"
) -> float:
    """Set every buffer of that name inside a network for training step `step`, 0-based, and return the value.

    It goes from `initial` to `final` in a straight line over the first `steps`, then stays; DY-Conv (arXiv 1912.03458)
    takes 30 to 1 over the first 10 epochs. A checkpoint holds the value. Raises ValueError when no layer has such a
    buffer, for a step below 0, and unless steps, initial and final are positive.
    """
    if step < 0 or not steps > 0:
        raise ValueError(f"step={step}, steps={steps}: step must be 0 or greater and steps must be > 0")
    buffers = scheduled_buffers(network, buffer)
    value = Linear(initial, final, steps)(Progress(step, steps, steps_per_epoch=1))
    fill_temperatures(buffers, value)
    return value


def scheduled_buffers(network: nn.Module, name: str) -> list[Tensor]:
    """Every buffer of that name inside a network. Raises ValueError, with what there is, when no layer has one."""
    buffers = temperature_buffers(network, name)
    if not buffers:
        single = {path.rpartition(".")[2] for path, value in network.named_buffers() if value.numel() == 1}
        names = ", ".join(sorted(single - {COUNT_OF_BATCH_NORM}))
        raise ValueError(f"no layer has a buffer {name!r} to anneal; single numbers here: {names or 'none'}")
    return buffers
