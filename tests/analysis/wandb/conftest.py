"""W&B without an account: a home of its own, no key, and a server on the loopback."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dynfilt.tracking import mirror
from tests.wandb_logs import exit_record, history_record, log_folder, row, run_record, summary_record, write_log
from tests.wandb_server import API_KEY, WandbServer

WriteOffline = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A home without a key and settings, a current folder without runs, and afterwards no process of W&B's."""
    for name in list(os.environ):
        if name.startswith(("WANDB", "XDG")) or name.lower() in ("netrc", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    yield
    mirror.end_service()
    monkeypatch.delenv("WANDB_SERVICE", raising=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server, and a key for it."""
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_API_KEY", API_KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


@pytest.fixture
def write_offline(tmp_path: Path) -> WriteOffline:
    """Writes runs/wandb/offline-run-<time>-<run_id>/run-<run_id>.wandb, relative to the current folder."""

    def write(
        run_id: str = "abc",
        time: str = "000000",
        seed: int = 0,
        accuracy: float | None = 0.75,
        epochs: range = range(1, 4),
        code: int | None = 0,
        loss: float = 0.5,
        config: dict[str, object] | None = None,
        **summary: object,
    ) -> Path:
        identity = {"study": "lab", "variant": "dynamic_3x3", "seed": seed}
        records = [run_record(run_id, {"study": "lab", "seed": seed, **(config or {})})]
        for epoch in epochs:
            records += [summary_record(row(epoch, loss)), history_record(row(epoch, loss), epoch)]
        if accuracy is not None:
            records.append(summary_record({**identity, "test_accuracy": accuracy, "config_digest": "d", **summary}))
        elif summary:
            records.append(summary_record(summary))
        if code is not None:
            records.append(exit_record(code))
        return write_log(log_folder(Path("runs/wandb"), run_id, time), records)

    return write
