"""SOURCE arguments of the command line become runs; today every source is a folder."""

from collections.abc import Sequence

from analysis.folders import RunFolders
from analysis.runs import Run


def read_runs(sources: Sequence[str]) -> list[Run]:
    """All runs of all sources, a folder that several sources contain once.

    Raises ValueError for a source that cannot be read, does not exist or holds no run.
    """
    folders = RunFolders()
    return [run for source in sources for run in _runs_of(source, folders)]


def _runs_of(source: str, folders: RunFolders) -> list[Run]:
    if source.startswith("wandb:"):
        raise ValueError(
            f"{source}: W&B sources cannot be read yet; a SOURCE is a folder with runs, e.g. outputs/lab_3x3"
        )
    return folders.read(source)
