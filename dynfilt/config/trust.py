"""A run folder from somebody else is data: which objects its config may build, decided before anything is imported."""

from __future__ import annotations

import importlib
import os
import re
import sys
import typing
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dynfilt.config.files import own_folder

# Where what a config of ours names is at home.
BUILDERS = (
    "dynfilt.data",
    "dynfilt.layers",
    "dynfilt.models",
    "dynfilt.schedules",
    "dynfilt.tracking.mirror.Tracking",
    "dynfilt.train.settings.TrainerSettings",
    "torch.nn",
    "torch.optim",
    "torchvision.models",
    "torchvision.ops",
)
# What it gives; the rest of those rooms reads, writes, downloads or runs things.
MADE = ("torch.nn.Module", "torch.optim.Optimizer", "dynfilt.data.bundle.ImageData")
PLAIN = ("dynfilt.schedules", "dynfilt.tracking", "dynfilt.train")  # classes here hold numbers alone
CONSENT = "DYNFILT_TRUST"
TARGET = re.compile(r"""_target_['"]?\s*[:=]\s*['"]?([\w.]+)""")
KEY = re.compile(r"[+~]*[\w.]+")
NOTHING = object()


def require_trusted_targets(config: dict[str, Any], file: Path, trust: Collection[str] = ()) -> None:
    """Check that a run's config builds only what dynfilt, torch and torchvision define for networks and training.

    `trust` names further packages whose code may run, beside those in the environment variable DYNFILT_TRUST, which has
    commas between them; targets that the command line or the folder of -cd names are the user's own. Raises ValueError
    that names the key, before a module of a stranger is imported.
    """
    packages = {*trust, *(name.strip() for name in os.environ.get(CONSENT, "").split(",") if name.strip())}
    for key, value in _values(config, ""):
        if isinstance(value, str) and "${" in value:
            raise ValueError(f"{file}: {key}={value!r}: a run's config holds values, no references")
        if key.rpartition(".")[2] != "_target_" or _is_trusted(target := str(value), packages):
            continue
        if target not in _named_by_the_user():
            package = target.partition(".")[0]
            raise ValueError(
                f"{file}: {key}={value}: is not built from a run's folder, since it may run any code; "
                f"if you trust the package {package}, set {CONSENT}={package}"
            )


def _named_by_the_user() -> set[str]:
    texts = [file.read_text(encoding="utf-8") for folder in own_folder() for file in folder.rglob("*.yaml")]
    words = filter(_sets_a_target, sys.argv)
    return {target for text in (*words, *texts) for target in TARGET.findall(text)}


def _sets_a_target(word: str) -> bool:
    """Whether a word is an override that sets a target: a run's folder, which a stranger named, only tells of one."""
    key, _, value = word.partition("=")
    sets = key != "run" and (key.endswith("_target_") or value.startswith(("{", "[")))
    return sets and bool(KEY.fullmatch(key)) and not any(map(os.path.lexists, (word, value.strip("'\""))))


def _is_trusted(target: str, packages: Collection[str]) -> bool:
    # A module also holds what it imports, so an object must be at home where it is named.
    if any(_is_in(target, package) for package in packages):
        found = _object_at(target)
        return found is NOTHING or any(_is_in(_home_of(found), package) for package in packages)
    if not any(_is_in(target, room) for room in BUILDERS) or any(part[:1] == "_" for part in target.split(".")):
        return False
    found = _object_at(target)
    name = getattr(found, "__qualname__", ".")  # that of a method has a dot
    return "." not in name and any(_is_in(f"{_home_of(found)}.{name}", room) for room in BUILDERS) and _makes(found)


def _makes(found: Any) -> bool:
    """Whether a class is one of what configs are made of, or a function says that it gives one of them."""
    try:
        made = found if isinstance(found, type) else typing.get_type_hints(found).get("return")
    except (NameError, TypeError):  # a library's annotations may name what it does not import
        return False
    if not isinstance(made, type):
        return False
    home = _home_of(made)
    if made is found and any(_is_in(home, room) for room in PLAIN):
        return True
    return any(_is_in(home, room) for room in BUILDERS) and issubclass(made, tuple(map(_object_at, MADE)))


def _is_in(path: str, room: str) -> bool:
    return f"{path}.".startswith(f"{room}.")


def _home_of(found: Any) -> str:
    """The module that defines an object; empty for what is nowhere at home."""
    return str(getattr(found, "__module__", None) or "") if callable(found) else ""


def _object_at(target: str) -> Any:
    """What a dotted path of our own rooms, torch's or a trusted package names; NOTHING where there is no such thing."""
    path = target.split(".")
    names: list[str] = []
    while path:
        names.insert(0, path.pop())
        try:
            found: Any = importlib.import_module(".".join(path))
        except (ImportError, ValueError):
            continue
        for name in names:
            found = getattr(found, name, NOTHING)
        return found
    return NOTHING


def _values(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _values(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, key)
    else:
        yield key, node
