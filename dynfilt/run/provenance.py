"""Where a result comes from: commit, versions, machine, command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PROJECT = Path(__file__).resolve().parents[2]
COMMIT_VARIABLE = "DYNFILT_COMMIT"
PACKAGES = ("dynfilt", "torch", "torchvision", "hydra-core", "omegaconf", "numpy", "wandb")


def collect_provenance(device: torch.device) -> dict[str, Any]:
    """Commit and dirty flag of this project, package versions, host, device, threads, command line, time."""
    commit, dirty = git_state()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "host": platform.node(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine() + " CPU",
        "threads": torch.get_num_threads(),
        "command": sys.argv,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def git_state() -> tuple[str | None, bool | None]:
    """Commit of the project's checkout and whether tracked files differ from it; (None, None) outside git.

    A copy without its history, on a cluster say, is told its commit by the environment variable DYNFILT_COMMIT.
    """
    if told := os.environ.get(COMMIT_VARIABLE):
        return told, None
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else bool(changes)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
