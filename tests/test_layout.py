"""The shape of the house: who may import whom, how large a file may grow, and which names say too little."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from importlib.metadata import packages_distributions
from inspect import signature
from pathlib import Path

import pytest
import yaml

from dynfilt.run import folder as run_folder
from tests.source_files import (
    PACKAGES,
    ROOT,
    imports_in,
    imports_of,
    module_of,
    name_of,
    nodes_of,
    packages_of,
    python_files,
    room_of,
    rooms_of,
    source_files,
    tops_of,
    tree_of,
)

MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60
EMPTY_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "base"}

# Room -> the rooms of dynfilt and the installed packages it may import.
CLOSED_ROOMS = {
    "dynfilt.layers": (set(), {"torch", "triton"}),  # triton where it is needed, see per_image.py
    "dynfilt.models": ({"dynfilt.layers", "dynfilt.wording"}, {"torch", "torchvision"}),
    "dynfilt.schedules": (set(), set()),
    "dynfilt.installation": (set(), set()),
    "dynfilt.wording": (set(), set()),
    "dynfilt.seeding": (set(), {"torch"}),
    "dynfilt.data": ({"dynfilt.seeding"}, {"torch", "torchvision", "numpy", "PIL", "tqdm", "cv2"}),
}
# Stage of analysis -> the stages it may import, all of them before it in this order, and the installed packages.
STAGES = {
    "analysis.reading": (set(), {"numpy", "yaml", "wandb", "google", "pyarrow"}),
    "analysis.drawing": (set(), {"numpy", "matplotlib"}),
    "analysis.comparing": ({"reading"}, {"numpy", "scipy", "yaml"}),
    "analysis.tables": ({"reading", "comparing"}, {"rich"}),
    "analysis.frames": ({"reading", "comparing", "tables"}, {"numpy", "pandas"}),
    "analysis.figures": ({"reading", "drawing", "comparing", "tables"}, {"numpy", "matplotlib"}),
    "analysis.filters": (
        {"reading", "drawing", "comparing", "tables"},
        {"numpy", "matplotlib", "PIL", "torch", "tqdm"},
    ),
    "analysis.report": (
        {"reading", "drawing", "comparing", "tables", "figures"},
        {"numpy", "matplotlib", "PIL", "yaml"},
    ),
    "analysis.reference": ({"reading", "comparing"}, set()),
    "analysis.publishing": ({"reading"}, {"yaml", "wandb", "wandb_workspaces"}),
}
# Room of benchmarks -> the rooms it may import; what is measured and what is written down know nothing of each other.
BENCHMARK_ROOMS = {
    "benchmarks.measuring": set(),
    "benchmarks.reporting": set(),
    "benchmarks.commands": {"benchmarks.measuring", "benchmarks.reporting"},
}
FENCED_ROOMS: dict[str, tuple[set[str], set[str] | None]] = {
    **CLOSED_ROOMS,
    **{stage: ({f"analysis.{name}" for name in before}, packages) for stage, (before, packages) in STAGES.items()},
    **{room: (rooms, None) for room, rooms in BENCHMARK_ROOMS.items()},
}
# Package -> the files and folders that may import it.
FENCED_PACKAGES = {
    "hydra": {"dynfilt/command_line.py", "dynfilt/config", "dynfilt/launch"},
    "omegaconf": {"dynfilt/command_line.py", "dynfilt/config", "dynfilt/launch"},
    "wandb": {"dynfilt/tracking", "analysis/reading/wandb", "analysis/publishing"},
    "rich": {"dynfilt/launch", "analysis/tables"},
}
INSTALLED_AS = {"cv2": "opencv-python-headless"}  # extras that are not installed everywhere
COMES_WITH_TORCH = {"triton"}  # where there is CUDA; ROCm has one of its own
CONSOLE = "dynfilt/__main__.py"  # the installed command, above analysis as well
# They are run, see the Makefile, or found by name: Hydra's plugins.
NEVER_IMPORTED = {"hydra-joblib-launcher", "mypy", "pre-commit", "pytest-timeout", "pytest-xdist", "ruff", "setuptools"}
HEAVY = {"wandb", "pandas", "matplotlib", "scipy"}
CONVOLUTIONS = sorted((ROOT / "conf" / "model" / "conv").glob("*.yaml"))
# The packages that are libraries for others.
PUBLIC_FACES = ("dynfilt/layers/__init__.py", "analysis/frames/__init__.py")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import hydra.utils", {"hydra.utils"}),
        ("def late():\n    from omegaconf import OmegaConf", {"omegaconf.OmegaConf"}),
        ("from . import dyconv", {"dynfilt.layers.dyconv"}),
        ("from ..models.lab import Lab", {"dynfilt.models.lab.Lab"}),
        ("importlib.import_module('wandb')", {"wandb"}),
        ("import_module('.condition', __package__)", {"dynfilt.layers.condition"}),
    ],
)
def test_the_fences_see_every_kind_of_import(source: str, found: set[str]) -> None:
    assert set(imports_in(ast.walk(ast.parse(source)), "dynfilt.layers")) == found


@pytest.mark.parametrize("room", FENCED_ROOMS)
def test_a_fenced_room_imports_only_what_it_may(room: str) -> None:
    allowed_rooms, allowed_packages = FENCED_ROOMS[room]
    files = [path for path in source_files() if room_of(module_of(path)) == room]
    assert files, f"{room} has no file"
    for path in files:  # outside dynfilt all of it may be imported
        rooms = {name for name in rooms_of(path) if room.startswith("dynfilt.") or not name.startswith("dynfilt.")}
        assert rooms <= allowed_rooms, name_of(path)
        assert allowed_packages is None or packages_of(path) <= allowed_packages, name_of(path)


def test_a_stage_of_analysis_may_import_only_what_comes_before_it() -> None:
    for number, (stages, _) in enumerate(STAGES.values()):
        assert {f"analysis.{name}" for name in stages} <= set(list(STAGES)[:number])


def test_training_knows_neither_configs_nor_models_nor_trackers() -> None:
    strangers = {f"dynfilt.{room}" for room in ("config", "experiment", "launch", "run", "tracking", "models")}
    for path in python_files("dynfilt/train"):
        assert not rooms_of(path) & strangers, name_of(path)


def test_dynfilt_never_imports_what_is_built_on_it() -> None:
    for path in python_files("dynfilt"):
        assert not tops_of(path) & {"analysis", "benchmarks", "run", "tests"}, name_of(path)
        assert name_of(path) == CONSOLE or "dynfilt.analysis" not in rooms_of(path), name_of(path)


def assert_no_circle(graph: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_two_rooms_of_dynfilt_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for path in python_files("dynfilt"):
        rooms = (room for room in rooms_of(path) if room.startswith("dynfilt."))
        graph.setdefault(room_of(module_of(path)), set()).update(rooms)
    assert_no_circle(graph)


def test_no_two_files_import_each_other() -> None:
    """Neither late, inside a function, nor for types alone."""
    modules = {module_of(path): path for path in source_files()}
    found = {module: imports_of(path) for module, path in modules.items()}
    assert_no_circle({m: {n if n in modules else n.rpartition(".")[0] for n in names} for m, names in found.items()})


def test_analysis_has_no_room_beside_its_stages_and_calls_its_own_modules_relatively() -> None:
    for path in python_files("analysis"):
        loose = {"analysis", "analysis.__main__"}
        assert module_of(path) in loose or room_of(module_of(path)) in STAGES, name_of(path)
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) analysis\b", text, re.MULTILINE), name_of(path)


def test_benchmarks_have_no_room_beside_these() -> None:
    rooms = {room_of(module_of(path)) for path in python_files("benchmarks/")}
    assert rooms == {*BENCHMARK_ROOMS, "benchmarks", "benchmarks.__main__"}


@pytest.mark.parametrize("package", FENCED_PACKAGES)
def test_a_fenced_package_is_imported_in_its_files_only(package: str) -> None:
    importers = [name_of(path) for path in source_files() if package in packages_of(path)]
    inside = tuple(place if place.endswith(".py") else f"{place}/" for place in FENCED_PACKAGES[package])
    assert importers and not [name for name in importers if not name.startswith(inside)]


installed_packages = cache(packages_distributions)


@cache
def distributions_of(package: str) -> frozenset[str]:
    """What may be installed to import a package: `protobuf` and others for `google`."""
    names = installed_packages().get(package, [INSTALLED_AS.get(package, package)])
    return frozenset(name.lower().replace("_", "-") for name in names)


def declared_dependencies() -> tuple[set[str], set[str], set[str]]:
    """Names of what pyproject.toml declares: always needed, needed for some command, needed for development."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    extras = [line for name, lines in optional.items() if name != "dev" for line in lines]
    lists = (project["dependencies"], extras, optional["dev"])
    needed, some, dev = ({re.split(r"[<>=!~ \[;]", line)[0].lower() for line in lines} - {"dynfilt"} for lines in lists)
    return needed, some, dev


