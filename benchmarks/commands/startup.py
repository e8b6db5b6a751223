"""From the command, or from a free slot, to the first training step on the bundled sample, as a user waits for it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

from benchmarks.measuring.timing import NO_TIME, Deadline
from benchmarks.reporting.report import Result, Timing, require_any
from dynfilt.installation import PROJECT
from dynfilt.train.settings import resolve_device

FIRST_STEP = ("data=cifar10_sample", "trainer=smoke", "trainer.max_steps=1")
EVALUATED = "  epoch "


@dataclass(frozen=True)
class Wait:
    """Words after `python run.py`, and the parts of printed lines between which a user waits: by default from the
    command to its end."""

    words: list[str]
    since: str = ""
    until: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repetitions", type=int, default=5)


def run(arguments: argparse.Namespace, deadline: Deadline) -> Result:
    """Seconds of `python run.py --help`, of a run until its first training step has been evaluated, and of a sweep's
    second job from the line on the end of the first until the same, each command in a process of its own."""
    device = resolve_device(arguments.device)
    first_step = [*FIRST_STEP, f"trainer.device={device}"]
    commands = {
        "python run.py --help": Wait(["--help"]),
        "to the evaluation after the first step": Wait(first_step, until=EVALUATED),
    }
    for tracking in ("auto", "off"):
        words = ["-m", *first_step, "seed=0,1", f"tracking={tracking}"]
        commands[f"from a job's end to the next one's, tracking={tracking}"] = Wait(words, "[1/2] ", EVALUATED)
    timings = [Timing("start-up", name, "ours") for name in commands]
    for _ in range(arguments.repetitions):
        for index, wait in enumerate(commands.values()):
            if deadline.seconds_left() and timings[index].failure is None:
                timings[index] = _repeat(timings[index], wait)
    timings = [t if t.ms or t.failure else t.failed(NO_TIME) for t in timings]
    require_any(timings)
    return Result("startup", device, timings)


def _repeat(timing: Timing, wait: Wait) -> Timing:
    """One more repetition."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*wait.words, f"output_root={folder}"] if wait.until else wait.words
        started = time.perf_counter()
        seen = None
        with subprocess.Popen(
            [sys.executable, "run.py", *words], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as command:
            assert command.stdout is not None and command.stderr is not None
            for printed in command.stdout:
                if wait.since and wait.since in printed:
                    started, seen = time.perf_counter(), None
                elif wait.until and wait.until in printed and seen is None:
                    seen = time.perf_counter() - started
            complaint = command.stderr.read().strip().splitlines()
    seconds = seen if wait.until else time.perf_counter() - started
    if command.returncode != 0 or seconds is None:
        return timing.failed(" ".join(complaint[-1:]) or "printed no result")
    timing.ms.append(seconds * 1e3)
    return timing
