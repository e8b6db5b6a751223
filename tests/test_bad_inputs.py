"""The corpus of bad inputs, tests/bad_inputs/*.yaml: what is done, and the one clear line that it must give.

Every entry has `says`, a telling part of the line. Nothing may be executed, nothing half-written.
"""

import contextlib
import json
import pickle
import shlex
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra

from analysis.__main__ import main as analysis
from dynfilt import experiment, layers
from dynfilt.assembly import build_trainer, load
from dynfilt.check.__main__ import main as check_a_layer
from dynfilt.config.checks import check
from dynfilt.config.errors import explain
from dynfilt.data.cifar import cifar10
from dynfilt.data.image_list import image_list
from dynfilt.launch.hydra_plugins import Grid
from dynfilt.launch.jobs import JobComposer, expand
from dynfilt.models.backbone import Backbone
from dynfilt.run.parsing import YAML_LOADER
from dynfilt.train.checkpoint import save_checkpoint
from dynfilt.train.settings import resolve_device
from tests.conftest import ROOT, TINY, Command, command_line
from tests.run_folders import contents
from tests.wandb_logs import framed, run_record, summary_record

CORPUS = ROOT / "tests" / "bad_inputs"
ENTRIES: dict[str, list[dict[str, Any]]] = {
    path.stem: yaml.load(path.read_text(), YAML_LOADER) for path in CORPUS.glob("*.yaml")
}
LONGEST_LINE = 1300
CPU = torch.device("cpu")
Entry = dict[str, Any]


