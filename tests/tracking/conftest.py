"""Mirrors without an account: a home without a key, and a server on the loopback, where all traffic stays."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynfilt.tracking import mirror
from tests.tracking.mirrored import closed_port, log_in
from tests.wandb_server import WandbServer


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A home without a key, no settings from outside, and afterwards no process of W&B's."""
    for name in list(os.environ):
        if name.startswith("WANDB") or name.lower() in ("netrc", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    yield
    mirror.end_service()
    monkeypatch.delenv("WANDB_SERVICE", raising=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        log_in(monkeypatch, server.url)
        yield server
