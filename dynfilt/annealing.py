"""Anneal the temperature of a network in your own training loop."""

from __future__ import annotations

from torch import nn

from dynfilt.layers.attention import fill_temperatures, temperature_buffers
from dynfilt.schedules import Linear, Progress


def anneal(
    network: nn.Module, step: int, *, steps: int, initial: float, final: float, buffer: str = "temperature"
) -> float:
    """Set every buffer of that name inside a network for training step `step`, 0-based, and return the value.

    It goes from `initial` to `final` in a straight line over the first `steps`, then stays; DY-Conv (arXiv 1912.03458)
    takes 30 to 1 over the first 10 epochs. A checkpoint holds the value. Raises ValueError when no layer has such a
    buffer, and unless steps, initial and final are positive.
    """
    buffers = temperature_buffers(network, buffer)
    if not buffers:
        names = sorted({name.rpartition(".")[2] for name, value in network.named_buffers() if value.numel() == 1})
        raise ValueError(
            f"no layer has a buffer {buffer!r} to anneal; single numbers here: {', '.join(names) or 'none'}"
        )
    value = Linear(initial, final, steps)(Progress(step, steps, steps_per_epoch=1))
    fill_temperatures(buffers, value)
    return value
