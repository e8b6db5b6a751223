"""A short loan of one GPU, used well: checks, speed, runs an hour, then studies, the most wanted first.

Each part is a command of its own, which leaves its result in --out as it goes. A part whose result is there is not
done again, and a study goes on where it stopped.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring.timing import Deadline
from benchmarks.reporting.goals import goal_table
from benchmarks.reporting.report import RESULTS, Timing, read_result
from dynfilt.run.stopping import TRY_AGAIN

PROJECT = Path(__file__).resolve().parents[2]
MINUTES = 9.0
PRINTED_LINES = 40
QUICK = "--seconds 0.5 --repetitions 3"
STEP = f"-m benchmarks step {QUICK} --device {{device}} --out {{out}}/{{name}}.json data=cifar10_sample"
POOL = "-m benchmarks pool --device {device} --out {out}/{name}.json"
STUDY = "run.py -cd sweeps -cn {name} hydra/launcher=pool output_root={out}/runs tracking=off trainer.device={type}"
GRAPH = "trainer.cuda_graph=true"
COMPILED = f"trainer.compile=true {GRAPH}"


@dataclass(frozen=True)
class Part:
    """One command after `python`; `minutes` is what it needs at least, `needs_data` whether it reads all of CIFAR."""

    name: str
    minutes: float
    command: str
    needs_data: bool = False

    @property
    def is_study(self) -> bool:
        return self.command.startswith("run.py")


PARTS = (
    Part("gpu_tests", 0.5, "-m pytest -q -m gpu -p no:cacheprovider --timeout 60 tests"),
    Part(
        "step_resnet18_512_compiled",
        0.8,
        f"{STEP} --network dyconv --batch 512 --precision bfloat16 --run compiled-graph",
    ),
    Part("step_resnet18_512", 0.4, f"{STEP} --network dyconv --batch 512 --precision bfloat16"),
    Part("step_lab", 0.3, f"{STEP} --network lab --run eager,graph"),
    Part(
        "step_resnet18_128",
        0.5,
        f"{STEP} model.stem=imagenet --network dyconv --batch 128 --precision bfloat16 --run compiled-graph",
    ),
    Part("pool_lab", 1.0, f"{POOL} --arms 1,4,8,16 --jobs-per-slot 1 --repetitions 1 -- {{lab_run}}"),
    Part("lab_3x3", 1.0, f"{STUDY} {GRAPH}", needs_data=True),
    Part("label_guided", 1.0, f"{STUDY} {GRAPH}", needs_data=True),
    Part("dyconv_twins", 2.0, f"{STUDY} {COMPILED}", needs_data=True),
)
# As many steps and evaluations as 20 epochs of CIFAR-10, on the bundled images.
LAB_RUN = (
    "-m model=dynamic_3x3 data=cifar10_sample trainer.epochs=485.6 trainer.evaluate_every_epochs=24.28 "
    f"{GRAPH} study=pool"
)
# The same on a CPU, in seconds: does every part run?
REHEARSAL = {
    "step": "--seconds 0 --repetitions 2 --batch 4",
    "pool": "--arms 1x1,2x1 --jobs-per-slot 1",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time limit (default: %(default)g)")
    parser.add_argument("--only", default="", help="only the parts whose names contain this; several with commas")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on a CPU: does everything run here?")
    parser.add_argument(
        "--out", type=Path, default=RESULTS / "gpu", help="folder of the results (default: %(default)s)"
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], help="config for the studies, e.g. data.root=... seed=0,1,2"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do the parts in their order; 0 when all that were begun succeeded. The goals are printed last."""
    deadline = Deadline(60 * arguments.minutes)
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for part in PARTS:
        if arguments.only and not any(word in part.name for word in arguments.only.split(",")):
            continue
        state = _do(part, arguments, deadline)
        print(f"## {part.name}: {state}; {deadline.seconds_left():.0f} s left", flush=True)
        failed += [part.name] if state.startswith("failed") else []
    print(f"\n{goal_table(timings_in(arguments.out), 'cuda')}")
    return 1 if failed else 0


def _do(part: Part, arguments: argparse.Namespace, deadline: Deadline) -> str:
    """Run one part, unless it is done or too little time is left; what came of it, in words."""
    done = arguments.out / f"{part.name}.json"
    if done.exists() and not part.is_study:
        return "done before"
    if deadline.seconds_left() < (0 if arguments.rehearse else 60 * part.minutes):
        return "no time was left"
    if part.name == "gpu_tests" and importlib.util.find_spec("pytest") is None:
        return "pytest is not installed here"
    words = _words(part, arguments, deadline)
    print(f"\n## {part.name}: python {' '.join(words)}\n", flush=True)
    started = time.monotonic()
    code, printed = _run(words, arguments.out / f"{part.name}.log", deadline.seconds_left() + 5)
    seconds = time.monotonic() - started
    print(printed)
    if part.name == "gpu_tests":
        summary = printed.splitlines()[-1:]
        done.write_text(json.dumps({"summary": summary, "exit_code": code, "seconds": round(seconds, 1)}) + "\n")
    succeeded = code in (0, TRY_AGAIN) if part.is_study else code == 0
    return f"{seconds:.0f} s" if succeeded else f"failed with exit code {code}"


def _words(part: Part, arguments: argparse.Namespace, deadline: Deadline) -> list[str]:
    kind = "cpu" if arguments.rehearse else "cuda"
    text = part.command.format(device=arguments.device, type=kind, name=part.name, out=arguments.out, lab_run=LAB_RUN)
    words = text.split()
    if part.is_study:
        words += [f"hydra.launcher.minutes={deadline.seconds_left() / 60:.2f}", *arguments.overrides]
    if arguments.rehearse:
        words = _rehearsed(words)
    return words


def _rehearsed(words: list[str]) -> list[str]:
    """The words without what needs a GPU, at a size that takes seconds."""
    words = [word for word in words if word not in COMPILED.split()]
    if words[0] == "run.py":
        return [*words, "data=cifar10_sample", "trainer=smoke", "seed=0"]
    if words[1] == "pytest":
        return [*words, "--collect-only"]
    split = words.index("--") if "--" in words else len(words)
    options = REHEARSAL[words[2]].split()
    words = [re.sub(r"(compiled-)?graph", "eager", word) if words[2] == "step" else word for word in words]
    tail = [*words[split:], "trainer=smoke"] if "--" in words else [*words[split:]]
    return [*words[:split], *options, *tail]


def _run(words: Sequence[str], log: Path, seconds: float) -> tuple[int, str]:
    """Run a command with its output in a log; its exit code, 124 when it took too long, and the end of its output."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with open(log, "w", encoding="utf-8") as file:
        try:
            command = [sys.executable, *words]
            done = subprocess.run(
                command,
                cwd=PROJECT,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                timeout=seconds,
                check=False,
            )
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = 124
    return code, "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-PRINTED_LINES:])


def timings_in(folder: Path) -> list[Timing]:
    """All timings of the result files in a folder."""
    found: list[Timing] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found += read_result(path)["timings"]
        except ValueError:
            continue
    return found
