"""A run of two rows, mirrored by the real client, and what of it is read back offline or from a server."""

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from wandb.util import get_core_path

from dynfilt.tracking.mirror import Mirror, Tracking, open_mirror
from tests.wandb_server import API_KEY, Run

ROWS: list[dict[str, Any]] = [
    {
        "epoch": 0.5,
        "step": 3,
        "lr": 1e-3,
        "temperature": None,
        "train_loss": 0.1 + 0.2,
        "val_accuracy": 1 / 3,
    },
    {"epoch": 1.0, "step": 6, "lr": 1e-7 / 3, "temperature": 30.0, "train_loss": 2 / 7, "val_accuracy": 1.0},
]
RESULT: dict[str, Any] = {
    "study": "lab", "variant": "dynamic_3x3", "seed": 2, "test_accuracy": 2 / 3, "test_loss": 0.1 + 0.7,
    "flops": 555_422_720_001, "peak_memory_mb": None, "config_digest": "a1b2",
}  # fmt: skip
CONFIG: dict[str, Any] = {"seed": 2, "model": {"num_kernels": 4}, "optimizer": {"betas": [0.9, 0.999]}}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def log_in(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    monkeypatch.setenv("WANDB_BASE_URL", url)


def mirror_in(folder: Path, mode: str = "auto", run_id: str = "abc", seed: int = 2) -> Mirror:
    folder.mkdir(exist_ok=True)
    return open_mirror(
        Tracking(mode, "dynfilt", None),
        folder=folder,
        run_id=run_id,
        study="lab",
        variant="dynamic_3x3",
        seed=seed,
        config=CONFIG,
    )


def offline_records(folder: Path) -> list[dict[str, Any]]:
    """What the one offline run of a folder holds, read by W&B's own reader."""
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    # `wandb leet inspect --json`, without the half second that importing its command line takes.
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json"]
    command += ["--run-file", str(file), str(folder / "wandb")]
    lines: list[str] = []
    deadline = time.monotonic() + 10
    while not lines and time.monotonic() < deadline:  # the service writes them a moment after the run has ended
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


def read_offline(folder: Path) -> Run:
    """The one offline run of a folder, in the form in which the server has an online one."""
    run = Run(name="", project="")
    for record in offline_records(folder):
        content = record.get(record["type"], {})
        match record["type"]:
            case "run":
                run = Run(content["run_id"], content["project"], content["display_name"])
                run.group, run.job_type = content["run_group"], content["job_type"]
                run.config = content["config"]["update"]
            case "history":
                run.history.append(content["item"])
            case "summary":
                run.summary |= content["update"]
            case "exit":
                run.exit_code = content.get("exit_code", 0)
    return run


def kill_child(name: str) -> None:
    """kill -9 of the one child process of that name."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # processes come and go
            command, _, rest = (place / "stat").read_text().partition(" (")[2].rpartition(") ")
            if command == name and int(rest.split()[1]) == os.getpid():
                return os.kill(int(place.name), signal.SIGKILL)
    raise ProcessLookupError(name)


def assert_rows(run: Run, rows: list[dict[str, Any]]) -> None:
    """The rows as they were logged, None left out and the client's own keys not looked at."""
    kept = [{key: value for key, value in row.items() if value is not None} for row in rows]
    assert [{key: row[key] for key in row if key[0] != "_"} for row in run.history] == kept


def assert_mirrored(run: Run, rows: list[dict[str, Any]] = ROWS) -> None:
    assert_rows(run, rows)
    assert {key: run.summary.get(key) for key in RESULT} == RESULT
    assert (run.name, run.project, run.display_name) == ("abc", "dynfilt", "dynamic_3x3/seed2")
    assert (run.group, run.job_type, run.exit_code) == ("lab", "dynamic_3x3", 0)
    assert {key: run.config[key] for key in CONFIG} == CONFIG


def train(mirror: Mirror, rows: list[dict[str, Any]] = ROWS) -> None:
    with mirror:
        for row in rows:
            mirror.log(row)
        mirror.finish(RESULT)
