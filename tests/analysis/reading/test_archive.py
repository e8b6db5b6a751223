"""Runs as one archive: the same runs as in their folders, and nothing that a stranger has put beside them."""

import io
import json
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.reading import archive
from analysis.reading.archive import MOST_BYTES, write_archive
from analysis.reading.run_folder import read_predictions
from analysis.reading.sources import read_runs
from tests.conftest import ROOT

Change = Callable[[dict[str, bytes]], Any]
MANIFEST, RESULT = "archive.json", "lab_3x3/v/seed0/result.json"


@pytest.fixture
def packed(write_run: Callable[..., Path]) -> Path:
    """An archive of two finished runs beside one that failed; weights are left out."""
    write_run("v", 0, 0.75, predictions={"label": [0, 1, 2, 3], "best_class": [0, 1, 2, 0]})
    (write_run("v", 1, 0.5) / "checkpoint").mkdir()
    Path("outputs/lab_3x3/v/seed1/checkpoint/best.pt").write_text("weights")
    write_run("v", 2, None, state="failed")
    assert main(["archive", "outputs/lab_3x3", "--out", "runs.zip"]) == 0
    return Path("runs.zip")


def test_an_archive_is_a_source_like_the_folders_in_it(packed: Path) -> None:
    folders = [run for run in read_runs(["outputs"]) if run.counts]
    for source in ("runs.zip", "runs.zip/lab_3x3", "runs.zip/lab_3x3/v"):
        runs = read_runs([source])
        assert [run.source for run in runs] == [source] * 2
        for run, original in zip(runs, folders, strict=True):
            assert (run.numbers, run.config, run.seed) == (original.numbers, original.config, original.seed)
        np.testing.assert_array_equal(read_predictions(runs[0])[1], [1, 1, 1, 0])
    names = zipfile.ZipFile(packed).namelist()
    assert not [name for name in names if "checkpoint" in name or "seed2" in name]
    with pytest.raises(ValueError, match=r"^runs.zip/lab_3x4 is not a folder in the archive; runs.zip holds lab_3x3$"):
        read_runs(["runs.zip/lab_3x4"])


def test_the_same_runs_make_the_same_bytes(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["archive", "outputs/lab_3x3", "--out", "again.zip"]) == 0
    assert capsys.readouterr().out == f"again.zip: 2 finished runs, {packed.stat().st_size:,} bytes\n"
    assert Path("again.zip").read_bytes() == packed.read_bytes()


def test_all_runs_of_the_repository_are_one_archive(tmp_path: Path) -> None:
    file = tmp_path / "all.zip"
    assert write_archive(sorted(map(str, ROOT.glob("docs/runs*"))), str(file)) >= 95
    assert file.stat().st_size < MOST_BYTES


def test_labels_stand_once_and_come_back_bit_for_bit(write_run: Callable[..., Path]) -> None:
    classes = np.random.default_rng(0).integers(0, 10, size=(7, 10_000))
    for seed, best_class in enumerate(classes[1:]):
        accuracy = float((best_class == classes[0]).mean())
        write_run("v", seed, accuracy, predictions={"label": classes[0], "best_class": best_class})
    write_archive(["outputs"], "runs.zip")
    assert sum(name.startswith("labels/") for name in zipfile.ZipFile("runs.zip").namelist()) == 1
    assert Path("runs.zip").stat().st_size < 10 * len(zlib.compress(classes[0].tobytes(), 9))  # of 12, and the text
    for run, best_class in zip(read_runs(["runs.zip"]), classes[1:], strict=True):
        np.testing.assert_array_equal(read_predictions(run)[1], best_class == classes[0])
        assert sorted(np.load(Path(run.place) / "test_predictions.npz")) == ["best_class", "label"]


def test_an_archive_of_format_1_is_still_read(packed: Path) -> None:
    predictions = Path("outputs/lab_3x3/v/seed0/test_predictions.npz").read_bytes()

    def as_then(files: dict[str, bytes]) -> None:
        [labels] = [name for name in files if name.startswith("labels/")]
        del files[labels]
        files["lab_3x3/v/seed0/test_predictions.npz"] = predictions
        files[MANIFEST] = json.dumps({"format": 1, "runs": 2}).encode()

    rewrite(packed, as_then)
    np.testing.assert_array_equal(read_predictions(read_runs(["runs.zip"])[0])[1], [1, 1, 1, 0])


def rewrite(file: Path, change: Change) -> None:
    with zipfile.ZipFile(file) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    change(contents)
    with zipfile.ZipFile(file, "w") as new:
        for name, content in contents.items():
            new.writestr(name, content)


