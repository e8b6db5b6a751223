"""A short loan of one GPU, used well: checks, speed, runs an hour, then studies, the most wanted first.

Each part leaves its result in --out as it ends. A part whose result is there is not done again, one that was cut off
is, and a study goes on where it stopped.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.commands import pool, replicas, step
from benchmarks.measuring.timing import NO_TIME, Deadline
from benchmarks.reporting.goals import goal_table
from benchmarks.reporting.report import REHEARSALS, RESULTS, Result, Timing, read_result, write_result
from benchmarks.reporting.tables import render, text_table
from dynfilt.installation import PROJECT
from dynfilt.run.provenance import device_name
from dynfilt.run.stopping import TRY_AGAIN
from dynfilt.train.settings import resolve_device

MINUTES = 9.0
PRINTED_LINES = 40
# Measured in this process, so that they share its imports and end by themselves when the time is over.
MEASURED: dict[str, Callable[[argparse.Namespace, Deadline], Result]] = {
    "step": step.run,
    "pool": pool.run,
    "replicas": replicas.run,
}
STEP = "step --seconds 0.5 --repetitions 3 data=cifar10_sample"
GRAPH = "trainer.cuda_graph=true"
COMPILED = f"trainer.compile=true {GRAPH}"
POOL_ARMS = "1,4,8,16,2"  # runs at once
# As many steps and evaluations as 20 epochs of CIFAR-10, on the bundled images.
LAB_RUN = (
    "-m model=dynamic_3x3 data=cifar10_sample trainer.epochs=485.6 trainer.evaluate_every_epochs=24.28 "
    f"{GRAPH} study=pool"
)


def _study(sweep: str, overrides: str = "") -> str:
    return f"run.py -cd sweeps -cn {sweep} hydra/launcher=pool output_root={{out}}/runs tracking=off {overrides}"


@dataclass(frozen=True)
class Part:
    """What is worth the time; `minutes` is what it needs at least. `command` is what follows `python -m benchmarks`,
    or `python` where it begins with `run.py` or `-m`; `small` is added to it in a rehearsal."""

    name: str
    minutes: float
    command: str
    small: str

    @property
    def is_study(self) -> bool:
        return self.command.startswith("run.py")


# A rehearsal has a CPU and seconds. bfloat16 is slow on many a CPU, and `plan` composes and checks the jobs of a study.
SMALL_STEP = "--seconds 0 --repetitions 1 --batch 4 --precision float32 --run eager"
# The networks of the study in one part; the others go the same way.
SMALL_TWINS = f"--models resnet18,dyconv_resnet18 {SMALL_STEP} model.stem=imagenet"
SMALLER_TWINS = f"--models resnet8 --formulation auto,grouped {SMALL_STEP} model/conv=dyconv model.stem=imagenet"
SMALL_RUN = "trainer=smoke trainer.batch_size=4 trainer.max_eval_images=4"
# Where pytest is missing: a compiled arm with other gradients on one batch than the eager model has is refused.
ONE_BATCH = Part(
    "one_batch",
    1.0,
    f"{STEP} --models static_3x3,dynamic_3x3 --precision float32,bfloat16 --run eager,graph,compiled,compiled-graph",
    SMALL_STEP,
)
PARTS = (
    Part("gpu_tests", 0.5, "-m pytest -q -m gpu -p no:cacheprovider --timeout 60", "--collect-only"),
    Part(
        "step_resnet18_512_compiled",
        0.8,
        f"{STEP} --network dyconv --batch 512 --precision bfloat16 --run compiled-graph",
        SMALLER_TWINS,
    ),
    Part("step_resnet18_512", 0.4, f"{STEP} --network dyconv --batch 512 --precision bfloat16", SMALL_TWINS),
    Part(
        "step_lab",
        0.3,
        f"{STEP} --network lab --run eager,graph",
        f"--models static_3x3,dynamic_3x3 {SMALL_STEP}",
    ),
    Part(
        "step_resnet18_128",
        0.5,
        f"{STEP} model.stem=imagenet --network dyconv --batch 128 --precision bfloat16 --run compiled-graph",
        SMALLER_TWINS,
    ),
    Part("pool_lab", 1.0, f"pool --arms {POOL_ARMS} --jobs-per-slot 1 --repetitions 1 -- {LAB_RUN}", SMALL_RUN),
    Part(
        "replicas_lab",
        0.3,
        "replicas --replicas 8",
        "--models static_1x1 --replicas 2 --batch 2 --repetitions 1",
    ),
    Part("lab_3x3", 1.0, _study("lab_3x3", GRAPH), f"model=dynamic_3x3 {SMALL_RUN}"),
    Part("label_guided", 1.0, _study("label_guided", GRAPH), f"model=label_guided_1x1 {SMALL_RUN}"),
    Part("dyconv_twins", 2.0, _study("dyconv_twins", COMPILED), "mode=plan"),
    Part("field_small", 1.0, _study("field_small"), "mode=plan"),
    Part(
        "dyconv_twins_cifar",
        2.0,
        _study("dyconv_twins", f"model.stem=cifar study=dyconv_twins_cifar {COMPILED}"),
        "mode=plan",
    ),
    Part("field", 2.0, _study("field", GRAPH), "mode=plan"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time limit (default: %(default)g)")
    parser.add_argument("--only", default="", help="only the parts whose names contain this; several with commas")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on a CPU: does everything run here?")
    where = "benchmarks/results/gpu, of a rehearsal benchmarks/results/rehearsals/gpu"
    parser.add_argument("--out", type=Path, help=f"folder of the results (default: {where})")
    parser.add_argument(
        "overrides", nargs="*", default=[], help="config for the studies, e.g. data.root=... seed=0,1,2"
    )


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Do the parts in their order; 0 when all that were begun succeeded. Their states and the goals are printed last.

    Raises ValueError where there is no GPU and no rehearsal is asked for, and for a time or a part that makes no sense.
    """
    arguments.device = "cpu" if arguments.rehearse else arguments.device
    if not arguments.rehearse and resolve_device(arguments.device).type != "cuda":
        raise ValueError("gpu needs a CUDA device; --rehearse tries every part on a CPU, at tiny sizes")
    deadline = Deadline.after_minutes(arguments.minutes)
    without_tests = importlib.util.find_spec("pytest") is None
    parts = [ONE_BATCH if part.name == "gpu_tests" and without_tests else part for part in PARTS]
    chosen = step.parts_with(arguments.only.split(","), [part.name for part in parts])
    out = arguments.out or (REHEARSALS if arguments.rehearse else RESULTS) / "gpu"
    arguments.out = out.resolve()  # commands run in the project's folder
    arguments.out.mkdir(parents=True, exist_ok=True)
    states: dict[str, str] = {}
    for part in parts:
        if part.name in chosen:
            states[part.name] = _do(part, arguments, parser, deadline)
            print(f"## {part.name}: {states[part.name]}; {deadline.seconds_left():.0f} s left", flush=True)
    print(f"\n{text_table(['part', 'state'], [list(state) for state in states.items()])}")
    print(f"\n{goal_table(timings_in(arguments.out), 'cuda')}")
    return 1 if any(state.startswith("failed") for state in states.values()) else 0


