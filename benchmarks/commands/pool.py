"""Runs an hour: the jobs of a sweep in one process, against the same jobs in a queue and in a pool of processes."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.commands.step import names
from benchmarks.measuring.timing import NO_TIME, Deadline
from benchmarks.reporting.report import Result, Timing, require_any
from dynfilt.installation import PROJECT
from dynfilt.run.folder import RESULT
from dynfilt.train.settings import resolve_device

DEMO = ["-cd", "sweeps", "-cn", "demo"]
SEQUENTIAL, QUEUE = "sequential", "queue"
LAUNCHERS = {SEQUENTIAL: "basic", QUEUE: "queue"}
FIGURE = "runs an hour"
LONGEST_RUN_S = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--arms",
        type=names,
        default=[SEQUENTIAL, QUEUE, "2x1"],
        help=f"{SEQUENTIAL}, all in one process; {QUEUE}; SLOTSxTHREADS on a CPU, or jobs at once on a GPU, as 1,4,8 "
        "(default: sequential,queue,2x1)",
    )
    parser.add_argument("--jobs-per-slot", type=int, help="instead of the sweep's own seeds: seeds 0 .. slots * this")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--also",
        type=shlex.split,
        action="append",
        default=[],
        metavar="WORDS",
        help="words of a further sweep in quotation marks, timed in turn with the first",
    )
    parser.add_argument(
        "words",
        nargs="*",
        default=DEMO,
        help="words after `python run.py` that make a sweep, after -- (default: the demo)",
    )


def run(arguments: argparse.Namespace, deadline: Deadline) -> Result:
    """Time the whole command by each arm in turn; its milliseconds are those of one run of the sweep."""
    device = resolve_device(arguments.device)
    timings, commands = [], []
    for sweep in (arguments.words, *arguments.also):
        case = " ".join(["python run.py", *sweep])
        of_sweep = argparse.Namespace(**{**vars(arguments), "words": sweep})
        for arm in arguments.arms:
            timings.append(Timing(case, arm, "static" if arm == SEQUENTIAL else "ours", figures={FIGURE: []}))
            commands.append(_words(arm, of_sweep, device.type))
    for _ in range(arguments.repetitions):
        for number, (timing, words) in enumerate(zip(timings, commands, strict=True)):
            if timing.failure is None:
                timings[number] = _repeat(timing, words, deadline)
    require_any(timings)
    return Result("pool", device, timings)


def _words(arm: str, arguments: argparse.Namespace, device_type: str) -> list[str]:
    """The command's words for an arm. Raises ValueError for an arm that cannot be read."""
    words = [*arguments.words, f"trainer.device={device_type}", "tracking=off"]
    if arm in LAUNCHERS:
        return [*words, f"hydra/launcher={LAUNCHERS[arm]}"]
    if not (match := re.fullmatch(r"(\d+)(?:x(\d+))?", arm)):
        raise ValueError(f"--arms {arm}: must be {SEQUENTIAL}, {QUEUE}, SLOTSxTHREADS or a number of jobs at once")
    slots, threads = match[1], match[2]
    words += ["hydra/launcher=pool", f"hydra.launcher.{'slots_per_gpu' if device_type == 'cuda' else 'slots'}={slots}"]
    words += [f"hydra.launcher.threads={threads}"] if threads else []
    if arguments.jobs_per_slot:
        words.append(f"seed=range(0,{int(slots) * arguments.jobs_per_slot})")
    return words


def _repeat(timing: Timing, words: list[str], deadline: Deadline) -> Timing:
    """One more repetition of the whole command, in an empty output folder."""
    if not deadline.seconds_left():
        return timing if timing.ms else timing.failed(NO_TIME)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "run.py", *words, f"output_root={folder}"]
        started = time.perf_counter()
        try:
            limit = min(LONGEST_RUN_S, deadline.seconds_left())
            done = subprocess.run(
                command, cwd=PROJECT, capture_output=True, text=True, timeout=limit, env=os.environ, check=False
            )
        except subprocess.TimeoutExpired:
            return timing if timing.ms else timing.failed(NO_TIME)
        seconds = time.perf_counter() - started
        runs = len(list(Path(folder).rglob(RESULT)))
    if done.returncode or not runs:
        line = " ".join(done.stderr.strip().splitlines()[-1:])
        return timing.failed(line or "no run was finished")
    timing.ms.append(seconds * 1e3 / runs)
    timing.figures[FIGURE].append(3600 * runs / seconds)
    return timing
