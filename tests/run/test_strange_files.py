"""What a run's folder from somebody else may hold in place of its files: each is bounded, named and costs one run."""

import csv
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.__main__ import main as analysis
from analysis.reading.sources import read_runs
from dynfilt.run import lock
from dynfilt.run.folder import DamagedFile, RunFolder, RunState
from dynfilt.run.parsing import parse_config, parse_object
from dynfilt.train.checkpoint import DamagedCheckpoint, load_checkpoint, replace_atomically

FILES = ("result.json", "status.json", "provenance.json", "metrics.jsonl", "test_predictions.npz", "config.yaml")
ESCAPE = "\x1b[31m"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sound runs of two variants; the folder of the second one."""
    monkeypatch.chdir(tmp_path)
    for variant in ("static", "dynamic"):
        folder = tmp_path / "out" / "lab" / variant / "seed0"
        folder.mkdir(parents=True)
        result = {"study": "lab", "variant": variant, "seed": 0, "test_accuracy": 0.5}
        contents = [json.dumps(result), "{}", "{}", '{"epoch": 1, "step": 9}\n', "", "study: lab\nseed: 0\n"]
        for name, content in zip(FILES, contents, strict=True):
            (folder / name).write_text(content)
    return folder


def pipe(file: Path) -> None:
    os.mkfifo(file)


def device(file: Path) -> None:
    file.symlink_to("/dev/zero")


def gigabytes(file: Path) -> None:
    with open(file, "wb") as made:
        made.truncate(2_000_000_000)


@pytest.mark.parametrize("made", [pipe, device, gigabytes])
@pytest.mark.parametrize("name", [*FILES, "lock"])
def test_what_never_ends_in_place_of_a_file_is_not_read(study: Path, name: str, made: Callable[[Path], None]) -> None:
    (study / name).unlink(missing_ok=True)
    if name == "lock":
        (study / "result.json").unlink()  # only of a run without a result is it asked
    made(study / name)
    dynamic, static = read_runs(["out"])
    assert static.counts and static.evaluations()
    if name == "metrics.jsonl":
        with pytest.raises(DamagedFile, match=r"metrics\.jsonl cannot be read: it (is a pipe|has more)"):
            dynamic.evaluations()
    if name == "result.json":
        assert not dynamic.counts and "result.json cannot be read: it " in dynamic.error
    RunFolder(study).last_evaluation()


def test_a_checkpoint_that_is_a_pipe_is_damaged(tmp_path: Path) -> None:
    pipe(tmp_path / "last.pt")
    with pytest.raises(DamagedCheckpoint, match="it is no file"):
        load_checkpoint(tmp_path / "last.pt")


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("a: &a {b: *a}", "nested more than 50 deep"),
        ("a: &a [*a]\nseed: 3", "nested more than 50 deep"),
        ("\n".join(" " * depth + "a:" for depth in range(60)), "nested more than 50 deep"),
    ],
)
def test_a_config_without_an_end_is_refused(text: str, flaw: str) -> None:
    with pytest.raises(ValueError, match=rf"not the config of a run \({flaw}\)"):
        parse_config(text)


def test_a_line_of_a_megabyte_of_spaces_costs_no_time(study: Path) -> None:
    (study / "config.yaml").write_text(f"study: a{' ' * 1_000_000}b\nseed: 0\n")
    assert read_runs(["out"])[0].study == "lab"  # it took hours


def test_a_number_of_hundreds_of_digits_is_infinite(study: Path) -> None:
    assert parse_object(f'{{"a": {"9" * 400}, "b": -{"9" * 400}, "c": 7}}') == {"a": np.inf, "b": -np.inf, "c": 7}
    (study / "result.json").write_text(f'{{"test_accuracy": 0.5, "variant": "dynamic", "seed": {"9" * 30}}}')
    (study / "metrics.jsonl").write_text(f'{{"epoch": 1, "step": {"9" * 400}}}\n')
    assert analysis(["runs", "out", "--out", "runs.csv"]) == analysis(["curves", "out", "--out", "curves.csv"]) == 0


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.ljust(117).encode() + b"\n" + data


def header(shape: str, dtype: str = "'<i8'") -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}"


ARRAYS = {
    "a shape beyond all numbers": npy(header(f"({10**30},)")),
    "a shape of terabytes": npy(header(f"({10**12},)")),
    "half a header": npy("{'descr': (((((("),
    "a text without an end": npy("{'descr': '''"),
    "no array": b"",
    "a pickle": b"\x80\x04cos\nsystem\n.",
    "an object": npy(header("(1,)", "'|O'"), b"cos\nsystem\n."),
    "a record": npy(header("(1,)", "[('a', '<i8')]"), bytes(8)),
    "bytes": npy(header("(1,)", "'|S1'"), b"a"),
    "a matrix": npy(header("(1, 1)"), bytes(8)),
    "a single number": npy(header("()"), bytes(8)),
    "two images": npy(header("(2,)"), bytes(16)),
}


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS.keys())
def test_what_is_no_value_for_each_image_is_damage(study: Path, content: bytes) -> None:
    with zipfile.ZipFile(study / "test_predictions.npz", "w") as arrays:
        arrays.writestr("label.npy", content)
        arrays.writestr("best_class.npy", npy(header("(1,)"), bytes(8)))
    folder = RunFolder(study)
    with pytest.raises(DamagedFile, match=r"test_predictions\.npz (cannot be read|holds) "):
        folder.predictions()
    assert folder.state() == RunState.COMPLETED


@pytest.mark.parametrize("place", [10, 8])  # in the directory: how it is packed, and whether with a password
def test_an_archive_that_cannot_be_unpacked_is_damage(study: Path, place: int) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, label=np.arange(1000))
    content = bytearray(packed.getvalue())
    content[content.index(b"PK\x01\x02") + place] = 99
    (study / "test_predictions.npz").write_bytes(content)
    with pytest.raises(DamagedFile, match="cannot be read"):
        RunFolder(study).predictions()


def test_every_flipped_byte_of_predictions_is_damage_or_none(study: Path) -> None:
    packed = io.BytesIO()
    np.savez_compressed(packed, label=np.arange(40) % 7)
    for place in range(0, len(packed.getvalue()), 7):
        content = bytearray(packed.getvalue())
        content[place] ^= 0xFF
        (study / "test_predictions.npz").write_bytes(content)
        try:
            RunFolder(study).predictions()
        except DamagedFile as error:
            assert "test_predictions.npz" in str(error)


def test_names_reach_no_terminal_raw_and_no_spreadsheet_as_formulas(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {"study": "\ud800lab", "variant": f"{ESCAPE}\u202ename", "=1+1": 3, "test_accuracy": 0.5, "seed": 0}
    (study / "result.json").write_text(json.dumps(bad))
    (study / "provenance.json").write_text(json.dumps({"commit": f"{ESCAPE}c", "device": "=cmd()"}))
    (study / "config.yaml").write_text(f"{json.dumps({'+a': '@b', 'c': ESCAPE, 'seed': 0})}\n")
    (study / "metrics.jsonl").write_text(f"{json.dumps({'epoch': 1, '-x' + ESCAPE: 2})}\n")
    for command in ("runs", "curves", "table"):
        assert analysis([command, "out", *(["--format", "csv"] if command == "table" else [])]) == 0
        out, err = capsys.readouterr()
        assert not set("\x1b\u202e\ud800") & set(out + err)
        cells = [cell for row in csv.reader(io.StringIO(out)) for cell in row]
        assert not any(cell.startswith(("=", "+", "@", "-x")) for cell in cells)


def test_a_message_with_escapes_is_printed_without_them(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (study / "config.yaml").write_text(json.dumps({"model": {"_target_": f"{ESCAPE}.x"}, "seed": 0}))
    assert analysis(["architecture", str(study)]) == 2
    assert ESCAPE not in capsys.readouterr().err


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("text")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "test.json.tmp").symlink_to(victim)
    replace_atomically(tmp_path / "run" / "test.json", b"{}")
    (tmp_path / "run" / lock.NAME).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        lock.FolderLock(tmp_path / "run").acquire()
    assert victim.read_text() == "text" and (tmp_path / "run" / "test.json").read_text() == "{}"


def test_an_archive_holds_nothing_from_outside(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("secret").write_text("{}")
    (study / "provenance.json").unlink()
    (study / "provenance.json").symlink_to(Path("secret").resolve())
    assert analysis(["archive", "out", "--out", "runs.zip"]) == 2
    assert "provenance.json is a link; an archive holds files" in capsys.readouterr().err
