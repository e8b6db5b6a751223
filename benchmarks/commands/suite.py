"""Every benchmark, one after the other, within a time limit; each writes its file, the goals are printed last."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.commands import data, layers, startup, step
from benchmarks.measuring.timing import Deadline
from benchmarks.reporting.goals import goal_table
from benchmarks.reporting.report import REHEARSALS, RESULTS, Result, Timing, default_path, write_result
from benchmarks.reporting.tables import render
from dynfilt.train.settings import resolve_device

MINUTES_ON_CUDA = 9.0
RUN: dict[str, Callable[[argparse.Namespace, Deadline], Result]] = {
    "layers": layers.run,
    "step": step.run,
    "data": data.run,
    "startup": startup.run,
}
QUICK = "--seconds 0.5"
SMALL = "step --batch 128 --seconds 2 --run eager,nchw"
# File -> command, the most wanted first: what comes after the time limit is not measured.
PLANS = {
    "cpu": {
        "layers": "layers",
        "step": "step",
        "step_resnet8_cifar": f"{SMALL} --arm 'model=resnet8 model.stem=cifar' "
        "--arm 'model=resnet8 model.stem=cifar model/conv=dyconv'",
        "step_resnet8_stride2": f"{SMALL} --arm 'model=resnet8 model.stem=stride2' "
        "--arm 'model=resnet8 model.stem=stride2 model/conv=dyconv'",
        "step_resnet18_imagenet": f"{SMALL} --arm 'model=resnet18 model.stem=imagenet' "
        "--arm 'model=dyconv_resnet18 model.stem=imagenet'",
        "data": "data",
        "startup": "startup",
    },
    "cuda": {
        "step_dyconv_512": f"step --network dyconv --batch 512 --precision bfloat16 {QUICK} "
        "--run eager,compiled,compiled-graph",
        "step_lab": f"step --network lab --precision float32,bfloat16 {QUICK} "
        "--run eager,compiled,reduce-overhead,graph,compiled-graph",
        "step_dyconv_128": f"step --network dyconv --precision bfloat16,float32 {QUICK} --run eager,compiled",
        "layers": "layers --precision bfloat16,float32 --layout nhwc --run eager,graph --rounds 5",
        "data": "data --batch 512 --seconds 0.5",
        "step_label": f"step --network label {QUICK} --run eager,graph",
        "step_dyconv_512_tuned": f"step --network dyconv --batch 512 --precision bfloat16 {QUICK} "
        "--run cudnn-benchmark,reduce-overhead,max-autotune",
        "step_lab_tuned": f"step --network lab {QUICK} --run max-autotune",
        "layers_compiled": "layers --precision bfloat16 --layout nhwc,nchw --run compiled,max-autotune --rounds 5",
        "startup": "startup --repetitions 3",
    },
}
REHEARSAL = {
    "layers": "--rounds 2 --batch 2",
    "step": "--repetitions 2 --seconds 0 --batch 4",
    "data": "--repetitions 2 --seconds 0 --batch 8",
    "startup": "--repetitions 1",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, help=f"time limit (default: {MINUTES_ON_CUDA:g} on CUDA, else none)")
    parser.add_argument("--plan", choices=PLANS, help="which set (default: by device)")
    parser.add_argument("--only", default="", help="only the files whose names contain this")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes: does everything run here?")
    where = "benchmarks/results, of a rehearsal benchmarks/results/rehearsals"
    parser.add_argument("--out", type=Path, help=f"folder of the JSON files (default: {where})")
    parser.add_argument("overrides", nargs="*", default=["data=cifar10_sample"], help="config, e.g. data.root=...")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Run the plan's commands; 0 when each could time something, else 1.

    Raises ValueError for a time or a part that makes no sense.
    """
    device = resolve_device(arguments.device)
    minutes = MINUTES_ON_CUDA if arguments.minutes is None and device.type == "cuda" else arguments.minutes
    deadline = Deadline.after_minutes(minutes)
    plan = PLANS[arguments.plan or device.type]
    out = arguments.out or (REHEARSALS if arguments.rehearse else RESULTS)
    timings: list[Timing] = []
    complete = True
    for name in step.parts_with([arguments.only], plan):
        words = _words(plan[name], arguments)
        print(f"\n## {name}: python -m benchmarks {shlex.join(words)}\n", flush=True)
        started = time.monotonic()
        try:
            result = RUN[words[0]](parser.parse_args(words), deadline)
        except Exception as error:  # whatever ends one benchmark, the others are still wanted
            print(f"nothing measured: {type(error).__name__}: {error}", file=sys.stderr)
            complete = False
            continue
        path = out / default_path(name, device).name
        write_result(result, path, arguments.commit)
        timings += result.timings
        print(f"{render(result)}\n\n{path}, {time.monotonic() - started:.0f} s", flush=True)
    print(f"\n## Goals\n\n{goal_table(timings, arguments.plan or device.type)}")
    return 0 if complete else 1


def _words(command: str, arguments: argparse.Namespace) -> list[str]:
    benchmark, *options = shlex.split(command)
    words = [benchmark, *options, "--device", arguments.device]
    words += REHEARSAL[benchmark].split() if arguments.rehearse else []
    return [*words, *(arguments.overrides if benchmark in ("step", "data") else [])]
