"""An arm of a training benchmark: a config with a way to run it, in a process of its own.

So the peak of its memory is its own, a crash ends nothing else, and arms can still take turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from dynfilt.config.compose import compose

Mode = Literal[
    "eager",
    "nchw",
    "cudnn-benchmark",
    "compiled",
    "reduce-overhead",
    "max-autotune",
    "graph",
    "compiled-graph",
    "data-loader",
]
COMPILE = "trainer.compile=true"
GRAPH = "trainer.cuda_graph=true"
# What a way to run adds to the config; `cudnn-benchmark` and `data-loader` are set up in training.py.
RUN_OVERRIDES: dict[Mode, tuple[str, ...]] = {
    "eager": (),
    "nchw": ("trainer.channels_last=false",),
    "cudnn-benchmark": (),
    "compiled": (COMPILE,),
    "reduce-overhead": (COMPILE, "trainer.compile_mode=reduce-overhead"),
    "max-autotune": (COMPILE, "trainer.compile_mode=max-autotune"),
    "graph": (GRAPH,),
    "compiled-graph": (COMPILE, GRAPH),
    "data-loader": ("trainer.channels_last=false",),
}
# A benchmark's trainer never evaluates and never ends by itself.
ENDLESS = ("trainer.epochs=1000000", "trainer.evaluate_every_epochs=1000000", "trainer.checkpoint_every_seconds=1e9")


@dataclass(frozen=True)
class Arm:
    """One line of a training table; `overrides` as on run.py's command line. `path` names what is not seen from
    outside, `canonical` is false where the network computes more than its function asks for."""

    name: str
    role: str
    overrides: tuple[str, ...]
    run: Mode = "eager"
    path: str | None = None
    canonical: bool = True

    def config(self, device: torch.device) -> dict[str, Any]:
        """The composed config. Raises ValueError-like errors of Hydra for an unknown key or choice."""
        return compose([*RUN_OVERRIDES[self.run], *self.overrides, *ENDLESS, f"trainer.device={device}"])
