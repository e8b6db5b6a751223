"""An arm of a training benchmark: a config with a way to run it, in a process of its own.

So the peak of its memory is its own, a crash ends nothing else, and arms can still take turns.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch

from dynfilt.config import compose
from dynfilt.layers.formulation import force_formulation

Run = Literal["eager", "nchw", "cudnn-benchmark", "compiled", "reduce-overhead", "max-autotune", "graph", "data-loader"]
COMPILE = "trainer.compile=true"
# What a way to run adds to the config; `cudnn-benchmark`, `graph` and `data-loader` are set up in training.py.
RUN_OVERRIDES: dict[Run, tuple[str, ...]] = {
    "eager": (),
    "nchw": ("trainer.channels_last=false",),
    "cudnn-benchmark": (),
    "compiled": (COMPILE,),
    "reduce-overhead": (COMPILE, "trainer.compile_mode=reduce-overhead"),
    "max-autotune": (COMPILE, "trainer.compile_mode=max-autotune"),
    "graph": (),
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
    run: Run = "eager"
    path: str | None = None
    canonical: bool = True

    def config(self, device: torch.device) -> dict[str, Any]:
        """The composed config. Raises ValueError-like errors of Hydra for an unknown key or choice."""
        return compose([*RUN_OVERRIDES[self.run], *self.overrides, *ENDLESS, f"trainer.device={device}"])


class ArmFailed(Exception):
    """An arm's process raised, died or did not answer in time; the text is one line."""


class ArmProcess:
    """An arm in its process. `start` a request, then take its `answer`; other arms may work in between."""

    def __init__(self, arm: Arm, device: torch.device) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, arm, str(device), torch.get_num_threads()))
        self._process.start()
        theirs.close()

    def start(self, request: str, *arguments: Any) -> None:
        """Have a method of the arm called. Raises ArmFailed when the process is gone."""
        try:
            self._connection.send((request, arguments))
        except OSError as error:
            raise ArmFailed(self._death()) from error

    def answer(self, seconds: float) -> Any:
        """What the method returned. Raises ArmFailed when it raised, or did not return within `seconds`."""
        try:
            # A pipe cannot wait for longer than a C int of milliseconds.
            if not self._connection.poll(min(seconds, 1e6)):
                raise ArmFailed(f"no answer within {seconds:.0f} s")
            succeeded, content = self._connection.recv()
        except (EOFError, OSError) as error:
            raise ArmFailed(self._death()) from error
        if not succeeded:
            raise ArmFailed(content)
        return content

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(3)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _death(self) -> str:
        self._process.join(5)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"the process was ended by {signal.Signals(-code).name} (out of memory?)"
        return f"the process ended with code {code}"


def serve(connection: Connection, arm: Arm, device_name: str, threads: int) -> None:
    """The arm's process: build what the config describes and answer requests until the other end closes."""
    torch.set_num_threads(threads)
    arm_at_work = None
    with contextlib.ExitStack() as forced:
        while True:
            try:
                request, arguments = connection.recv()
            except (EOFError, KeyboardInterrupt):
                return
            try:
                if arm_at_work is None:
                    from benchmarks.training import build

                    config = arm.config(torch.device(device_name))
                    forced.enter_context(force_formulation(config["trainer"]["formulation"]))
                    arm_at_work = build(arm, config, torch.device(device_name))
                answer = True, getattr(arm_at_work, request)(*arguments)
            except Exception as error:  # an arm may fail in any way; the others go on
                answer = False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            connection.send(answer)