def _do(part: Part, arguments: argparse.Namespace, parser: argparse.ArgumentParser, deadline: Deadline) -> str:
    """Do one part, unless it is done or too little time is left; what came of it, in words."""
    if _is_done(part, arguments.out / f"{part.name}.json", device_name(resolve_device(arguments.device))):
        return "done before"
    if deadline.seconds_left() < (0.1 if arguments.rehearse else 60 * part.minutes):
        return NO_TIME
    words = _words(part, arguments, deadline)
    in_this_process = words[0] in MEASURED
    print(f"\n## {part.name}: python {'-m benchmarks ' * in_this_process}{' '.join(words)}\n", flush=True)
    started = time.monotonic()
    if in_this_process:
        failure = _measure(part, parser.parse_args(words), arguments, deadline)
    else:
        failure = _run(part, words, arguments, deadline)
    return failure or f"{time.monotonic() - started:.0f} s"


def _words(part: Part, arguments: argparse.Namespace, deadline: Deadline) -> list[str]:
    words = [word.format(out=arguments.out) for word in part.command.split()]
    if arguments.rehearse:
        words = [*(word for word in words if word not in COMPILED.split()), *part.small.split()]
        words += ["data=cifar10_sample", "seed=0"] if part.is_study else []
        words = ["2" if word == POOL_ARMS else word for word in words]
    if part.is_study:
        words += [f"trainer.device={'cpu' if arguments.rehearse else 'cuda'}"]
        words += [f"hydra.launcher.minutes={deadline.seconds_left() / 60:.2f}", *arguments.overrides]
    elif words[0] in MEASURED:
        words[1:1] = ["--device", arguments.device]
    if words[0] == "step":
        words.sort(key=lambda word: "=" in word)  # overrides last: argparse takes them in one place only
    return words


