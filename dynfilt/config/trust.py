"""A run folder from somebody else is data: which objects its config may build, decided before anything is imported."""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

# What a config of ours names; the rest of these packages reads, writes or runs things.
BUILDERS = (
    "dynfilt.data",
    "dynfilt.layers",
    "dynfilt.models",
    "dynfilt.schedules",
    "dynfilt.tracking.mirror",
    "dynfilt.train.settings",
    "torch.nn",
    "torch.optim",
    "torchvision.models",
    "torchvision.ops",
)
COMMANDS = ("dynfilt.data.cut_sample",)  # in one of these rooms, but it obeys the command line and writes files
CONSENT = "DYNFILT_TRUST"


def require_trusted_targets(config: dict[str, Any], file: Path, trust: Collection[str] = ()) -> None:
    """Check that a run's config builds only what dynfilt, torch and torchvision define for networks and training.

    `trust` names further packages whose code may run, beside those in the environment variable DYNFILT_TRUST, which has
    commas between them. Raises ValueError that names the key, before a module of a stranger is imported.
    """
    trusted = {*trust, *filter(None, os.environ.get(CONSENT, "").split(","))}
    for key, value in _values(config, ""):
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"{file}: {key}={value!r}: a run's config holds values, no references")
        if key.rpartition(".")[2] == "_target_" and not _is_trusted(str(value), trusted):
            package = str(value).partition(".")[0]
            raise ValueError(
                f"{file}: {key}={value}: is not built from a run's folder, since it may run any code; "
                f"if you trust the package {package}, set {CONSENT}={package}"
            )


def _is_trusted(target: str, packages: Collection[str]) -> bool:
    if any(target.startswith(f"{package}.") for package in packages):
        return True
    if not any(target.startswith(f"{room}.") for room in BUILDERS):
        return False
    # A module also holds what it imports, so the object must be at home where it is named.
    home = _home_of(target)
    return home is not None and home not in COMMANDS and any(f"{home}.".startswith(f"{room}.") for room in BUILDERS)


def _home_of(target: str) -> str | None:
    """The module that defines what a dotted path of our own rooms or torch's names; None for a path into nothing."""
    path = target.split(".")
    names: list[str] = []
    while path:
        names.insert(0, path.pop())
        try:
            found: Any = importlib.import_module(".".join(path))
        except (ImportError, ValueError):
            continue
        for name in names:
            found = getattr(found, name, None)
        return getattr(found, "__module__", None) if callable(found) else None
    return None


def _values(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, key)
    else:
        yield key, node
