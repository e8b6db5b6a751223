"""Servers, clients and services that fail: the mirror goes offline or stops, and training goes on in time."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import wandb

from dynfilt.tracking import mirror as mirror_module
from tests.conftest import ROOT, TINY
from tests.tracking.mirrored import ROWS, assert_mirrored, kill_child, mirror_in, read_offline, train
from tests.wandb_server import API_KEY, WandbServer


def test_a_server_that_is_gone_leads_offline_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    train(mirror_in(tmp_path))
    assert_mirrored(read_offline(tmp_path))
    assert f"offline (no answer from {os.environ['WANDB_BASE_URL']} within 1.5 s)" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["hang", 500])
def test_a_server_that_does_not_work_leads_offline(
    failure: int | str,
    tmp_path: Path,
    server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(mirror_module, "START_SECONDS", 0.5)
    server.failure = failure
    train(mirror_in(tmp_path))  # a server that hangs does so until this test has ended
    assert_mirrored(read_offline(tmp_path))
    assert capfd.readouterr().out.startswith("tracking: offline (")


@pytest.mark.slow
@pytest.mark.parametrize("failure", ["hang", 500])
def test_a_server_that_stops_working_stops_nothing(
    failure: int | str,
    tmp_path: Path,
    server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(mirror_module, "FINISH_SECONDS", 0.5)
    mirror = mirror_in(tmp_path / "1", run_id="one")
    server.failure = failure
    train(mirror)
    (place,) = (tmp_path / "1/wandb").glob("run-*")
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[1].endswith(f"upload the rest with: wandb sync {place}")
    server.failure = None
    train(mirror_in(tmp_path / "2"))
    assert_mirrored(server.runs["abc"])


def test_an_upload_that_is_refused_is_told(tmp_path: Path, server: WandbServer, capfd: pytest.CaptureFixture) -> None:
    mirror = mirror_in(tmp_path)
    server.failure = 403
    train(mirror)
    assert "Fatal error while uploading data" in capfd.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds W&B's process through /proc")
def test_a_client_that_dies_stops_nothing(tmp_path: Path, server: WandbServer, capfd: pytest.CaptureFixture) -> None:
    mirror = mirror_in(tmp_path / "1", run_id="one")
    mirror.log(ROWS[0])
    kill_child("wandb-core")
    time.sleep(0.2)
    train(mirror, ROWS * 2)
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 2 and "W&B stopped" in lines[1]
    train(mirror_in(tmp_path / "2"))
    assert_mirrored(server.runs["abc"])


def test_a_service_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(mirror_module, "TEAR_DOWN_SECONDS", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(wandb, "teardown", lambda exit_code: ended.wait())
        mirror_module.end_service()  # comes back while W&B still waits
    ended.set()


@pytest.mark.slow
def test_a_service_that_does_not_end_keeps_no_command_alive(tmp_path: Path) -> None:
    program = (
        "import runpy, sys, threading\nfrom wandb.sdk.lib.service.service_process import ServiceProcess\n"
        "from dynfilt.tracking import mirror\nmirror.TEAR_DOWN_SECONDS = 0.2\n"
        "ServiceProcess.join = lambda process: threading.Event().wait()\n"
        f"sys.argv[0] = {str(ROOT / 'run.py')!r}\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", program, *TINY, "tracking=offline", f"output_root={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True)
    assert (tmp_path / "tests/tiny/seed0/result.json").exists()


def test_a_client_that_cannot_be_imported_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "wandb", None)
        train(mirror_in(tmp_path))
    assert capfd.readouterr().out.startswith("tracking: off, W&B does not start (import of wandb halted")
