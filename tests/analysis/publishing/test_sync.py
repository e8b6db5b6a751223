"""`python -m analysis sync`: what is uploaded, what is not, and what is said about it."""

import fcntl
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.publishing import sync as uploading
from analysis.publishing.sync import sync
from analysis.reading.sources import read_runs
from tests.wandb_logs import row
from tests.wandb_server import WandbServer

WriteOffline = Callable[..., Path]
PLACE = "runs/wandb/offline-run-20260101_"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "PAUSES", (0.0, 0.0, 0.0))


class Attempts:
    """Stands for `wandb sync`: gives the complaints in turn, None for an upload that succeeds, as do all later ones."""

    def __init__(self, *complaints: str | None) -> None:
        self.complaints = list(complaints)
        self.logs: list[str] = []

    def __call__(self, log: str) -> str:
        self.logs.append(Path(log).parent.name.removeprefix("offline-run-20260101_"))
        complaint = self.complaints.pop(0) if self.complaints else None
        if complaint is None:
            Path(log + ".synced").touch()
        return complaint or "Finished syncing"


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> Attempts:
    attempts = Attempts()
    monkeypatch.setattr(uploading, "_attempt", attempts)
    monkeypatch.setattr(uploading, "connect", lambda entity: None)
    return attempts


def told(source: str = "runs") -> list[tuple[str, str, str]]:
    return [
        (Path(done.log).parent.name.removeprefix("offline-run-20260101_"), str(done.outcome), done.reason)
        for done in sync([source])
    ]


@pytest.mark.slow
def test_runs_arrive_whole_and_what_cannot_is_named(
    server: WandbServer, write_offline: WriteOffline, capfd: pytest.CaptureFixture[str]
) -> None:
    write_offline("two", "000001", seed=2, epochs=range(1, 4), accuracy=None, code=None, loss=1.0)
    write_offline("two", "000003", seed=2, epochs=range(3, 5), loss=2.0)
    write_offline("void", "000002").write_bytes(b"")
    torn = write_offline("torn", "000004", seed=3)
    torn.write_bytes(torn.read_bytes()[:-5])
    assert main(["sync", "runs"]) == 1
    printed = capfd.readouterr()
    tear = torn.read_bytes().index(b"test_accuracy")
    lines = printed.out.splitlines()
    assert lines[0] == f"uploaded: {PLACE}000001-two (its end is missing, W&B takes it for failed)"
    assert lines[1].startswith(f"unreadable: {PLACE}000002-void (run-void.wandb is empty: the run was killed")
    assert lines[2] == f"uploaded: {PLACE}000003-two"
    assert lines[3].startswith(f"torn: {PLACE}000004-torn (uploaded up to the tear at byte ")
    assert int(lines[3].rpartition(" ")[2].rstrip(")")) > tear
    assert lines[4:] == ["2 uploaded, 1 torn, 1 unreadable"] and printed.err == ""

    resumed, torn_run = read_runs(["wandb:tester/dynfilt"])
    assert resumed.counts and resumed.evaluations() == [row(1, 1.0), row(2, 1.0), row(3, 2.0), row(4, 2.0)]
    assert (torn_run.seed, torn_run.state, torn_run.evaluations()) == (3, "interrupted", [row(1), row(2), row(3)])

    assert main(["sync", "runs"]) == 1
    assert capfd.readouterr().out.splitlines()[-1] == "3 already uploaded, 1 unreadable"
    assert main(["sync", str(torn.parent)]) == 0
    assert not list(Path().glob("wandb")), "W&B's own log goes elsewhere"


def test_a_failure_is_tried_again(write_offline: WriteOffline, attempts: Attempts) -> None:
    write_offline("a", "000001")
    attempts.complaints = ["ERROR 500", "ERROR 500"]
    assert told() == [("000001-a", "uploaded", "")]
    assert len(attempts.logs) == 3


