"""From the command to the first training step on the bundled sample, as a user waits for it."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Result, spread, text_table

PROJECT = Path(__file__).resolve().parents[1]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repetitions", type=int, default=5)


def run(arguments: argparse.Namespace) -> Result:
    """Seconds of `python run.py --help` and of a whole run of one training step, each in a process of its own."""
    samples: dict[str, list[float]] = {"help": [], "first step": []}
    for _ in range(arguments.repetitions):
        samples["help"].append(_seconds(["--help"]))
        with tempfile.TemporaryDirectory() as folder:
            samples["first step"].append(_seconds_to_first_step(folder, arguments.device))
    rows = [{"what": what, "seconds": seconds} for what, seconds in samples.items()]
    table = text_table(
        ["what", "n", "seconds"], [[what, str(len(seconds)), spread(seconds, 2)] for what, seconds in samples.items()]
    )
    return Result("startup", arguments.device, rows, table)


def _seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "run.py", *arguments], cwd=PROJECT, check=True, capture_output=True)
    return time.perf_counter() - started


def _seconds_to_first_step(folder: str, device: str) -> float:
    """Until the line of the evaluation that follows the first step of a run."""
    command = [
        *(sys.executable, "run.py", "data=cifar10_sample", "trainer=smoke", "trainer.max_steps=1"),
        *(f"trainer.device={device}", f"output_root={folder}"),
    ]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        assert run.stdout is not None
        seconds = None
        for line in run.stdout:
            if "  epoch " in line:
                seconds = time.perf_counter() - started
    if seconds is None or run.returncode != 0:
        raise ValueError(f"the run did not train: {' '.join(command)}")
    return seconds