@pytest.mark.slow
def test_every_imported_package_is_a_declared_dependency() -> None:
    needed, some, dev = declared_dependencies()
    of_checkout = python_files("benchmarks")
    installed = [path for path in source_files() if path not in of_checkout]
    for files, declared in (
        (installed, needed | some),
        (of_checkout, needed | some | dev),
        (python_files("tests"), needed | dev),
    ):
        for path in files:
            for package in packages_of(path) - COMES_WITH_TORCH:
                assert distributions_of(package) & declared, f"{name_of(path)} imports {package}, which is not declared"


@pytest.mark.slow
def test_every_declared_dependency_is_imported() -> None:
    installed = [*python_files("dynfilt", "analysis"), ROOT / "run.py"]
    needed, some, dev = declared_dependencies()
    for files, declared in ((installed, needed | some), (python_files("tests"), dev - NEVER_IMPORTED)):
        imported = {name for path in files for package in packages_of(path) for name in distributions_of(package)}
        assert not declared - imported


def test_the_tested_versions_are_names_and_versions_of_all_that_is_declared() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    needed, _, dev = declared_dependencies()
    assert not (needed | dev) - pinned.keys(), "constraints.txt lacks these: add the versions that are installed here"
    assert all(re.fullmatch(r"[a-z0-9-]+", name) and re.match(r"\d", version) for name, version in pinned.items())


