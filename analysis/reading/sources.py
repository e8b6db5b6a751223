"""SOURCE arguments of the command line become runs: folders, and projects on a W&B server."""

import argparse
import os
from collections.abc import Sequence

from .find_runs import find_runs
from .metrics import COMPARED
from .run import Run
from .run_folder import RunFolders
from .wandb.mirrored import PROJECT_PREFIX


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command that compares runs takes: the sources, and the baseline."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a folder with runs at any depth, e.g. outputs/lab_3x3, or wandb:entity/project[/group]",
    )
    parser.add_argument(
        "--baseline",
        metavar="V",
        help="row to compare with; default: the one that the study declares, else the first variant named static*, "
        "else the one with the fewest parameters",
    )
    parser.add_argument(
        "--metric",
        metavar="M",
        help=f"what is compared; default: what the study declares, else test_accuracy; one of: {', '.join(COMPARED)}",
    )
    parser.add_argument(
        "--about",
        metavar="FILE",
        help="a sweep file, e.g. sweeps/lab_3x3.yaml, whose block `about:` counts for its study instead of what its "
        "runs recorded",
    )


def read_runs(sources: Sequence[str]) -> list[Run]:
    """All runs of all sources, a folder that several sources contain once.

    Raises ValueError for a source that cannot be read, does not exist or holds no run.
    """
    folders, logs_read = RunFolders(), set[str]()
    runs = []
    for source in sources:
        if source.startswith(PROJECT_PREFIX):
            from .wandb.online import read_project

            runs += read_project(source)
        else:
            runs += _read_folder(source, folders, logs_read)
    return runs


def _read_folder(source: str, folders: RunFolders, logs_read: set[str]) -> list[Run]:
    """Runs of a folder: its run folders, and the W&B logs that lie outside of those."""
    places = find_runs(source)
    runs = folders.read(source, places.run_folders)
    logs = {os.path.realpath(log): log for log in places.logs}
    fresh = [log for real, log in logs.items() if real not in logs_read]
    logs_read.update(logs)
    if fresh:
        from .wandb.offline import read_logs

        runs += read_logs(source, fresh)
    return runs
