"""The installed package: a wheel built here and used from a folder far from any checkout."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, quiet_environment

pytestmark = pytest.mark.slow
INSIDE = {"dynfilt": "dynfilt", "analysis": "dynfilt/analysis", "conf": "dynfilt/conf", "sweeps": "dynfilt/sweeps"}
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
# A sweep and a model of the user's own, built on the packaged ones, with a layer in a module beside them.
OWN = {
    "mine/own.yaml": (
        "defaults: [demo, _self_]\nstudy: own\nhydra: {sweeper: {params: {seed: 0, model: 'static_3x3,mine'}}}"
    ),
    "mine/model/mine.yaml": "defaults: [static_3x3, _self_]\nfilter: {_target_: my_layer.Plain}",
    "my_layer.py": "from dynfilt.layers.generated import SharedConv2d as Plain",
    "dynfilt/__init__.py": "raise RuntimeError('this is not the installed package')",
}


def files_in(folder: Path) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in paths}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("copy")  # building leaves files beside the sources
    for name in (*INSIDE, "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    subprocess.run([*PIP, "wheel", "--no-build-isolation", "--no-deps", "-w", copy / "dist", copy], check=True)
    [built] = (copy / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    subprocess.run([*PIP, "install", "--no-deps", "--target", target, wheel], check=True)
    return target


def run(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = quiet_environment(PYTHONPATH=str(installed))
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_wheel_holds_all_files_below_one_name(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    runs = {f"dynfilt/docs/{name}" for name in files_in(ROOT / "docs") if re.match(r"runs\w*/\w+/", name)}
    assert len(runs) > 500
    assert held - runs == {f"{place}/{name}" for folder, place in INSIDE.items() for name in files_in(ROOT / folder)}
    assert held >= runs


def test_the_runs_of_the_repository_come_with_it(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, str(installed / "bin" / "dynfilt"), "table", "reference:lab_3x3", "--columns", "n")
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:4]] == ["static_3x3", "bypass_3x3"]


def test_layers_need_torch_alone(installed: Path, tmp_path: Path) -> None:
    absent = ["torchvision", "hydra", "omegaconf", "wandb", "numpy", "scipy", "matplotlib", "PIL", "yaml", "pydantic"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); import dynfilt.layers as layers, torch; "
        "print(layers.__file__, *layers.DYConv2d(2, 3, 3)(torch.zeros(1, 2, 5, 5)).shape)"
    )
    done = run(installed, tmp_path, "-c", code)
    assert done.stdout.split() == [str(installed / "dynfilt/layers/__init__.py"), "1", "3", "3", "3"], done.stderr


def test_the_command_trains_and_compares_what_is_ones_own_from_any_folder(installed: Path, tmp_path: Path) -> None:
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = str(installed / "bin" / "dynfilt")
    words = ("-cd", "mine", "-cn", "own", "trainer.epochs=0.05", "tracking=off", "trainer.device=cpu")
    done = run(installed, tmp_path, command, "run", *words, "hydra/launcher=pool")
    assert done.returncode == 0, done.stderr
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"mine", "my_layer.py", "dynfilt", "outputs"}
    table = run(installed, tmp_path, command, "table", "outputs/own", "--columns", "n,accuracy")
    assert [line[2:].split(",")[0] for line in table.stdout.splitlines()[2:4]] == ["static_3x3", "mine"]
    plan = run(installed, tmp_path, command, "plan", *words)
    assert "2 of 2 done" in plan.stdout, plan.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "error: which command?; the commands are: run, plan, status, table, "),
        (["tabel", "outputs"], "error: no command tabel; the commands are: run, plan"),
        (["-cd", "nowhere"], "error: no command -cd; the commands are: run"),
        (["table", "nowhere"], "error: nowhere is not a folder"),
        (["table", "nowhere", "-x"], "error: unrecognized arguments: -x (`dynfilt --help` explains)"),
        (["status", "nowhere"], "error: no runs in nowhere: looked at any depth for folders with status.json or"),
        (["status", "-x"], "error: unrecognized arguments: -x (`dynfilt status --help` explains)"),
        (["run", "-cd", "nowhere"], "error: -cd: there is no folder "),
        (["plan", "-cn", "nothing"], "error: -cn nothing: no such sweep; sweeps/ has: channels_photographs"),
        (["run", "-x"], "error: unrecognized arguments: -x; flags stand before all overrides, `dynfilt run --help`"),
    ],
)
def test_a_wrong_command_is_one_line(words: list[str], line: str, installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, str(installed / "bin" / "dynfilt"), *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line) and done.stderr.count("\n") == 1
    assert not os.listdir(tmp_path)
