"""`python -m analysis reproduce SOURCE`: do a finished run again, and say whether it comes out as recorded.

The run is drawn at random. On the machine, threads and versions of the recording a CPU run is the same to the last bit;
elsewhere sums are rounded otherwise and training takes another course, so that the accuracy is compared with where one
more run of the recorded seeds would fall. The exit code is 0 when it reproduces, else 1.
"""

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynfilt import experiment
from dynfilt.assembly import rebuilding
from dynfilt.config.compose import Job
from dynfilt.run.folder import RunFolder
from dynfilt.run.identity import Identity, digest
from dynfilt.run.progress import ProgressDisplay
from dynfilt.run.stopping import StopSignals
from dynfilt.train.settings import resolve_device

from ..comparing.statistics import half_width, summarise
from ..reading.metrics import METRICS
from ..reading.run import Run
from ..reading.run_folder import RunFolders
from ..reading.sources import read_runs

# What a clock or a meter has measured.
MEASURED = ("seconds", "images_per_second")


@dataclass(frozen=True)
class Answer:
    """Whether a run came out as it was recorded, and that in words."""

    reproduces: bool
    words: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `reproduce`."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="where finished runs are: reference:lab_3x3, a folder, an archive"
    )
    parser.add_argument(
        "--draw", metavar="N", type=int, help="the number that draws the run; default: another each time"
    )
    parser.add_argument("--data-root", metavar="DIR", help="where the images are, instead of the recorded data.root")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--out", metavar="DIR", default="outputs/reproduced", help="where the new run goes")


def run(arguments: argparse.Namespace) -> int:
    """Train, print both results and the answer; the exit code."""
    runs = [run for run in read_runs(arguments.sources) if run.counts]
    if not runs:
        raise ValueError(f"{', '.join(arguments.sources)}: no finished run to do again")
    number = random.randrange(10**6) if arguments.draw is None else arguments.draw
    recorded = random.Random(number).choice(sorted(runs, key=lambda run: (run.study, run.variant, run.seed, run.place)))
    seconds = recorded.number("train_seconds")
    print(
        f"--draw {number}: {recorded.study}, {recorded.variant} seed {recorded.seed}, one of {len(runs)} runs; it took "
        f"{seconds:.0f} s on {' + '.join(recorded.devices) or 'an unknown device'}",
        flush=True,
    )
    stop = StopSignals()
    try:
        with stop.handled():
            again = do_again(recorded, arguments.out, arguments.device, arguments.data_root, stop)
    except FloatingPointError as error:
        print(f"test accuracy {recorded.number('test_accuracy'):.2%} as recorded, none now: {error}")
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; with --draw {number} it goes on from the last checkpoint", file=sys.stderr)
        return stop.exit_code
    answer = compare_runs(recorded, again, [run for run in runs if is_same_variant(run, recorded)])
    print(answer.words)
    return 0 if answer.reproduces else 1


def do_again(recorded: Run, output_root: str, device: str, data_root: str | None, stop: StopSignals) -> Run:
    """The same run, trained by this version below another folder.

    Raises ValueError for a config that this version cannot build or a stranger wrote and for images that are missing,
    FloatingPointError when training diverges, and RunInterrupted when `stop` has received a signal.
    """
    folder = RunFolder(Path(recorded.place))
    config = _config(folder, output_root, device, data_root)
    identity = Identity(recorded.study, recorded.variant, recorded.seed, digest(config))
    config["rerun"] = RunFolder(identity.folder(output_root)).result() is not None  # an interrupted one goes on
    origin = folder.provenance(strict=False) or {}
    choices = {"model": str(origin.get("model") or recorded.variant.partition(",")[0])}
    job = Job(config, choices, dict(origin.get("differences") or {}), ())
    with rebuilding(folder, "training"):
        experiment.train(job, identity, stop, ProgressDisplay())
    [again] = RunFolders().read(output_root, [str(identity.folder(output_root))])
    return again


def _config(folder: RunFolder, output_root: str, device: str, data_root: str | None) -> dict[str, Any]:
    """The recorded config at another place, without W&B."""
    config = folder.config_to_build()
    config |= {"output_root": output_root, "run": None, "mode": "train"}
    config["tracking"] = {**config["tracking"], "mode": "off"}
    config["trainer"] = {**config["trainer"], "device": device}
    if resolve_device(device).type != "cuda":
        config["trainer"]["cuda_graph"] = False
    if data_root is not None:
        config["data"] = {**config["data"], "root": data_root}
    return config


def is_same_variant(run: Run, other: Run) -> bool:
    """Whether two runs differ in their seeds alone."""
    return (run.study, run.variant, run.digest) == (other.study, other.variant, other.digest)


def compare_runs(recorded: Run, again: Run, seeds: Sequence[Run]) -> Answer:
    """Compare a run with its record, whose variant was recorded with these seeds.

    One more run of the same config falls into mean ± t sd sqrt(1 + 1/n) of n seeds with 95 %.
    """
    before, after = recorded.number("test_accuracy"), again.number("test_accuracy")
    found = f"test accuracy {before:.2%} as recorded, {after:.2%} now"
    if _is_the_same(recorded, again):
        return Answer(True, f"{found}: reproduces to the last bit")
    spread = summarise([run.number("test_accuracy") for run in seeds])
    half = half_width(spread.sd * math.sqrt(1 + 1 / spread.n), spread.n - 1)
    if math.isnan(half):
        return Answer(False, f"{found}: not the same, and {spread.n} recorded seeds show no spread to judge it by")
    low, high = spread.mean - half, spread.mean + half
    reproduces = low <= after <= high
    return Answer(
        reproduces,
        f"{found}: {'reproduces' if reproduces else 'does not reproduce'}; one more run of its {spread.n} seeds falls "
        f"into {low:.2%} to {high:.2%} with 95 %",
    )


def _is_the_same(recorded: Run, again: Run) -> bool:
    """Whether two runs agree in all that training computed, in each evaluation and at the end; a metric that one of
    them does not know, since it was recorded by an older version, is left out."""
    before, after = recorded.evaluations(), again.evaluations()
    names = tuple(f"_{metric.name}" for metric in METRICS)
    ends = ({key: value for key, value in run.numbers.items() if key.endswith(names)} for run in (recorded, again))
    pairs = [*zip(before, after, strict=False), tuple(ends)]
    return len(before) == len(after) and all(
        one[key] == other[key] for one, other in pairs for key in one.keys() & other.keys() - set(MEASURED)
    )
