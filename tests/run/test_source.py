"""The fingerprint of the code that computes a run's numbers."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynfilt.run import source
from dynfilt.run.source import changed_modules, source_of

CODE = '''"""What it is."""
from my_layers.inner import number

class Layer:
    """It filters."""
    size = number + 1
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own package of two modules that compute, and one that does not."""
    folder = tmp_path / "my_layers"
    folder.mkdir()
    for name, text in (("__init__", ""), ("layer", CODE), ("inner", "number = 1\n"), ("plots", "colour = 1\n")):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    source._file_of.cache_clear()
    for name in [name for name in sys.modules if name.startswith("my_layers")]:
        del sys.modules[name]


def of(target: str) -> dict[str, str]:
    return source_of({"model": {"_target_": "torch.nn.Linear", "conv": [{"_target_": target}]}})


def test_it_holds_what_the_targets_import_of_their_own_package_and_of_ours(package: Path) -> None:
    found = of("my_layers.layer.Layer")
    assert {name for name in found if name.startswith("my_layers")} == {"my_layers.layer", "my_layers.inner"}
    assert {"dynfilt.train.trainer", "dynfilt.train.evaluation", "dynfilt.schedules", "dynfilt.data.batches"} <= set(
        found
    )
    assert not [
        name for name in found if name.startswith(("torch", "dynfilt.run", "dynfilt.tracking", "dynfilt.config"))
    ]


def test_a_network_brings_its_own_layers_and_no_others(package: Path) -> None:
    static, dynamic = (of(f"dynfilt.layers.{name}") for name in ("convolution.Conv", "dyconv.DYConv2d"))
    assert "dynfilt.layers.mixture" in dynamic and "dynfilt.layers.mixture" not in static
    assert "dynfilt.layers.fdconv" not in dynamic


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda text: text.replace("number + 1", "number + 2"), ["my_layers.layer"]),
        (lambda text: f"# a remark\n{text}", []),
        (lambda text: text.replace("It filters.", "It filters images."), []),
        (lambda text: text.replace("number + 1", "(number +  1)  # as ever"), []),
        (
            lambda text: text.replace("from my_layers.inner import number", "number = 1"),
            ["my_layers.inner", "my_layers.layer"],
        ),
        (lambda text: f"{text}    size = (", ["my_layers.inner", "my_layers.layer"]),
    ],
)
def test_code_counts_and_words_do_not(change: Callable[[str], str], changed: list[str], package: Path) -> None:
    before = of("my_layers.layer.Layer")
    file = package / "layer.py"
    file.write_text(change(file.read_text()))
    source._read.cache_clear()
    assert changed_modules(before, of("my_layers.layer.Layer")) == changed


@pytest.mark.parametrize("recorded", [None, {}, "text", []])
def test_what_was_not_recorded_has_not_changed(recorded: Any, package: Path) -> None:
    assert changed_modules(recorded, of("my_layers.layer.Layer")) == []


def test_what_was_imported_stays_what_it_was_and_the_rest_is_as_on_disk(package: Path) -> None:
    importlib.import_module(f"{package.name}.inner")
    before = of("my_layers.layer.Layer")
    for name in ("inner", "layer"):
        file = package / f"{name}.py"
        file.write_text(f"{file.read_text()}\nmore = 1\n")
        os.utime(file, ns=(1, 1))
    assert changed_modules(before, of("my_layers.layer.Layer")) == ["my_layers.layer"]


def test_an_import_from_beyond_the_package_is_none_of_it(package: Path) -> None:
    layer = package / "layer.py"
    layer.write_text(f"try:\n    from ...tools import number\nexcept ImportError:\n    number = 1\n{CODE}")
    assert {"my_layers.layer", "my_layers.inner"} <= of("my_layers.layer.Layer").keys()
