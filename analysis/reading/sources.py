"""SOURCE arguments of the command line become runs: folders, and projects on a W&B server."""

import os
from collections.abc import Sequence

from .find_runs import search
from .run import Run
from .run_folder import RunFolders

PROJECT_PREFIX = "wandb:"


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
            runs += _runs_in(source, folders, logs_read)
    return runs


def _runs_in(source: str, folders: RunFolders, logs_read: set[str]) -> list[Run]:
    """Runs of a folder: its run folders, and the W&B logs that lie outside of those."""
    found = search(source)
    if not found:
        raise ValueError(
            f"no runs found in {source}: looked at any depth for folders with result.json or status.json, "
            "or named seed<number> with config.yaml, and for W&B logs, offline-run-*/*.wandb"
        )
    runs = folders.read_places(source, found.run_folders)
    logs = {os.path.realpath(log): log for log in found.logs}
    fresh = [log for real, log in logs.items() if real not in logs_read]
    logs_read.update(logs)
    if fresh:
        from .wandb.offline import read_logs

        runs += read_logs(source, fresh)
    return runs
