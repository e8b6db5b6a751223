"""The files that a command line's values come from: conf/ and sweeps/, then the folder that -cd names."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

from dynfilt.installation import CONF, PROJECT, SWEEPS

PRIMARY = CONF / "config.yaml"


def own_folder() -> list[Path]:
    """The folder of the user's own configs, if the command line names one."""
    words = [word for argument in sys.argv for word in argument.split("=", 1)]
    return [Path(value) for flag, value in pairwise(words) if flag in ("-cd", "--config-dir")][-1:]


def group_folders(group: str) -> list[Path]:
    """The folders that hold the choices of a group."""
    return [folder for root in (CONF, *own_folder()) if (folder := root / group).is_dir()]


def group_files(group: str) -> list[Path]:
    """The choices of a group."""
    return [path for folder in group_folders(group) for path in sorted(folder.glob("*.yaml"))]


def file_of(group: str, choice: str) -> Path | None:
    """The file of one choice of a group."""
    return next((path for path in group_files(group) if path.stem == choice), None)


def base_of(file: Path, entry: str) -> Path | None:
    """The file of the same group that a file names in its defaults."""
    roots = [root for root in (CONF, *own_folder()) if file.is_relative_to(root)]
    return file_of(file.parent.relative_to(roots[0]).as_posix(), entry) if roots else None


def primary_folders() -> list[Path]:
    """The folders whose configs -cn finds, beside conf/config.yaml itself."""
    return [*own_folder(), SWEEPS]


def in_words(path: Path) -> str:
    """A file or folder as messages name it: ours as in a checkout."""
    return path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else str(path)
