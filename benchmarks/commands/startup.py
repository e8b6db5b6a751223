"""From the command to the first training step on the bundled sample, as a user waits for it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring.timing import NO_TIME, Deadline
from benchmarks.reporting.report import Result, Timing, require_any
from dynfilt.train.settings import resolve_device

PROJECT = Path(__file__).resolve().parents[2]
FIRST_STEP = ("data=cifar10_sample", "trainer=smoke", "trainer.max_steps=1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repetitions", type=int, default=5)


def run(arguments: argparse.Namespace, deadline: Deadline) -> Result:
    """Seconds of `python run.py --help` and of a whole run of one training step, each in a process of its own."""
    device = resolve_device(arguments.device)
    commands = {
        "python run.py --help": (["--help"], ""),
        "to the evaluation after the first step": ([*FIRST_STEP, f"trainer.device={device}"], "  epoch "),
    }
    timings = [Timing("start-up", name, "ours") for name in commands]
    for _ in range(arguments.repetitions):
        for index, (words, line) in enumerate(commands.values()):
            if deadline.seconds_left() and timings[index].failure is None:
                timings[index] = _repeat(timings[index], words, line)
    timings = [t if t.ms or t.failure else Timing(t.case, t.arm, t.role, failure=NO_TIME) for t in timings]
    require_any(timings)
    return Result("startup", device, timings)


def _repeat(timing: Timing, words: list[str], line: str) -> Timing:
    """One more repetition: until a line that holds `line` is printed, with `` until the end."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*words, f"output_root={folder}"] if line else words
        started = time.perf_counter()
        seen = None
        with subprocess.Popen(
            [sys.executable, "run.py", *words], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as command:
            assert command.stdout is not None and command.stderr is not None
            for printed in command.stdout:
                if line and line in printed:
                    seen = time.perf_counter() - started
            complaint = command.stderr.read().strip().splitlines()
    seconds = seen if line else time.perf_counter() - started
    if command.returncode != 0 or seconds is None:
        return Timing(timing.case, timing.arm, timing.role, failure=" ".join(complaint[-1:]) or "printed no result")
    timing.ms.append(seconds * 1e3)
    return timing