@pytest.mark.slow
def test_layers_load_with_torch_alone_and_the_training_path_loads_nothing_heavy() -> None:
    """In one process, the layers first: what they bring stays loaded."""
    layers = ["dynfilt.annealing", *(module_of(path) for path in python_files("dynfilt/layers"))]
    steps = (f"import {', '.join(names)}; print(*sys.modules)" for names in (layers, ["dynfilt.experiment"]))
    command = [sys.executable, "-c", "\n".join(["import sys", *steps])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    after_layers, after_training = ({name.split(".")[0] for name in line.split()} for line in done.stdout.splitlines())
    assert "torch" in after_layers
    assert sorted(after_layers & {"torchvision", "hydra", "omegaconf", "yaml", "PIL", *HEAVY}) == []
    assert sorted(after_training & HEAVY) == []


def test_the_files_of_a_run_are_named_in_one_place() -> None:
    names = [
        value for key, value in vars(run_folder).items() if key.isupper() and isinstance(value, str) and "." in value
    ]
    assert len(names) == 7 and "result.json" in names
    literals = re.compile("|".join(rf"(?<!conf/){re.escape(name)}" for name in [*names, "best.pt", "last.pt"]))
    for path in source_files():
        docstrings = {id(node.value) for node in nodes_of(path) if isinstance(node, ast.Expr)}
        texts = [node for node in nodes_of(path) if isinstance(node, ast.Constant) and id(node) not in docstrings]
        found = [node.value for node in texts if isinstance(node.value, str) and literals.search(node.value)]
        if name_of(path) == "dynfilt/run/folder.py":
            assert found == names
        elif not name_of(path).startswith("dynfilt/config/"):  # conf/config.yaml is another file
            assert not found, name_of(path)


def test_no_file_or_function_grows_past_its_limit() -> None:
    for path in [*source_files(), *python_files("tests")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES, name_of(path)
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, f"{name_of(path)}:{node.name}"


def test_names_say_what_a_thing_is() -> None:
    for path in [*source_files(), *python_files("tests")]:
        words = set(re.split(r"[_/.]", name_of(path).lower()))
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef):
                words |= {word.lower() for word in re.findall(r"[A-Z]+[a-z0-9]*", node.name)}
        assert not words & EMPTY_NAMES, name_of(path)


def test_an_init_file_holds_one_sentence_and_nothing_else() -> None:
    inits = [path for path in python_files(*PACKAGES) if path.name == "__init__.py"]
    assert inits
    for path in inits:
        tree = tree_of(path)
        docstring = ast.get_docstring(tree)
        assert docstring and "\n" not in docstring, name_of(path)
        assert len(tree.body) == 1 or name_of(path) in PUBLIC_FACES, name_of(path)


@pytest.mark.parametrize("face", PUBLIC_FACES)
def test_a_public_face_is_names_alone(face: str) -> None:
    tree = tree_of(ROOT / face)
    _, *imports, exported = tree.body
    names = [name.name for statement in imports if isinstance(statement, ast.ImportFrom) for name in statement.names]
    assert all(isinstance(statement, ast.ImportFrom) for statement in imports)
    assert isinstance(exported, ast.Assign) and sorted(ast.literal_eval(exported.value)) == sorted(names)


def test_every_convolution_of_a_config_stands_in_the_public_face_of_the_layers() -> None:
    targets = re.findall(r"dynfilt\.layers\.\w+\.(\w+)", "".join(path.read_text() for path in CONVOLUTIONS))
    assert targets and set(targets) <= set(vars(import_module("dynfilt.layers")))


@pytest.mark.parametrize("file", CONVOLUTIONS, ids=lambda file: file.stem)
def test_a_convolution_has_the_same_defaults_as_a_library_and_as_a_choice(file: Path) -> None:
    node = yaml.safe_load(file.read_text())
    if "defaults" in node:  # a choice that changes another one's
        return
    if "model" in node:  # it brings a schedule beside the layer
        node = node["model"]["conv"]
    module, _, name = node["_target_"].rpartition(".")
    parameters = signature(getattr(import_module(module), name)).parameters
    chosen = {key: value for key, value in node.items() if not key.startswith("_")}
    assert {key: parameters[key].default for key in chosen} == chosen


def test_every_folder_of_code_is_a_package() -> None:
    for path in python_files(*PACKAGES):
        assert (path.parent / "__init__.py").is_file(), f"{name_of(path.parent)} has no __init__.py"
