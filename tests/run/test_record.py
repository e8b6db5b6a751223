import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dynfilt.run import record as record_module
from dynfilt.run.folder import RunFolder
from dynfilt.run.lock import is_in_use
from dynfilt.run.parsing import read_json
from dynfilt.run.record import RunRecord, set_aside, write_json
from tests.run_folders import contents, read_status

CONFIG: dict[str, Any] = {"seed": 0, "optimizer": {"lr": 0.1}, "trainer": {"epochs": 2}, "buffers": {}}
CONFIG["trainer"] |= {"evaluate_every_steps": None, "formulation": "auto"}
CONFIG["trainer"] |= {
    "compile_mode": "default",
    "cuda_graph": False,
    "deterministic": False,
    "check_layer": True,
    "decay_choice": True,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "study" / "variant" / "seed0"


def test_entering_makes_the_folder_and_keeps_the_config(folder: Path) -> None:
    with RunRecord(folder, CONFIG):
        assert sorted(contents(folder)) == ["config.yaml", "lock"]
    assert RunFolder(folder).config() == CONFIG


def test_the_state_goes_from_running_to_completed(folder: Path) -> None:
    with RunRecord(folder, CONFIG) as record:
        record.start({"commit": "abc"})
        running = read_status(folder)
        assert (running["state"], running["pid"]) == ("running", os.getpid())
        record.finish({"test_accuracy": 0.5})
    status = read_status(folder)
    assert (status["state"], status["started"]) == ("completed", running["started"])
    assert status["finished"] >= status["started"]
    assert read_json(folder / "result.json") == {"test_accuracy": 0.5}


def test_the_result_is_written_last(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = record_module.write_json
    monkeypatch.setattr(
        record_module, "write_json", lambda path, content: (written.append(path.name), write(path, content))
    )
    with RunRecord(folder, CONFIG) as record:
        record.start({})
        record.finish({})
    assert written[-1] == "result.json"


def test_a_failure_is_recorded_with_its_traceback_and_passed_on(folder: Path) -> None:
    with pytest.raises(FloatingPointError), RunRecord(folder, CONFIG) as record:
        record.start({})
        raise FloatingPointError("the loss is nan")
    status = read_status(folder)
    assert status["state"] == "failed"
    assert status["error"]["type"] == "FloatingPointError"
    assert status["error"]["message"] == "the loss is nan"
    assert status["error"]["traceback"].startswith("Traceback")
    assert "test_record.py" in status["error"]["traceback"]


def test_a_failure_that_cannot_be_recorded_hides_no_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FloatingPointError), RunRecord(folder, CONFIG):
        monkeypatch.setattr(record_module, "write_json", full)
        raise FloatingPointError("the loss is nan")
    assert "its failure could not be written down" in capsys.readouterr().err
    assert not is_in_use(folder)


def test_a_run_whose_folder_was_moved_leaves_the_one_in_its_place_alone(folder: Path) -> None:
    with pytest.raises(ValueError, match="was moved"), RunRecord(folder, CONFIG) as record:
        folder.rename(folder.with_name("elsewhere"))
        with RunRecord(folder, CONFIG) as other:
            other.start({})
        record.append_evaluation({"step": 1})
    assert read_status(folder)["state"] == "running"
    assert not (folder / "metrics.jsonl").exists()


def test_an_interrupt_is_no_failure(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt), RunRecord(folder, CONFIG) as record:
        record.start({})
        raise KeyboardInterrupt
    status = read_status(folder)
    assert (status["state"], status["error"]) == ("interrupted", None)


def test_the_first_attempt_stays_on_top_of_the_provenance(folder: Path) -> None:
    for attempt in range(3):
        with RunRecord(folder, CONFIG) as record:
            record.start({"command": attempt})
            record.add_provenance(formulations=f"of {attempt}")
    first, *resumed = ({"command": attempt, "formulations": f"of {attempt}"} for attempt in range(3))
    assert read_json(folder / "provenance.json") == {**first, "resumed": resumed}


def test_another_config_is_refused_by_name_and_nothing_is_lost(folder: Path) -> None:
    with RunRecord(folder, CONFIG) as record:
        record.append_evaluation({"step": 1})
    before = contents(folder)
    other = {**CONFIG, "optimizer": {"lr": 0.2}, "seed": 5}
    with pytest.raises(ValueError, match=r"belongs to another config.*optimizer\.lr: 0\.1 -> 0\.2") as error:
        RunRecord(folder, other).__enter__()
    assert "seed" not in str(error.value).removeprefix(str(folder))
    assert "rerun=true" in str(error.value)
    before["lock"] = contents(folder)["lock"]
    assert contents(folder) == before
    with RunRecord(folder, CONFIG):
        pass  # the refused attempt does not hold the lock


def test_an_attempt_that_never_trained_claims_nothing(folder: Path) -> None:
    with pytest.raises(KeyError), RunRecord(folder, CONFIG) as record:
        record.start({"commit": "a"})
        raise KeyError
    other = {**CONFIG, "optimizer": {"lr": 0.2}}
    with RunRecord(folder, other) as record:
        assert RunFolder(folder).config()["optimizer"] == {"lr": 0.2}
        record.start({"commit": "b"})
    assert read_json(folder / "provenance.json") == {"commit": "b"}


@pytest.mark.parametrize("name", ["metrics.jsonl", "result.json", "checkpoint/last.pt", "checkpoint/best.pt"])
def test_whatever_training_left_keeps_the_folder_for_its_config(name: str, folder: Path) -> None:
    with RunRecord(folder, CONFIG):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("something")
    with pytest.raises(ValueError, match="belongs to another config"):
        RunRecord(folder, {**CONFIG, "optimizer": {"lr": 0.2}}).__enter__()


def test_many_differing_keys_are_counted(folder: Path) -> None:
    with RunRecord(folder, CONFIG) as record:
        record.append_evaluation({"step": 1})
    with pytest.raises(ValueError, match=r"and 4 more\)"):
        RunRecord(folder, {**CONFIG, **{f"key{number}": 1 for number in range(10)}}).__enter__()


def test_a_second_holder_is_refused_until_the_first_has_left(folder: Path) -> None:
    with RunRecord(folder, CONFIG):
        before = contents(folder)
        assert is_in_use(folder)
        with pytest.raises(ValueError, match=rf"in use by another process \(pid {os.getpid()}\)"):
            RunRecord(folder, CONFIG).__enter__()
        with pytest.raises(ValueError, match="in use by another process"):
            set_aside(folder)
        assert contents(folder) == before
    assert not is_in_use(folder)
    with RunRecord(folder, CONFIG):
        pass


def test_asking_who_holds_a_folder_changes_nothing(folder: Path) -> None:
    assert not is_in_use(folder)
    assert not folder.exists()
    with RunRecord(folder, CONFIG):
        pass
    before = contents(folder)
    assert not is_in_use(folder)
    assert contents(folder) == before


def test_rows_past_a_checkpoint_and_a_torn_line_are_dropped(folder: Path) -> None:
    with RunRecord(folder, CONFIG) as record:
        for step in (4, 8, 12):
            record.append_evaluation({"step": step, "val_loss": 1 / step})
        with open(folder / "metrics.jsonl", "a") as file:
            file.write('{"step": 16, "val_l')
        assert [row["step"] for row in RunFolder(folder).evaluations()] == [4, 8, 12]
        record.drop_evaluations_after(8)
        record.append_evaluation({"step": 12, "val_loss": 0.0})
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": 4, "val_loss": 0.25}, {"step": 8, "val_loss": 0.125}, {"step": 12, "val_loss": 0.0}]


def test_a_damaged_line_before_the_last_is_an_error(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 4}\n{"st\n{"step": 12}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 2 is damaged; rerun=true sets the run aside"):
        RunFolder(folder).evaluations()


def test_numbers_survive_to_the_last_bit(folder: Path) -> None:
    row = {"step": 1, "val_loss": 0.1 + 0.2, "lr": 1e-17, "val_accuracy": 1.0, "temperature": None}
    with RunRecord(folder, CONFIG) as record:
        record.append_evaluation(row)
    [read] = RunFolder(folder).evaluations()
    assert read == row
    assert type(read["val_accuracy"]) is float


def test_a_row_is_on_disk_before_append_returns(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(record_module.os, "fsync", lambda number: (synced.append(number), fsync(number)))
    with RunRecord(folder, CONFIG) as record:
        synced.clear()
        record.append_evaluation({"step": 1})
        assert len(synced) == 1


def test_a_full_disk_is_passed_on_and_old_files_stay(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunRecord(folder, CONFIG) as record:
        record.start({})
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(record_module.os, "fsync", _no_space)
            write_json(folder / "status.json", {"state": "other"})
    assert read_status(folder)["state"] == "running"


def _no_space(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_that_cannot_be_made_is_named(unwritable: Path) -> None:
    with pytest.raises(ValueError, match=r"inside: cannot be written \(Not a directory\); choose output_root="):
        RunRecord(unwritable, CONFIG).__enter__()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ValueError, match=r"cannot be written \(Permission denied\)"):
            RunRecord(tmp_path / "run", CONFIG).__enter__()
    finally:
        tmp_path.chmod(0o700)


def test_a_run_set_aside_is_whole_and_hidden(folder: Path) -> None:
    for number in (1, 2):
        with RunRecord(folder, CONFIG) as record:
            record.append_evaluation({"step": number})
        assert set_aside(folder) == folder.with_name(f".seed0.{number}")
        assert not folder.exists()
    assert [RunFolder(folder.with_name(f".seed0.{number}")).evaluations() for number in (1, 2)] == [
        [{"step": 1}],
        [{"step": 2}],
    ]


@pytest.mark.parametrize("text", [None, "", "- a\n", "a: [", "a: !!python/object/apply:os.getcwd []"])
def test_what_is_no_config_is_named(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"config\.yaml: not the config of a run"):
        RunFolder(tmp_path).config()


def test_an_old_config_gains_the_keys_that_came_later(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("trainer: {epochs: 1, formulation: taps}\nseed: 0\n")
    trainer = {"epochs": 1, "formulation": "taps", "evaluate_every_steps": None, "compile_mode": "default"}
    trainer |= {"cuda_graph": False, "deterministic": False, "check_layer": True, "decay_choice": True}
    assert RunFolder(tmp_path).config() == {"trainer": trainer, "seed": 0, "buffers": {}}


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"state": ')
    with pytest.raises(ValueError, match=r"status\.json is not valid JSON"):
        read_json(tmp_path / "status.json")
    assert read_json(tmp_path / "result.json") is None
