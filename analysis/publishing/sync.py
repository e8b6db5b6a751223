"""Upload offline W&B runs, one by one: a single empty file would make a whole `wandb sync` upload nothing.

Every log below SOURCE that is not uploaded yet gets a `wandb sync` of its own, which is checked and repeated if
need be. What cannot be uploaded is told with the reason, and makes the exit code 1.
"""

import argparse
import os
from collections import Counter
from collections.abc import Iterator, Sequence

from ..reading.find_runs import wandb_logs
from ..reading.wandb.offline import OFFLINE, run_id, started
from ..reading.wandb.server import connect
from .upload import UNFINISHED, Outcome, Upload, is_uploaded, upload

EARLIER_PART = "an earlier part of this run has to be uploaded first"
GOOD = {Outcome.UPLOADED, Outcome.PRESENT, Outcome.RUNNING}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `python -m analysis sync`."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder with offline W&B runs at any depth")


def run(arguments: argparse.Namespace) -> int:
    """Prints a line a log and their counts; 1 when a log could not be uploaded whole. Raises as `sync` does."""
    counts: Counter[Outcome] = Counter()
    for done in sync(arguments.sources):
        print(done, flush=True)
        counts[done.outcome] += 1
    print(", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]))
    return 0 if counts.keys() <= GOOD else 1


def sync(sources: Sequence[str]) -> Iterator[Upload]:
    """Uploads the offline logs in the sources, in the order in which they were started, and tells of each one.

    Logs inside run folders are uploaded too. After a failure that is the network's the rest is not tried.
    Raises ValueError when a source is no folder or holds no offline log, and, where there is something to
    upload, when there is no API key or no server.
    """
    logs = _offline_logs(sources)
    if not all(is_uploaded(log) for log in logs):
        connect("")
    unfinished: set[str] = set()
    trouble = ""
    for log in logs:
        obstacle = trouble or (EARLIER_PART if run_id(log) in unfinished else "")
        if is_uploaded(log):
            done = Upload(log, Outcome.PRESENT)
        elif obstacle:
            done = Upload(log, Outcome.NOT_TRIED, obstacle)
        else:
            done = upload(log)
        yield done
        if done.outcome in UNFINISHED:
            unfinished.add(run_id(log))
        if done.outcome == Outcome.FAILED:
            trouble = _trouble()


def _offline_logs(sources: Sequence[str]) -> list[str]:
    """Each offline log once."""
    logs: dict[str, str] = {}
    for source in sources:
        found = [log for log in wandb_logs(source) if os.path.basename(os.path.dirname(log)).startswith(OFFLINE)]
        if not found:
            raise ValueError(f"no offline W&B runs in {source}: looked at any depth for offline-run-*/*.wandb")
        logs.update((os.path.realpath(log), log) for log in found)
    return sorted(logs.values(), key=started)


def _trouble() -> str:
    """What is wrong with the server, empty when it works."""
    try:
        connect("")
    except ValueError as error:
        return str(error)
    return ""
