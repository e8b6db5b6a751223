"""Find the runs below a folder: run folders at any depth, and the logs of W&B runs that lie outside of them."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dynfilt.run.folder import CONFIG, RESULT, STATUS, is_run_folder

# W&B's own folder of a run, online or offline, and the link beside them to one of them.
LOG_FOLDER = re.compile(r"(offline-)?run-\d{8}_\d{6}-.+")
LATEST = "latest-run"
LOG_ENDING = ".wandb"

Entries = list[os.DirEntry[str]]


@dataclass
class Places:
    """Paths of run folders, and of W&B logs that no run folder contains, each sorted; folders that cannot be listed,
    with the reason."""

    run_folders: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    closed: dict[str, str] = field(default_factory=dict)


def find_runs(source: str) -> Places:
    """Runs at or below a folder; nothing inside a run folder is a further run, least of all its wandb/.

    Hidden folders, where `rerun=true` sets old runs aside, are left out. Raises ValueError for a source that does not
    exist, cannot be listed or holds no run.
    """
    places = Places()
    for folder, real, entries in _walk(source, _is_run_folder, places.closed):
        if _is_run_folder(real, entries):
            places.run_folders.append(folder)
        else:
            places.logs += _logs_in(real, entries)
    if not places.run_folders and not places.logs:
        raise ValueError(
            f"no runs found in {source}: looked at any depth for folders with {RESULT} or {STATUS}, "
            f"or named seed<number> with {CONFIG}, and for W&B logs, offline-run-*/*.wandb"
        )
    return places


def find_logs(source: str) -> list[str]:
    """All W&B logs at or below a folder, sorted by path, those inside run folders too.

    Raises ValueError for a folder that does not exist or cannot be listed.
    """
    walk = _walk(source, lambda real, entries: False, {})
    return [log for _, real, entries in walk for log in _logs_in(real, entries)]


def _walk(
    source: str, is_run: Callable[[str, Entries], bool], closed: dict[str, str]
) -> Iterator[tuple[str, str, Entries]]:
    """Each folder with its real path and its sorted entries, once; nothing below a run. A folder inside that cannot be
    listed is noted with the reason."""
    if not os.path.isdir(source):
        raise ValueError(
            f"{source} is not a folder; a SOURCE is a folder with runs, e.g. outputs/lab_3x3, an archive of runs, "
            "reference:lab_3x3 or wandb:entity/project[/group]"
        )
    pending, visited = [source], set[str]()
    while pending:
        folder = pending.pop()
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if folder == source:
                raise ValueError(f"cannot list {folder}: {error.strerror}") from error
            closed[folder] = f"cannot be listed: {error.strerror}"
            continue
        yield folder, real, entries
        if not is_run(real, entries) and not LOG_FOLDER.fullmatch(os.path.basename(real)):
            of_wandb = os.path.basename(folder) == "wandb" and folder != source
            pending += [entry.path for entry in reversed(entries) if _leads_on(entry, of_wandb)]


def _leads_on(entry: os.DirEntry[str], of_wandb: bool) -> bool:
    """Whether an entry is a folder to look into; of a wandb/ only the folders of its runs are."""
    if entry.name[0] == "." or entry.name == LATEST or (of_wandb and not LOG_FOLDER.fullmatch(entry.name)):
        return False
    return entry.is_dir()


def _is_run_folder(real: str, entries: Entries) -> bool:
    return is_run_folder(os.path.basename(real), {entry.name for entry in entries})


def _logs_in(real: str, entries: Entries) -> list[str]:
    if not LOG_FOLDER.fullmatch(os.path.basename(real)):
        return []
    return [entry.path for entry in entries if entry.name.endswith(LOG_ENDING) and entry.is_file()]
