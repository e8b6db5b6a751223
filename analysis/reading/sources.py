"""SOURCE arguments of the command line become runs: folders, archives, the repository's runs, projects on W&B."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from .archive import unpack
from .find_runs import find_runs
from .metrics import COMPARED
from .reference import PREFIX, folder_of
from .run import Run
from .run_folder import RunFolders, unreadable
from .wandb.mirrored import PROJECT_PREFIX


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Add the sources alone."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="a folder with runs at any depth, e.g. outputs/lab_3x3; an archive of runs, runs.zip, or a part "
        "of it, runs.zip/outputs/lab_3x3; reference:lab_3x3, the repository's own; or wandb:entity/project[/group]",
    )


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command that compares runs takes: the sources, and the baseline."""
    add_sources(parser)
    parser.add_argument(
        "--baseline",
        metavar="V",
        help="row to compare with; default: the one that the study declares, else the first variant named static*, "
        "else the one with the fewest parameters, if possible of those whose model.conv is static",
    )
    parser.add_argument(
        "--metric",
        metavar="M",
        help=f"what is compared; default: what the study declares, else test_accuracy; one of: {', '.join(COMPARED)}",
    )
    parser.add_argument(
        "--about",
        metavar="SWEEP",
        help="a sweep, by its name, e.g. lab_3x3, or its file, whose block `about:` counts for its study instead of "
        "what its runs recorded",
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
            runs += _read_folder(source, _folder_of(source), folders, logs_read)
    return runs


def _folder_of(source: str) -> str:
    if source.startswith(PREFIX):
        return folder_of(source)
    path = Path(source)
    archive = next((file for file in (path, *path.parents) if file.is_file()), None)
    if not archive:
        return source
    whole = unpack(str(archive))
    folder = os.path.join(whole, path.relative_to(archive))  # runs.zip/outputs/lab_3x3 is a part of it
    if not os.path.isdir(folder):
        studies = {os.path.relpath(Path(run).parents[1], whole) for run in find_runs(whole).run_folders}
        raise ValueError(f"{source} is not a folder in the archive; {archive} holds {', '.join(sorted(studies))}")
    return folder


def _read_folder(source: str, folder: str, folders: RunFolders, logs_read: set[str]) -> list[Run]:
    """Runs of a source's folder: its run folders, and the W&B logs that lie outside of those."""
    places = find_runs(folder)
    runs = folders.read(source, places.run_folders)
    runs += [unreadable(source, place, reason) for place, reason in places.closed.items()]
    logs = {os.path.realpath(log): log for log in places.logs}
    fresh = [log for real, log in logs.items() if real not in logs_read]
    logs_read.update(logs)
    if fresh:
        from .wandb.offline import read_logs

        runs += read_logs(source, fresh)
    return runs