def test_after_the_last_attempt_the_reason_is_told_and_others_go_on(
    write_offline: WriteOffline, attempts: Attempts
) -> None:
    write_offline("a", "000001")
    write_offline("b", "000002")
    attempts.complaints = ["ERROR 1", "ERROR 2", "ERROR 3"]
    assert told() == [("000001-a", "failed", "ERROR 3"), ("000002-b", "uploaded", "")]


def test_a_later_part_of_a_run_waits_for_the_earlier_one(write_offline: WriteOffline, attempts: Attempts) -> None:
    write_offline("a", "000001")
    write_offline("b", "000002")
    write_offline("a", "000003")
    attempts.complaints = ["ERROR"] * 3
    assert [outcome for _, outcome, _ in told()] == ["failed", "uploaded", "not tried"]
    assert [outcome for _, outcome, _ in told()] == ["uploaded", "already uploaded", "uploaded"]


def test_without_the_network_the_rest_is_not_tried(
    write_offline: WriteOffline, attempts: Attempts, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        write_offline(f"id{number}", f"00000{number}")
    Path(f"{PLACE}000003-id3/run-id3.wandb.synced").touch()

    def connect(entity: str) -> None:
        if attempts.logs:
            raise ValueError("no answer from there")

    monkeypatch.setattr(uploading, "connect", connect)
    attempts.complaints = ["ERROR"] * 3
    assert [(outcome, reason) for _, outcome, reason in told()] == [
        ("failed", "ERROR"),
        ("not tried", "no answer from there"),
        ("not tried", "no answer from there"),
        ("already uploaded", ""),
    ]


def test_a_run_that_goes_on_is_left_alone_and_so_are_its_other_parts(
    write_offline: WriteOffline, attempts: Attempts, capsys: pytest.CaptureFixture[str]
) -> None:
    write_offline("a", "000001", code=None, accuracy=None)
    write_offline("b", "000002")
    # The run folder around both, as its holder locks it.
    with open("runs/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["sync", "runs"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"still running: {PLACE}000001-a (sync it when it has ended)",
        f"uploaded: {PLACE}000002-b",
        "1 uploaded, 1 still running",
    ]
    assert told()[0][1] == "uploaded"


def test_runs_inside_run_folders_are_uploaded_once(write_offline: WriteOffline, attempts: Attempts) -> None:
    write_offline("a")
    Path("runs/result.json").write_text("{}")
    assert [done.outcome for done in sync(["runs", "runs/wandb", "."])] == ["uploaded"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["empty"], "no offline W&B runs in empty: looked at any depth for offline-run-*/*.wandb"),
        (["runs"], "no API key for http://127.0.0.1:9; run `wandb login` or set WANDB_API_KEY"),
    ],
)
def test_an_error_is_one_line_with_exit_code_2(
    write_offline: WriteOffline, arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write_offline("a")
    Path("empty").mkdir()
    assert main(["sync", *arguments]) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1
    assert message in printed.err


def test_an_upload_without_end_is_ended(
    server: WandbServer, write_offline: WriteOffline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "LIMIT_SECONDS", 0.01)
    path = write_offline("a")
    assert uploading._attempt(str(path)) == "no end within 0.01 s"
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(path.resolve()) not in listed


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("wandb: ERROR Failed to get: 401\n\n", "ERROR Failed to get: 401"),
        ("wandb: ERROR a\nwandb: ERROR Find detailed error logs at: x\nError: No API key.\n", "Error: No API key."),
        ("wandb: something else\n", "something else"),
        ("", "wandb sync printed nothing"),
    ],
)
def test_the_last_complaint_of_wandb_is_the_reason(
    output: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nprint({output!r}, end='')\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert uploading._attempt("x.wandb") == complaint


@pytest.mark.slow
def test_a_run_that_was_deleted_there_is_told_with_the_way_out(
    server: WandbServer, write_offline: WriteOffline
) -> None:
    log = write_offline("abc", "000001")
    server.deleted.add("abc")
    [(_, outcome, reason)] = told()
    assert outcome == "failed"
    assert re.fullmatch(rf"its run was deleted on the server, .*: wandb sync --id [0-9a-f]{{16}} \S*{log.name}", reason)
