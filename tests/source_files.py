"""The files of the house, and what each of them imports."""

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dynfilt", "analysis", "benchmarks")


@cache
def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def source_files() -> list[Path]:
    return [*python_files(*PACKAGES), ROOT / "run.py"]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(tree_of(path)))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    return name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def room_of(module: str) -> str:
    """`dynfilt.layers.dyconv` lives in `dynfilt.layers`, `dynfilt.run.record` is itself a room."""
    return ".".join(module.split(".")[: 2 if module.startswith(tuple(f"{name}." for name in PACKAGES)) else 1])


def imports_in(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    """Dotted names of all imports, also those inside functions; `package` resolves the relative ones."""
    for node in nodes:
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                source = resolve_name("." * level + (module or ""), package)
                yield from (f"{source}.{name.name}" for name in names)
            case ast.Call(func=ast.Name(id=call) | ast.Attribute(attr=call), args=[ast.Constant(value=str(name)), *_]):
                if call in {"import_module", "__import__"}:
                    yield resolve_name(name, package)


@cache
def imports_of(path: Path) -> set[str]:
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    return set(imports_in(nodes_of(path), package))


def packages_of(path: Path) -> set[str]:
    """First names of the installed packages that a file imports, ours and the standard library left out."""
    return tops_of(path) - set(PACKAGES) - {"run", "tests"} - sys.stdlib_module_names


def rooms_of(path: Path) -> set[str]:
    """Rooms of ours that a file imports, its own left out."""
    rooms = {room_of(name) for name in imports_of(path) if name.split(".")[0] in {*PACKAGES, "run", "tests"}}
    return rooms - {room_of(module_of(path))}


def tops_of(path: Path) -> set[str]:
    """First names of all that a file imports."""
    return {name.split(".")[0] for name in imports_of(path)}