def bomb() -> bytes:
    """A file of predictions of a few kB that is 3 MB once read."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as arrays:
        arrays.writestr("label.npy", bytes(3_000_000))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda files: files.update({MANIFEST: json.dumps({"format": 7}).encode()}),
            "is an archive of format 7, but",
        ),
        (lambda files: files.pop(MANIFEST), "is no archive of runs (without archive.json)"),
        (lambda files: files.update({MANIFEST: b"{"}), "is damaged, or no archive of runs"),
        (
            lambda files: files.update({"../outside/result.json": b"{}"}),
            "holds '../outside/result.json', which is no file",
        ),
        (
            lambda files: files.update({"/tmp/result.json": b"{}"}),
            "holds '/tmp/result.json', which is no file",
        ),
        (lambda files: files.update({"v/seed0/best.pt": b""}), "holds 'v/seed0/best.pt', which is no file"),
        (
            lambda files: files.update({"v/.git/config.yaml": b""}),
            "holds 'v/.git/config.yaml', which is no file",
        ),
    ],
)
def test_a_strange_archive_is_one_line(
    change: Change, line: str, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(packed, change)
    capsys.readouterr()
    assert main(["table", "runs.zip"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: runs.zip: {line}") and error.count("\n") == 1
    assert error.endswith("; `python -m analysis archive SOURCE --out runs.zip` writes one\n")
    assert not (tmp_path.parent / "outside").exists()


def test_what_is_no_zip_and_what_is_cut_off(packed: Path) -> None:
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"runs\.zip: is damaged, or no archive of runs"):
        read_runs(["runs.zip"])


def test_sizes_are_bounded_inside_of_predictions_too(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(packed, lambda files: files.update({"v/seed0/test_predictions.npz": bomb()}))
    assert len(read_runs(["runs.zip"])) == 2
    monkeypatch.setattr(archive, "MOST_BYTES_UNPACKED", 2_000_000)
    with pytest.raises(ValueError, match=r"holds 3 files of 3,\d+,\d+ bytes, of at most 100,000 and 2,000,000"):
        read_runs(["runs.zip"])
    monkeypatch.setattr(archive, "MOST_FILES", 4)
    with pytest.raises(ValueError, match=r"holds 11 files of .* of at most 4 and"):
        read_runs(["runs.zip"])


def test_damaged_predictions_cost_their_run_alone(packed: Path) -> None:
    predictions = Path("outputs/lab_3x3/v/seed0/test_predictions.npz")
    predictions.write_bytes(predictions.read_bytes()[:-30])
    write_archive(["outputs"], "damaged.zip")
    runs = read_runs(["damaged.zip"])
    assert len(runs) == 2
    with pytest.raises(ValueError, match=r"test_predictions\.npz cannot be read"):
        read_predictions(runs[0])


@pytest.mark.parametrize("name", [f"{RESULT}/config.yaml", f"{'long' * 80}/config.yaml"])
def test_what_no_disk_takes_is_one_line_and_leaves_nothing(
    name: str, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrite(packed, lambda files: files.update({name: b"{}"}))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    with pytest.raises(ValueError, match=r"^runs\.zip: cannot be unpacked \(.+\)$"):
        read_runs(["runs.zip"])
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("root", [".hidden", "a:b", "a,b c"])
def test_what_is_packed_can_be_read(root: str, write_run: Callable[..., Path]) -> None:
    write_run("v", 0, 0.75, root=root)
    write_archive([root], "runs.zip")
    [run] = read_runs(["runs.zip"])
    assert run.counts and run.variant == "v"


def test_what_cannot_be_packed(write_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write_run("v", 0, 0.75)
    write_run("v", 0, 0.5, root="other/outputs")
    write_run("v", 1, None, state="failed", study="failed")
    with pytest.raises(ValueError, match=r"would both be lab_3x3/v/seed0; give the folder above both"):
        write_archive(["outputs/lab_3x3", "other/outputs/lab_3x3"], "runs.zip")
    with pytest.raises(ValueError, match="no finished run in outputs/failed"):
        write_archive(["outputs/failed"], "runs.zip")
    monkeypatch.setattr(archive, "MOST_BYTES", 500)
    with pytest.raises(ValueError, match=r"1 runs make 1?,?\d+ bytes, of at most 500; give fewer"):
        write_archive(["outputs/lab_3x3"], "runs.zip")
    assert not Path("runs.zip").exists()
