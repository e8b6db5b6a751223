"""Arms in processes of their own that take turns, so that each repetition sees all of them on the same machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.measuring.arm import Arm
from benchmarks.measuring.arm_process import ArmFailed, ArmProcess, NoAnswer
from benchmarks.measuring.timing import NO_TIME, Deadline

LONGEST_PREPARATION_S = 900.0


@dataclass
class Turn:
    """One arm's process and what it has said so far."""

    arm: Arm
    process: ArmProcess | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)
    peak_mb: float | None = None
    failure: str | None = None

    def ask(self, request: str) -> Any:
        """The answer of the arm, None after a failure, which ends it."""
        self.start(request)
        return self.take()

    def start(self, request: str, *arguments: Any) -> None:
        """Let the arm begin with a request."""
        if self.process is not None:
            try:
                self.process.start(request, *arguments)
            except ArmFailed as error:
                self.fail(str(error))

    def take(self, seconds: float = LONGEST_PREPARATION_S) -> Any:
        """The answer to what was started, None after a failure."""
        if self.process is None:
            return None
        try:
            return self.process.answer(seconds)
        except NoAnswer as error:
            self.fail(NO_TIME if seconds < LONGEST_PREPARATION_S else str(error))  # less is what a deadline has left
            return None
        except ArmFailed as error:
            self.fail(str(error))
            return None

    def fail(self, reason: str) -> None:
        """End the arm; what it has measured before does not count."""
        self.failure, self.ms, self.figures = reason, [], {}
        self.close()

    def close(self) -> None:
        """End the arm's process."""
        if self.process is not None:
            self.process.close()
            self.process = None


class Turns:
    """Measures arms side by side: prepared first, then one repetition of each in turn."""

    def __init__(self, arms: list[Arm], device: torch.device, seconds: float, deadline: Deadline) -> None:
        self.device = device
        self.seconds = seconds
        self.deadline = deadline
        self.all = [Turn(arm) for arm in arms]

    def take(self, repetitions: int) -> None:
        """So many repetitions of every arm; whole rounds only, none begun after the deadline."""
        try:
            self._prepare()
            for _ in range(repetitions):
                if not self.deadline.seconds_left():
                    break
                for turn in self.all:
                    self._repeat(turn)
            for turn in self.all:
                turn.peak_mb = turn.ask("peak_mb")
                if not turn.ms and turn.failure is None:
                    turn.failure = NO_TIME
        finally:
            for turn in self.all:
                turn.close()

    def _prepare(self) -> None:
        """On CUDA all at once: it is compiling that takes long; except where formulations are timed to choose."""
        alone = [turn for turn in self.all if self.device.type == "cpu" or turn.arm.run == "max-autotune"]
        together = [turn for turn in self.all if turn not in alone]
        for group in ([together] if together else []) + [[turn] for turn in alone]:
            for turn in group:
                if not self.deadline.seconds_left():
                    turn.failure = NO_TIME
                    continue
                turn.process = ArmProcess(turn.arm, self.device)
                turn.start("prepare", self.seconds)
            for turn in group:
                # What is left is shared with the measuring.
                turn.facts = turn.take(min(LONGEST_PREPARATION_S, 0.5 * self.deadline.seconds_left())) or {}

    def _repeat(self, turn: Turn) -> None:
        ms = turn.ask("repetition")
        if ms is None:
            return
        turn.ms.append(ms)
        if turn.arm.role in ("static", "ours"):
            for name, value in (turn.ask("breakdown") or {}).items():
                turn.figures.setdefault(name, []).append(value)
