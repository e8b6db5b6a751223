"""What a folder holds: run folders at any depth, and the logs of W&B runs that lie outside of them."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

SEED_FOLDER = re.compile(r"seed(\d+)")
# W&B's own folder of a run, online or offline, and the link beside them to one of them.
LOG_FOLDER = re.compile(r"(offline-)?run-\d{8}_\d{6}-.+")
LATEST = "latest-run"
LOG_ENDING = ".wandb"


@dataclass
class Found:
    """Paths of run folders, and of W&B logs that no run folder contains, each sorted."""

    run_folders: list[str] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.run_folders or self.logs)


def search(source: str) -> Found:
    """Runs at or below a folder; nothing inside a run folder is a run of its own, least of all its wandb/.

    Hidden folders, where `rerun=true` sets old runs aside, are left out. Raises ValueError for a folder that
    does not exist or cannot be listed.
    """
    found = Found()
    walk = _Walk(source)
    for folder, real, entries in walk:
        if _is_run_folder(real, {entry.name for entry in entries}):
            found.run_folders.append(folder)
        else:
            found.logs += _logs_in(real, entries)
            walk.descend(folder, real, entries)
    return found


def wandb_logs(source: str) -> list[str]:
    """All W&B logs at or below a folder, those inside run folders too; sorted by path. Raises as `search` does."""
    logs: list[str] = []
    walk = _Walk(source)
    for folder, real, entries in walk:
        logs += _logs_in(real, entries)
        walk.descend(folder, real, entries)
    return logs


class _Walk:
    """Yields each folder with its real path and its entries, sorted; it goes down where it is told to."""

    def __init__(self, source: str) -> None:
        if not os.path.isdir(source):
            raise ValueError(
                f"{source} is not a folder; a SOURCE is a folder with runs, e.g. outputs/lab_3x3, "
                "or wandb:entity/project[/group]"
            )
        self._source = source
        self._pending = [source]
        self._visited: set[str] = set()

    def __iter__(self) -> Iterator[tuple[str, str, list[os.DirEntry[str]]]]:
        while self._pending:
            folder = self._pending.pop()
            real = os.path.realpath(folder)
            if real in self._visited:
                continue
            self._visited.add(real)
            try:
                with os.scandir(folder) as listing:
                    yield folder, real, sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                raise ValueError(f"cannot list {folder}: {error.strerror}") from error

    def descend(self, folder: str, real: str, entries: list[os.DirEntry[str]]) -> None:
        """Visit the folders among the entries; of a wandb/ only the folders of its runs, and nothing within those."""
        if LOG_FOLDER.fullmatch(os.path.basename(real)):
            return
        of_wandb = os.path.basename(folder) == "wandb" and folder != self._source
        self._pending += [
            entry.path
            for entry in reversed(entries)
            if entry.name[0] != "."
            and entry.name != LATEST
            and (not of_wandb or LOG_FOLDER.fullmatch(entry.name))
            and entry.is_dir()
        ]


def _is_run_folder(real: str, names: set[str]) -> bool:
    if names & {"result.json", "status.json"}:
        return True
    return "config.yaml" in names and SEED_FOLDER.fullmatch(os.path.basename(real)) is not None


def _logs_in(real: str, entries: list[os.DirEntry[str]]) -> list[str]:
    if not LOG_FOLDER.fullmatch(os.path.basename(real)):
        return []
    return [entry.path for entry in entries if entry.name.endswith(LOG_ENDING) and entry.is_file()]
