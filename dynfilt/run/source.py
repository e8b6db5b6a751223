"""Which code computes a run's numbers: a fingerprint of each module that does, ours and the user's own."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

Source = dict[str, str]

# The rooms that compute; the others compose, write down and draw.
COMPUTING = (
    "dynfilt.data",
    "dynfilt.layers",
    "dynfilt.models",
    "dynfilt.schedules",
    "dynfilt.seeding",
    "dynfilt.train",
)
# What every run goes through, whatever its config names.
ALWAYS = ("dynfilt.train.trainer", "dynfilt.train.evaluation")
# Released with a version, which the provenance has.
VERSIONED = {"torch", "torchvision", *sys.stdlib_module_names}
DIGITS = 8


def source_of(config: Mapping[str, Any]) -> Source:
    """Module -> hexadecimal digits of its code, comments and docstrings left out, for each module that a run's numbers
    come from: those that the config's targets name, and all that these import from the same package."""
    found: Source = {}
    pending = [*ALWAYS, *(target for target in _targets(config) if _computes(target))]
    while pending:
        module = _module_of(pending.pop())
        if module is None or module in found:
            continue
        file = _file_of(module)
        if file is not None:
            found[module], imported = _read(module, file, _changed_at(module, file))
            pending += [name for name in imported if _computes(name)]
    return dict(sorted(found.items()))


def read_imported() -> None:
    """Read the code that this process has imported, so that `source_of` tells what runs, whatever is edited later."""
    for module in list(sys.modules):
        if module.startswith("dynfilt.") and _computes(module) and (file := _file_of(module)) is not None:
            _read(module, file, _changed_at(module, file))


def changed_modules(recorded: Any, now: Source) -> list[str]:
    """The modules that differ between a recorded source and today's; none where nothing was recorded."""
    if not isinstance(recorded, Mapping) or not recorded:
        return []
    return sorted(module for module in recorded.keys() | now.keys() if recorded.get(module) != now.get(module))


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def _computes(dotted: str) -> bool:
    package = dotted.partition(".")[0]
    if package == "dynfilt":
        return any(f"{dotted}.".startswith(f"{room}.") for room in COMPUTING)
    return package not in VERSIONED


def _module_of(dotted: str) -> str | None:
    """The longest part of a dotted path that is a module."""
    path = dotted.split(".")
    while path:
        if _file_of(".".join(path)) is not None:
            return ".".join(path)
        path.pop()
    return None


@lru_cache(maxsize=4096)
def _file_of(module: str) -> str | None:
    try:
        spec = _spec_of(module)
    except (ImportError, AttributeError, ValueError):
        return None
    origin = spec.origin if spec is not None else None
    return origin if origin is not None and origin.endswith(".py") else None


def _spec_of(module: str) -> ModuleSpec | None:
    """Where a module is, without importing the packages that it is in: ours would bring torch."""
    if (loaded := sys.modules.get(module)) is not None:
        return loaded.__spec__
    package = module.rpartition(".")[0]
    if not package:
        return find_spec(module)
    above = _spec_of(package)
    places = above.submodule_search_locations if above is not None else None
    return PathFinder.find_spec(module, places) if places is not None else None


def _changed_at(module: str, file: str) -> int:
    """When a module's file was changed last; never, once the module was imported, for it stays what it was then."""
    return 0 if module in sys.modules else Path(file).stat().st_mtime_ns


@lru_cache(maxsize=4096)
def _read(module: str, file: str, changed_at: int) -> tuple[str, tuple[str, ...]]:
    """The fingerprint of a module's code, and what it imports from its own package, or from ours."""
    text = Path(file).read_bytes()
    try:
        tree = ast.parse(text)
    except SyntaxError:  # it is being edited while the code that was imported runs
        return hashlib.sha256(text).hexdigest()[:DIGITS], ()
    package = module if Path(file).name == "__init__.py" else module.rpartition(".")[0]
    own = {module.partition(".")[0], "dynfilt"}
    imported = tuple(name for name in _imports(tree, package) if name.partition(".")[0] in own)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:DIGITS], imported


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                try:
                    source = resolve_name("." * level + (module or ""), package) if level else module or ""
                except ImportError:  # beyond the package it is in; who imports it all the same catches that
                    continue
                yield from (f"{source}.{name.name}" for name in names)
