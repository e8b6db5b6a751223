"""The process that an arm runs in, and the conversation with it."""

from __future__ import annotations

import contextlib
import signal
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.measuring.arm import Arm
from dynfilt.launch.pool import process_context, start
from dynfilt.layers.formulation import force_formulation
from dynfilt.wording import one_line


class ArmFailed(Exception):
    """An arm's process raised, died or did not answer in time; the text is one line."""


class NoAnswer(ArmFailed):
    """An arm's process did not answer in time."""


class ArmProcess:
    """An arm in its process. `start` a request, then take its `answer`; other arms may work in between."""

    def __init__(self, arm: Arm, device: torch.device) -> None:
        context = process_context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, arm, str(device), torch.get_num_threads()))
        start(self._process)
        theirs.close()

    def start(self, request: str, *arguments: Any) -> None:
        """Have a method of the arm called. Raises ArmFailed when the process is gone."""
        try:
            self._connection.send((request, arguments))
        except OSError as error:
            raise ArmFailed(self._death()) from error

    def answer(self, seconds: float) -> Any:
        """What the method returned. Raises ArmFailed when it raised, NoAnswer when it takes more than `seconds`."""
        try:
            # A pipe cannot wait for longer than a C int of milliseconds.
            if not self._connection.poll(min(seconds, 1e6)):
                raise NoAnswer(f"no answer within {seconds:.0f} s")
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
                    from benchmarks.measuring.training import build

                    config = arm.config(torch.device(device_name))
                    forced.enter_context(force_formulation(config["trainer"]["formulation"]))
                    arm_at_work = build(arm, config, torch.device(device_name))
                answer = True, getattr(arm_at_work, request)(*arguments)
            except Exception as error:  # an arm may fail in any way; the others go on
                answer = False, f"{type(error).__name__}: {one_line(error)}"
            connection.send(answer)
