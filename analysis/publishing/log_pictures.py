"""Log pictures of a finished run to the W&B run that it already has.

A run that is started once more is described by its last start, here as in W&B's own pages, so the config, the last
evaluation and the result are sent with the pictures once more, unchanged.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from dynfilt.run.folder import RESULT, WANDB_ID, RunFolder, RunState
from dynfilt.run.lock import FolderLock
from dynfilt.tracking.mirror import Tracking, open_mirror

from ..reading.find_runs import find_logs
from ..reading.wandb.mirrored import FINISHED, PICTURES
from ..reading.wandb.offline import OFFLINE, read_log, run_id, started
from .sync import is_uploaded


def require_wandb_run(folder: Path) -> None:
    """Raise ValueError unless the run in this folder is finished and W&B knows it."""
    if RunFolder(folder).state() != RunState.COMPLETED:
        raise ValueError(f"{folder}: has no {RESULT}; --wandb adds pictures to finished runs")
    if not _logs(folder):
        raise ValueError(f"{folder}: has no wandb/ with a run to add pictures to; it was trained with tracking=off")


def log_pictures(folder: Path, pictures: Sequence[Path], caption: str) -> None:
    """Log PNG files to the W&B run of a run folder, each under the key `pictures/<name of the file>`.

    Online where W&B has the run and answers; else, and while the run's own logs wait for their upload, into a
    further log of the same id in the run's folder. A line says which. Raises ValueError for a run that is not
    finished, that W&B does not know, or that another process works on, and when W&B fails.
    """
    require_wandb_run(folder)
    # The lock tells `sync` that a log is being written; standard output is for tables.
    with FolderLock(folder), redirect_stdout(sys.stderr):
        earlier = _logs(folder)
        _log(folder, pictures, caption, earlier)
        written = [log for log in _logs(folder) if log not in earlier]
    if [read_log(log).state for log in written] != [FINISHED]:
        raise ValueError(f"{folder}: W&B did not take the pictures, as said above; the same command tries again")


def _log(folder: Path, pictures: Sequence[Path], caption: str, earlier: Sequence[str]) -> None:
    """Start the run of these earlier logs once more, log the pictures and end it."""
    import wandb

    files = RunFolder(folder)
    config, result, provenance = files.recorded_config(), files.result(), files.provenance()
    assert result is not None and provenance is not None
    # W&B names a log by the second it starts in, and that name is all that tells which log is the last.
    while time.strftime("%Y%m%d_%H%M%S") in earlier[-1]:
        time.sleep(0.05)
    waiting = any(Path(log).parent.name.startswith(OFFLINE) and not is_uploaded(log) for log in earlier)
    mirror = open_mirror(
        Tracking("offline" if waiting else "auto", config["tracking"]["project"], config["tracking"]["entity"]),
        folder=folder,
        run_id=run_id(earlier[-1]),
        study=result["study"],
        variant=result["variant"],
        seed=result["seed"],
        config={**config, "provenance": {key: fact for key, fact in provenance.items() if key != WANDB_ID}},
    )
    last: dict[str, Any] = next(reversed(files.evaluations()), {})
    images = {PICTURES + path.stem: wandb.Image(str(path), caption=caption) for path in pictures}
    mirror.log({**last, **images})
    mirror.finish(result)
    wandb.teardown()  # until then the client may still be writing


def _logs(folder: Path) -> list[str]:
    """The run's logs, in the order in which they were started."""
    logs = RunFolder(folder).wandb_folder
    return sorted(find_logs(str(logs)), key=started) if logs.is_dir() else []
