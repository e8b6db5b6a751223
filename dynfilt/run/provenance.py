"""Where a result comes from: commit, versions, machine, command."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import torch

from dynfilt.installation import IS_CHECKOUT, PACKAGES, PROJECT, RUN_COMMAND
from dynfilt.run.secrets import without_secrets

COMMIT_VARIABLE = "DYNFILT_COMMIT"


def collect_provenance(device: torch.device) -> dict[str, Any]:
    """Commit and dirty flag of this project, package versions, host, device, threads, command line, time."""
    commit, dirty = git_state()
    return {
        "commit": commit,
        "dirty": dirty,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "host": platform.node(),
        "platform": platform.platform(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "command": list(map(without_secrets, _command())),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def device_name(device: torch.device) -> str:
    """A GPU's own name, or the architecture of a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"


def _command() -> list[str]:
    return [*(RUN_COMMAND.split() if sys.argv[0] == RUN_COMMAND else sys.argv[:1]), *sys.argv[1:]]


def git_state() -> tuple[str | None, bool | None]:
    """Commit of the project's checkout and whether its files differ from it, or modules are in no commit; (None, None)
    outside git.

    An installed package has the commit at which pip fetched it from git, if it did. A copy without its history, on a
    cluster say, takes its commit from the environment variable DYNFILT_COMMIT.
    """
    if commit := os.environ.get(COMMIT_VARIABLE):
        return commit, None
    if not IS_CHECKOUT:  # git would answer for whatever repository the installed package lies in
        return _installed_commit(), None
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no")
    modules = _git("ls-files", "--others", "--exclude-standard", "dynfilt/*.py")
    return commit, None if changes is None else bool(changes or modules)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _installed_commit() -> str | None:
    try:
        origin = metadata.distribution("dynfilt").read_text("direct_url.json")  # PEP 610
    except metadata.PackageNotFoundError:
        return None
    return json.loads(origin or "{}").get("vcs_info", {}).get("commit_id")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