def _measure(part: Part, words: argparse.Namespace, arguments: argparse.Namespace, deadline: Deadline) -> str:
    """Measure in this process and write the result; what went wrong, in words."""
    try:
        result = MEASURED[words.command](words, deadline)
    except Exception as error:  # whatever ends one part, the others are still wanted
        return f"failed: {type(error).__name__}: {' '.join(str(error).split())}"
    finally:
        torch.cuda.empty_cache()  # the machine's peaks were measured here; the next parts need the memory
    write_result(result, arguments.out / f"{part.name}.json", arguments.commit)
    print(render(result))
    return ""


def _run(part: Part, words: Sequence[str], arguments: argparse.Namespace, deadline: Deadline) -> str:
    """Run a command until the deadline, with its output in a log; print its end; what went wrong, in words."""
    log = arguments.out / f"{part.name}.log"
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if part.name == "gpu_tests":
        words = [*words, *_files_of_gpu_tests()]
    command = [sys.executable, *words]
    with open(log, "w", encoding="utf-8") as file:
        try:
            limit = deadline.seconds_left() + 5
            options = {"cwd": PROJECT, "env": environment, "timeout": limit, "check": False}
            code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, **options).returncode
        except subprocess.TimeoutExpired:
            return f"failed: {NO_TIME}"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    print("\n".join(lines[-PRINTED_LINES:]))
    if part.name == "gpu_tests":
        device = device_name(resolve_device(arguments.device))
        content = {"summary": lines[-1:], "exit_code": code, "device": device}
        log.with_suffix(".json").write_text(json.dumps(content) + "\n")
    succeeded = code == 0 or (part.is_study and code == TRY_AGAIN)
    return "" if succeeded else f"failed with exit code {code}"


def _files_of_gpu_tests() -> list[str]:
    """Collecting all tests would take longer than these do."""
    files = sorted((PROJECT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(PROJECT)) for path in files if re.search(r"mark\.gpu\b", path.read_text())]


def _is_done(part: Part, path: Path, device: str) -> bool:
    """Whether a part's result of this device is there and whole: no test failed, no arm was cut off by the time."""
    if not path.exists():
        return False
    try:
        if part.name == "gpu_tests":
            found = json.loads(path.read_text())
            return found["exit_code"] == 0 and found.get("device") == device
        found = read_result(path)
        return found["machine"]["device"] == device and all(t.failure != NO_TIME for t in found["timings"])
    except ValueError:
        return False


def timings_in(folder: Path) -> list[Timing]:
    """All timings of the result files in a folder."""
    found: list[Timing] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found += read_result(path)["timings"]
        except ValueError:
            continue
    return found
