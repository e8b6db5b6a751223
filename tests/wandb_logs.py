"""Writes `.wandb` logs as W&B's client does, byte by byte, and reads them back in the simplest way."""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 32768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

COLUMNS = ("epoch", "step", "lr", "temperature", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


def framed(records: Iterable[bytes]) -> bytes:
    """A whole log of these records."""
    log = bytearray(HEADER)
    for record in records:
        begun = False
        while True:
            left = BLOCK - len(log) % BLOCK
            if left < 7:
                log += bytes(left)
                left = BLOCK
            part, record = record[: left - 7], record[left - 7 :]
            kind = (MIDDLE if record else LAST) if begun else (FIRST if record else FULL)
            log += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            begun = True
            if not record:
                break
    return bytes(log)


def run_record(run_id: str, config: Mapping[str, Any], group: str = "lab", job_type: str = "dynamic_3x3") -> bytes:
    """How a run begins."""
    record = Record(num=1)
    record.run.run_id, record.run.run_group, record.run.job_type = run_id, group, job_type
    record.run.project = "dynfilt"
    for key, value in config.items():
        record.run.config.update.add(key=key, value_json=json.dumps(value))
    return record.SerializeToString()


def history_record(row: Mapping[str, Any], step: int = 0) -> bytes:
    """A row, as the client's own process writes it."""
    record = Record(num=12)
    for key, value in {"_step": step, "_runtime": 0.5, "_timestamp": 1.7e9, **row}.items():
        record.history.item.add(nested_key=key.split("/"), value_json=json.dumps(value))
    return record.SerializeToString()


def summary_record(values: Mapping[str, Any]) -> bytes:
    """A change of the summary."""
    record = Record(num=13)
    for key, value in values.items():
        record.summary.update.add(key=key, value_json=json.dumps(value))
    return record.SerializeToString()


def exit_record(code: int) -> bytes:
    """How a run ends."""
    record = Record(num=14)
    record.exit.exit_code = code
    return record.SerializeToString()


def row(epoch: float, loss: float = 0.5) -> dict[str, float]:
    """An evaluation."""
    return {key: loss / (place + 1) for place, key in enumerate(COLUMNS)} | {"epoch": epoch, "step": epoch * 10}


def log_folder(wandb: Path, run_id: str, time: str = "000000", mode: str = "offline-run") -> Path:
    """An empty folder as W&B makes one for a run."""
    folder = wandb / f"{mode}-20260101_{time}-{run_id}"
    folder.mkdir(parents=True)
    return folder


def write_log(folder: Path, records: Iterable[bytes]) -> Path:
    """The log in W&B's folder of a run."""
    path = folder / f"run-{folder.name.rpartition('-')[2]}.wandb"
    path.write_bytes(framed(records))
    return path
