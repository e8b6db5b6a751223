"""The W&B mirror against the real client: offline files, a server on the loopback, and what can fail.

Traffic stays on the loopback. Each test starts without a key and ends W&B's process.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from wandb.util import get_core_path

from dynfilt import wandb_mirror
from dynfilt.wandb_mirror import Mirror, Tracking, open_mirror
from tests.conftest import TINY
from tests.wandb_server import API_KEY, Run, WandbServer

ROOT = Path(__file__).resolve().parent.parent
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
    wandb_mirror.end_service()
    monkeypatch.delenv("WANDB_SERVICE", raising=False)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    with WandbServer() as server:
        log_in(monkeypatch, server.url)
        yield server


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


def test_without_a_key_rows_and_result_are_kept_offline(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    train(mirror_in(tmp_path / "a run"))
    assert_mirrored(read_offline(tmp_path / "a run"))
    told = capfd.readouterr()
    command = f"wandb sync '{tmp_path}/a run'/wandb/offline-run-*"
    assert told.out == f"tracking: offline (no API key); upload later with: {command}\n"
    assert told.err == ""


def test_every_curve_is_drawn_over_the_epoch(tmp_path: Path) -> None:
    train(mirror_in(tmp_path))
    axes = [record["metric"] for record in offline_records(tmp_path) if record["type"] == "metric"]
    assert [axis.get("name") or axis["glob_name"] for axis in axes] == ["epoch", "*"]
    assert [axis.get("step_metric") for axis in axes] == [None, "epoch"]


def test_an_exception_marks_the_run_as_failed_and_passes(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), mirror_in(tmp_path) as mirror:
        mirror.log(ROWS[0])
        raise ZeroDivisionError
    run = read_offline(tmp_path)
    assert run.exit_code == 1
    assert_rows(run, ROWS[:1])


def test_kill_9_loses_no_row_older_than_two_seconds(tmp_path: Path) -> None:
    program = (
        "import time\nfrom pathlib import Path\nfrom tests.test_wandb_mirror import ROWS, mirror_in\n"
        f"mirror = mirror_in(Path({str(tmp_path)!r}))\n"
        "for row in ROWS: mirror.log(row)\n"
        "time.sleep(2)\nprint('old', flush=True)\ntime.sleep(60)\n"
    )
    job = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert any(line == "old\n" for line in job.stdout)
    job.send_signal(signal.SIGKILL)
    job.wait()
    assert_rows(read_offline(tmp_path), ROWS)


def test_two_jobs_of_one_process_are_two_runs(tmp_path: Path) -> None:
    first = mirror_in(tmp_path / "1", "offline", run_id="one", seed=1)
    first.log(ROWS[0])
    with mirror_in(tmp_path / "2", "offline", run_id="two", seed=2) as second:  # the first is open
        second.log(ROWS[1])
    for folder, name, seed, row in (("1", "one", 1, ROWS[0]), ("2", "two", 2, ROWS[1])):
        run = read_offline(tmp_path / folder)
        assert (run.name, run.display_name) == (name, f"dynamic_3x3/seed{seed}")
        assert_rows(run, [row])


def test_with_a_key_and_a_server_everything_arrives(
    tmp_path: Path, server: WandbServer, capfd: pytest.CaptureFixture
) -> None:
    train(mirror_in(tmp_path))
    assert_mirrored(server.runs["abc"])
    told = capfd.readouterr()
    assert told.out == f"tracking: online at {server.url}/tester/dynfilt/runs/abc\n"
    assert told.err == ""


def test_a_key_in_netrc_is_a_key(tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / "netrc").write_text(f"machine {server.url[7:]} login user password {API_KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    train(mirror_in(tmp_path))
    assert_mirrored(server.runs["abc"])


def test_a_killed_run_goes_on_as_the_same_run(tmp_path: Path, server: WandbServer) -> None:
    with pytest.raises(KeyboardInterrupt), mirror_in(tmp_path, "online") as mirror:
        mirror.log(ROWS[0])
        raise KeyboardInterrupt
    assert server.runs["abc"].exit_code == 1
    train(mirror_in(tmp_path, "online"), ROWS[1:])
    assert list(server.runs) == ["abc"]
    assert_mirrored(server.runs["abc"])
    assert [row["_step"] for row in server.runs["abc"].history] == [0, 1]


def test_jobs_of_one_process_log_in_even_if_one_was_left_open(tmp_path: Path, server: WandbServer) -> None:
    mirror_in(tmp_path / "1", run_id="one").log(ROWS[0])
    train(mirror_in(tmp_path / "2"))
    assert_rows(server.runs["one"], ROWS[:1])
    assert_mirrored(server.runs["abc"])


def test_a_server_that_is_gone_costs_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    start = time.monotonic()
    mirror = mirror_in(tmp_path)
    assert time.monotonic() - start < 3
    train(mirror)
    assert_mirrored(read_offline(tmp_path))
    assert f"offline (no answer from {os.environ['WANDB_BASE_URL']} within 1.5 s)" in capfd.readouterr().out


@pytest.mark.parametrize("failure", ["hang", 500])
def test_a_server_that_does_not_work_leads_offline(
    failure: int | str,
    tmp_path: Path,
    server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(wandb_mirror, "START_SECONDS", 0.5)
    server.failure = failure
    start = time.monotonic()
    mirror = mirror_in(tmp_path)
    assert time.monotonic() - start < 5
    train(mirror)
    assert_mirrored(read_offline(tmp_path))
    assert capfd.readouterr().out.startswith("tracking: offline (")


@pytest.mark.parametrize("failure", ["hang", 500])
def test_a_server_that_stops_working_stops_nothing(
    failure: int | str,
    tmp_path: Path,
    server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    monkeypatch.setattr(wandb_mirror, "FINISH_SECONDS", 0.5)
    mirror = mirror_in(tmp_path / "1", run_id="one")
    server.failure = failure
    start = time.monotonic()
    train(mirror)
    assert time.monotonic() - start < 8
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
    monkeypatch.setattr(wandb_mirror, "TEAR_DOWN_SECONDS", 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(wandb, "teardown", lambda exit_code: ended.wait())
        start = time.monotonic()
        wandb_mirror.end_service()
    assert 0.2 <= time.monotonic() - start < 2
    ended.set()


def test_a_service_that_does_not_end_keeps_no_command_alive(tmp_path: Path) -> None:
    program = (
        "import runpy, sys, threading\nfrom wandb.sdk.lib.service.service_process import ServiceProcess\n"
        "from dynfilt import wandb_mirror\nwandb_mirror.TEAR_DOWN_SECONDS = 0.2\n"
        "ServiceProcess.join = lambda process: threading.Event().wait()\n"
        f"sys.argv[0] = {str(ROOT / 'run.py')!r}\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", program, *TINY, "tracking=offline", f"output_root={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    assert (tmp_path / "tests/tiny/seed0/result.json").exists()


def test_a_client_that_cannot_be_imported_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "wandb", None)
        train(mirror_in(tmp_path))
    assert capfd.readouterr().out.startswith("tracking: off, W&B does not start (import of wandb halted")


@pytest.mark.parametrize(("key", "complaint"), [("", "no API key"), ("k", "40"), (API_KEY, "no answer from")])
def test_forced_online_without_key_or_server_is_an_error(
    key: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", key)
    with pytest.raises(ValueError, match=rf"(?s)^tracking=online fails \(.*{complaint}.*auto or offline$"):
        mirror_in(tmp_path, "online")
    assert not list(tmp_path.glob("wandb/*"))


def test_auto_obeys_the_environment(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    train(mirror_in(tmp_path))
    assert not (tmp_path / "wandb").exists()
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(mirror_in(tmp_path))
    assert_mirrored(read_offline(tmp_path))
    told = capfd.readouterr().out.splitlines()
    assert told[0] == "tracking: off (WANDB_MODE=disabled)"
    assert told[1].startswith("tracking: offline (WANDB_MODE=offline)")
    assert not server.runs


@pytest.mark.parametrize("wish", ["disabled", "online"])
def test_a_forced_mode_beats_the_environment(
    wish: str, tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", wish)
    train(mirror_in(tmp_path, "offline"))
    assert_mirrored(read_offline(tmp_path))
    assert not server.runs


def test_off_does_not_import_wandb(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom dynfilt.wandb_mirror import Tracking, open_mirror\n"
        f"with open_mirror(Tracking('off', 'dynfilt', None), folder=Path({str(tmp_path)!r}), run_id='abc',\n"
        "        study='s', variant='v', seed=0, config={}) as mirror:\n"
        "    mirror.log({'epoch': 1.0})\n    mirror.finish({'test_accuracy': 1.0})\n"
        "assert 'wandb' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mode", "hint"), [("onlin", "offline, off$"), (False, "write 'off' with quotes")])
def test_a_wrong_mode_names_the_right_ones(mode: Any, hint: str) -> None:
    with pytest.raises(ValueError, match=f"tracking.mode={mode!r} is not one of auto, online, .*{hint}"):
        Tracking(mode, "dynfilt", None)


def test_every_mode_is_a_choice_of_the_config() -> None:
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "conf/tracking").glob("*.yaml")}
    assert set(files) == set(wandb_mirror.MODES)
    for name, content in files.items():
        assert content.pop("_target_") == "dynfilt.wandb_mirror.Tracking"
        assert Tracking(**content) == Tracking(name, "dynfilt", None)
