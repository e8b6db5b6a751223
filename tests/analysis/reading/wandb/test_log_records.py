"""Records of a log the real client wrote, by W&B's protocol and by its command line: both say the same."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.reading.run import by_epoch
from analysis.reading.wandb import log_records as records
from analysis.reading.wandb.log_records import TransactionLog, history_rows
from analysis.reading.wandb.offline import read_log
from dynfilt.tracking.mirror import Tracking, end_service, open_mirror
from tests.wandb_logs import framed, history_record, log_folder, run_record, write_log

ROWS: list[dict[str, Any]] = [
    {"epoch": 0.5, "step": 3, "lr": 1e-7 / 3, "temperature": None, "train_loss": 0.1 + 0.2, "val_accuracy": 1.0},
    {"epoch": 1.0, "step": 6, "lr": 1e-3, "temperature": 30.0, "train_loss": math.inf, "val_accuracy": 1 / 3},
]
RESULT = {"test_accuracy": 1.0, "test_loss": 0.1 + 0.7, "flops": 555_422_720_001, "peak_memory_mb": None}
CONFIG: dict[str, Any] = {"study": "lab", "seed": 2, "schedule": {"value": 1.0}, "optimizer": {"betas": [0.9, 0.999]}}


@pytest.fixture(params=["protocol", "command line"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "command line":
        monkeypatch.setattr(records, "record_type", lambda: None)


@pytest.mark.slow
def test_a_log_of_the_client_is_read_whole(decoder: None, tmp_path: Path) -> None:
    with open_mirror(
        Tracking("offline", "dynfilt", None),
        folder=tmp_path,
        run_id="abc",
        study="lab",
        variant="dynamic_3x3",
        seed=2,
        config=CONFIG,
    ) as mirror:
        for row in ROWS:
            mirror.log(row)
        mirror.finish(RESULT)
    end_service()  # until then the client may still be writing
    (path,) = tmp_path.glob("wandb/offline-run-*/run-abc.wandb")
    run = read_log(str(path))
    assert (run.run_id, run.group, run.job_type, run.state) == ("abc", "lab", "dynamic_3x3", "finished")
    assert run.display_name == "dynamic_3x3/seed2"
    assert {key: run.config[key] for key in CONFIG} == CONFIG
    assert {key: run.summary.get(key) for key in RESULT} == RESULT
    expected = [{key: value for key, value in row.items() if value is not None} for row in ROWS]
    assert by_epoch(history_rows(TransactionLog(str(path)))) == expected


def test_nested_names_are_joined_by_dots_and_values_are_kept(decoder: None) -> None:
    row = {"epoch": 1, "per_class/cat": 0.5, "image": {"_type": "image-file", "path": "a.png"}, "val_loss": math.nan}
    path = write_log(log_folder(Path("wandb"), "abc"), [run_record("abc", {}), history_record(row)])
    (read,) = history_rows(TransactionLog(str(path)))
    assert read["per_class.cat"] == 0.5
    assert by_epoch([read])[0].keys() >= {"epoch", "per_class.cat", "val_loss"}
    assert math.isnan(by_epoch([read])[0]["val_loss"])


def test_a_log_of_another_version_is_left_to_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_log(log_folder(Path("wandb"), "abc"), [run_record("abc", {})])
    path.write_bytes(path.read_bytes().replace(b"\xe1\xbe\x00", b"\xe1\xbe\x01", 1))
    asked = []

    def print_records(path: str, with_history: bool) -> list[Any]:
        asked.append(path)
        return [("run", {"run_id": "from the command", "config": {}})]

    monkeypatch.setattr(records, "_from_command_line", print_records)
    assert read_log(str(path)).run_id == "from the command" and asked == [str(path)]


@pytest.mark.parametrize("module", [None, type("Moved", (), {})])
def test_a_protocol_that_has_moved_is_told_from_one_that_is_there(
    module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert records.record_type() is not None
    records.record_type.cache_clear()
    monkeypatch.setattr("wandb.proto.wandb_internal_pb2", module, raising=False)
    monkeypatch.setitem(sys.modules, "wandb.proto.wandb_internal_pb2", module)
    try:
        assert records.record_type() is None
    finally:
        records.record_type.cache_clear()


def test_a_record_that_cannot_be_decoded_is_an_error() -> None:
    Path("x.wandb").write_bytes(framed([run_record("abc", {}), b"\xff\xff\xff"]))
    with pytest.raises(ValueError, match="this release of W&B cannot decode"):
        read_log("x.wandb")


def test_a_command_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_log(log_folder(Path("wandb"), "abc"), [run_record("abc", {})])
    monkeypatch.setattr(records, "record_type", lambda: None)
    monkeypatch.setattr("wandb.util.get_core_path", lambda: "/bin/false")
    with pytest.raises(ValueError, match="`wandb leet inspect` ended with exit code 1"):
        read_log(str(path))