def entries(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("entry", ENTRIES[kind], ids=lambda entry: str(entry["do"])[:70])


@contextlib.contextmanager
def refused(entry: Entry, folder: Path) -> Iterator[None]:
    """What happens inside is refused in one line that says so, and leaves the folder as it was."""
    before = contents(folder)
    with pytest.raises(ValueError) as error:
        yield
    is_one_line(f"{error.value}\n", entry)
    assert contents(folder) == before


def is_one_line(text: str, entry: Entry, lines: int = 1) -> None:
    assert entry["says"] in text
    assert text.count("\n") <= lines and "Traceback" not in text
    assert max(map(len, text.splitlines())) <= LONGEST_LINE


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder that is empty but for a file, and in which nothing leaves its mark."""
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("text")
    yield
    assert not Path("executed").exists() and not list(tmp_path.rglob("*.tmp"))
    assert Path("a_file").read_text() == "text"


class Payload:
    """A pickle that writes a file when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("executed", "w")


def write(path: Path, content: Any) -> None:
    """A file as an entry describes it: a text; keys to set in the JSON or YAML that is there; or by one word."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match content:
        case str():
            path.write_text(content, encoding="utf-8")
        case {"is": "folder"}:
            path.unlink(missing_ok=True)
            path.mkdir()
        case {"is": "missing"}:
            path.unlink()
        case {"is": "cut"}:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        case {"is": "code"}:
            torch.save({"model": Payload()}, path)
        case {"is": "pickle", **keys}:
            path.write_bytes(pickle.dumps(keys.get("holds") or {b"data": Payload()}, protocol=2))
        case {"bytes": number}:
            path.write_bytes(bytes(number))
        case {"latin1": text}:
            path.write_bytes(text.encode("latin1"))
        case {"repeat": [text, times]}:
            path.write_text(text * times)
        case {"arrays": arrays}:
            np.savez(path, **{name: np.array(values) for name, values in arrays.items()})
        case {"claims": size}:
            header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({size},)}}".ljust(117) + "\n"
            with zipfile.ZipFile(path, "w") as arrays:
                arrays.writestr("label.npy", b"\x93NUMPY\x01\x00v\x00" + header.encode())
        case {"state": state}:
            save_checkpoint(state, path)
        case {"zip": files}:
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, text in files.items():
                    archive.writestr(name, "0" * text if isinstance(text, int) else text)
        case {"log": records}:
            kinds: dict[str, Callable[..., bytes]] = {"run": run_record, "summary": summary_record}
            path.write_bytes(framed(kinds[kind](**words) for record in records for kind, words in record.items()))
        case {"set": changes}:
            old = yaml.safe_load(path.read_text())
            path.write_text(json.dumps({**old, **changes}))
        case _:
            raise AssertionError(content)


def written(entry: Entry, root: Path) -> None:
    for name, content in entry.get("files", {}).items():
        write(root / name, content)


# Overrides of one run, as a sweep composes and checks them, and as a run is built.


@pytest.fixture(scope="module")
def composer_of_the_tiny_run(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Its composer and Hydra, made once: to compose anew for each entry takes a hundred times as long."""
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch, command_line(tmp_path_factory.mktemp("composer")) as call:
        patch.setattr(
            Grid, "sweep", lambda self, arguments: found.extend((self.composer, GlobalHydra.instance().hydra))
        )
        call(*TINY, "-m")

    return found


@pytest.fixture
def composer(composer_of_the_tiny_run: list[Any], monkeypatch: pytest.MonkeyPatch) -> JobComposer:
    """That composer, ready for one test."""
    made, hydra = composer_of_the_tiny_run
    monkeypatch.setattr(GlobalHydra.instance(), "hydra", hydra)
    return made


@pytest.mark.slow
@entries("overrides")
def test_overrides(entry: Entry, composer: JobComposer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(entry["do"])
    monkeypatch.setattr(sys, "argv", ["run.py", *TINY, *words])
    with refused(entry, tmp_path):
        try:
            for combination in expand(words):
                job = composer.job(combination)
                check(job.config, job.choices)
                build_trainer(job.config, resolve_device(job.config["trainer"]["device"]))
        except Exception as error:
            raise ValueError(explain(error)) from error


@pytest.mark.slow
@entries("commands")
def test_commands(entry: Entry, command: Command, tmp_path: Path) -> None:
    written(entry, tmp_path)
    before = contents(tmp_path)
    outcome = command(*([] if entry.get("bare") else TINY), *shlex.split(entry["do"]))
    assert outcome.code in (1, 2) and outcome.out == ""
    is_one_line(outcome.err, entry, entry.get("lines", 1))
    assert {name: content for name, content in contents(tmp_path).items() if "/seed0/" not in name} == before


# What stands in a run's folder: beside sound runs for a table, and for a run that is to go on.


def study(root: Path) -> Path:
    """Two variants with two seeds each; the folder of one run."""
    for variant in ("static", "dynamic"):
        for seed in (0, 1):
            folder = root / "outputs" / "lab" / variant / f"seed{seed}"
            folder.mkdir(parents=True)
            identity = {"study": "lab", "seed": seed}
            (folder / "config.yaml").write_text(
                yaml.safe_dump({**identity, "data": {"_target_": "x", "split_seed": 0}})
            )
            (folder / "status.json").write_text('{"state": "completed"}')
            result = {"variant": variant, "test_accuracy": 0.5 + seed / 10, "config_digest": variant, "parameters": 9}
            (folder / "result.json").write_text(json.dumps({**identity, **result}))
            (folder / "metrics.jsonl").write_text('{"epoch": 1, "step": 9, "val_accuracy": 0.5, "val_loss": 1.0}\n')
    return folder


@pytest.mark.slow
@entries("run_folders")
def test_run_folders(entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(entry, study(tmp_path))
    code = analysis(shlex.split(entry["do"]))
    printed = capsys.readouterr()
    assert code == entry.get("code", 0)
    text = printed.out + printed.err
    assert entry["says"] in text and "Traceback" not in text
    assert code or "static" in text or "/seed0" in text  # the others stand


@pytest.mark.slow
@entries("analysis")
def test_analysis(entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(tmp_path)
    written(entry, tmp_path)
    before = contents(tmp_path)
    assert analysis(shlex.split(entry["do"])) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    is_one_line(printed.err, entry, entry.get("lines", 1))
    assert contents(tmp_path) == before


@entries("checkpoints")
def test_checkpoints(entry: Entry, composer: JobComposer, finished_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that is to go on, to be tested or loaded."""
    monkeypatch.setattr(experiment, "collect_provenance", lambda device: {})
    written(entry, finished_copy)
    before = contents(finished_copy / "checkpoint")
    with pytest.raises(ValueError) as error:
        if entry["do"] == "load":
            load(finished_copy)
        else:
            experiment.run(composer.job(tuple(shlex.split(entry["do"]))))
    is_one_line(f"{error.value}\n", entry)
    assert contents(finished_copy / "checkpoint") == before


@entries("lists")
def test_lists(entry: Entry, tmp_path: Path) -> None:
    write(tmp_path / "pics" / "a.ppm", "P3 2 2 255 " + "9 " * 12)
    write(tmp_path / "train.txt", "pics/a.ppm 0\npics/a.ppm 1\n")
    write(tmp_path / "test.txt", "pics/a.ppm 0\n")
    write(tmp_path / "val.txt", "pics/a.ppm 0\n")
    written(entry, tmp_path)
    common = {"num_classes": 2, "validation_size": 0, "split_seed": 0, "flip": False, "pad": 0}
    own = {
        "root": ".",
        "name": "mine",
        "image_size": 4,
        "fit": "stretch",
        "denoise": 0,
        "min_max": False,
        "cache": None,
    }
    with pytest.raises(ValueError) as error:
        image_list(**{**own, **common, "mean": [0.5] * 3, "std": [0.5] * 3, **entry.get("settings", {})})
    is_one_line(f"{error.value}\n", entry)


@entries("data")
def test_data(entry: Entry, tmp_path: Path) -> None:
    written(entry, tmp_path)
    own = {"num_classes": 10, "validation_size": 5, "split_seed": 0, "flip": False, "pad": 0}
    with refused(entry, tmp_path):
        cifar10(root=entry.get("root", "."), mean=[0.5] * 3, std=[0.5] * 3, **own)


@entries("wandb_logs")
def test_wandb_logs(entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study(tmp_path)
    folder = tmp_path / "outputs" / "wandb" / "offline-run-20260101_000000-abc"
    written(entry, folder)
    assert analysis(shlex.split(entry["do"])) == entry.get("code", 0)
    printed = capsys.readouterr()
    assert entry["says"] in printed.out + printed.err and "Traceback" not in printed.err


@entries("weights")
def test_weights(entry: Entry, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in Backbone(1, "none").state_dict().items()}
    for name, words in entry.get("tensors", {}).items():
        state[name] = torch.zeros(words["shape"], dtype=getattr(torch, words.get("dtype", "float32")))
    for name in entry.get("without", []):
        del state[name]
    torch.save({entry.get("prefix", "") + name: tensor for name, tensor in state.items()}, tmp_path / "own.pth")
    written(entry, tmp_path)
    with refused(entry, tmp_path):
        Backbone(1, entry["do"])


@pytest.mark.slow
@entries("archives")
def test_archives(entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(entry, tmp_path)
    before = contents(tmp_path)
    assert analysis(shlex.split(entry["do"])) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    is_one_line(printed.err, entry)
    assert contents(tmp_path) == before


@entries("layers")
def test_layers(entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "check" in entry:
        assert check_a_layer(shlex.split(entry["check"])) == 2
        is_one_line(capsys.readouterr().err, entry)
        return
    with refused(entry, tmp_path):
        layer = getattr(layers, entry["do"])(**entry["arguments"])
        layer(torch.zeros(entry["input"]))


def test_the_corpus_is_large_enough() -> None:
    assert sum(map(len, ENTRIES.values())) >= 200
    for entry in (entry for kind in ENTRIES.values() for entry in kind):
        assert len(entry["says"]) >= 12, entry
