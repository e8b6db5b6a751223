"""A pool of processes: whatever happens to one job, the others finish, and its folder says what happened."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dynfilt.launch import pool as pool_module
from tests.conftest import ROOT, TINY, Command, quiet_environment
from tests.run_folders import assert_same_outcome, read_result, read_rows, read_status

pytestmark = pytest.mark.slow

POOL = ("hydra/launcher=pool", "hydra.launcher.slots=2", "hydra.launcher.threads=1")
FAULTY = ("model=faulty", "study=pool")


def pool(folder: Path, *words: str, script: Path = ROOT / "run.py", **options: str) -> subprocess.Popen[str]:
    """`python run.py -m ... hydra/launcher=pool ...` in a folder."""
    return subprocess.Popen(
        [sys.executable, str(script), "-m", *TINY, *POOL, *words],
        cwd=folder,
        env=quiet_environment(PYTHONPATH=str(ROOT), **options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def runs_of(folder: Path) -> dict[int, Path]:
    return {int(path.name.removeprefix("seed")): path for path in (folder / "outputs" / "pool").glob("*/seed*")}


def test_whatever_ends_a_job_the_others_finish(command: Command, tmp_path: Path) -> None:
    faults = "model.faults='0:raise 1:exit 2:kill 3:segfault 4:memory 5:hang'"
    limits = ("hydra.launcher.timeout_minutes=0.2", "hydra.launcher.retries=0")
    outcome = command("-m", *TINY, *POOL, *FAULTY, faults, *limits, "seed=range(0,9)")
    assert outcome.code == 1, outcome.err
    runs = runs_of(tmp_path)
    assert sorted(runs) == list(range(9))
    for seed in (6, 7, 8):
        assert read_result(runs[seed])["seed"] == seed
    reasons = {
        0: "this layer is broken",
        1: "the process ended with exit code 0 and no word",
        2: "the process was ended by SIGKILL (out of memory?)",
        3: "the process was ended by SIGSEGV",
        4: "can't allocate memory",
        5: "no sign of life for 0.2 minutes (hydra.launcher.timeout_minutes)",
    }
    for seed, reason in reasons.items():
        status = read_status(runs[seed])
        assert status["state"] == "failed"
        assert reason in status["error"]["message"], seed
        assert not (runs[seed] / "result.json").exists()
    assert "6 jobs failed:" in outcome.err and "and 1 more reasons; status.json has each" in outcome.err
    assert "Traceback" not in outcome.out + outcome.err
    assert "Segmentation fault" in (runs[3] / "log.txt").read_text()  # the stack is in the job's own log
    assert "  epoch 0.8/3  " in (runs[6] / "log.txt").read_text()


def test_a_job_whose_process_died_is_tried_again_and_ends_as_if_nothing_had_happened(
    command: Command, tmp_path: Path, finished_run: Path
) -> None:
    once = tmp_path / "once"
    once.mkdir()
    words = ("-m", *TINY, *POOL, *FAULTY, "model.faults='0:kill 1:segfault'", f"model.once={once}", "seed=0,1,2")
    outcome = command(*words, "trainer.checkpoint_every_seconds=1e-9")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("trying again") == 2
    runs = runs_of(tmp_path)
    assert sorted(runs) == [0, 1, 2]
    assert_same_outcome(runs[0], finished_run, frozenset({"study", "variant", "config_digest"}))
    outcome = command(*words)
    assert (outcome.code, outcome.out) == (0, "3 of 3 runs are done already; skipped, rerun=true runs them anew\n")


LONG = (*FAULTY, "seed=0,1,2", "trainer.epochs=100000", "trainer.evaluate_every_steps=100000")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_the_pool_stops_all_jobs_with_a_checkpoint(
    number: signal.Signals, command: Command, tmp_path: Path
) -> None:
    def send() -> None:
        wait_for_two_running(tmp_path)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    outcome = command("-m", *TINY, *POOL, *LONG)
    sender.join()
    assert_stopped(outcome.code, outcome.err, 130 if number == signal.SIGINT else 75, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="looks up the children of a process in /proc")
def test_a_signal_to_all_processes_does_so_too(tmp_path: Path) -> None:
    """A terminal that closes signals the whole group, Slurm every process below; here the server of forks first."""
    command = pool(tmp_path, *LONG)
    wait_for_two_running(tmp_path)
    for child in children_of(command.pid):
        os.kill(child, signal.SIGTERM)
    time.sleep(1)
    os.killpg(command.pid, signal.SIGHUP)
    _, err = command.communicate()
    assert_stopped(command.returncode, err, 75, tmp_path)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def assert_stopped(code: int, err: str, expected_code: int, folder: Path) -> None:
    assert code == expected_code, err
    assert "3 of 3 jobs are not done; the same command goes on with them" in err
    runs = runs_of(folder)
    assert sorted(runs) == [0, 1]
    for path in runs.values():
        assert read_status(path)["state"] == "interrupted"
        assert (path / "checkpoint" / "last.pt").exists()
        assert read_rows(path) == []


def test_a_budget_ends_the_command_and_its_jobs_can_go_on(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once two jobs run, the pool's clock goes to ten seconds before the end: half of what jobs have to stop in."""
    end = time.monotonic() - pool_module._seconds_so_far() + 60 * 1000
    two_run = threading.Event()
    clock = SimpleNamespace(monotonic=lambda: end - 10 if two_run.is_set() else time.monotonic())
    monkeypatch.setattr(pool_module, "time", SimpleNamespace(**vars(time) | vars(clock)))

    def watch() -> None:
        wait_for_two_running(tmp_path)
        two_run.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    minutes = ("hydra.launcher.minutes=1000", "hydra.launcher.timeout_minutes=null")
    outcome = command("-m", *TINY, *POOL, *LONG, *minutes)
    watcher.join()
    assert_stopped(outcome.code, outcome.err, 75, tmp_path)


def test_when_the_pool_is_killed_its_jobs_stop_with_a_checkpoint(tmp_path: Path) -> None:
    command = pool(tmp_path, *LONG)
    wait_for_two_running(tmp_path)
    command.kill()
    command.wait()
    wait_for(lambda: all(read_status(path)["state"] == "interrupted" for path in runs_of(tmp_path).values()))
    assert all((path / "checkpoint" / "last.pt").exists() for path in runs_of(tmp_path).values())


def test_a_job_is_bit_identical_to_the_same_run_alone(command: Command, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert command(*TINY, *FAULTY, "seed=1", "output_root=alone").code == 0
    finally:
        torch.set_num_threads(threads)
    assert command("-m", *TINY, *POOL, *FAULTY, "seed=0,1").code == 0
    assert_same_outcome(runs_of(tmp_path)[1], next((tmp_path / "alone" / "pool").glob("*/seed1")))


def test_two_pools_over_one_study_share_the_work(command: Command, tmp_path: Path) -> None:
    """As two commands, two agents of a W&B sweep or two machines on one file system do; the code of one is edited."""
    script = tmp_path / "run.py"
    script.write_text((ROOT / "run.py").read_text())
    other = pool(tmp_path, *FAULTY, "seed=range(0,6)", script=script)
    wait_for(lambda: bool(runs_of(tmp_path)))
    script.write_text("raise ImportError('edited')")
    outcome = command("-m", *TINY, *POOL, *FAULTY, "seed=range(0,6)")
    out, err = other.communicate()
    assert (outcome.code, other.returncode) == (0, 0), outcome.err + err
    trained = re.findall(r"seed=(\d): trained", outcome.out + out)
    assert sorted(trained) == list("012345"), outcome.out + out  # each by one of them
    for path in runs_of(tmp_path).values():
        assert [row["step"] for row in read_rows(path)] == [3, 6, 9, 12]
        assert "resumed" not in json.loads((path / "provenance.json").read_text())
        assert read_result(path)["config_digest"]


def wait_for_two_running(folder: Path) -> None:
    wait_for(lambda: [status_text(path) for path in runs_of(folder).values()].count("running") == 2)
    time.sleep(0.5)


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def status_text(folder: Path) -> str:
    path = folder / "status.json"
    return "running" if path.exists() and "running" in path.read_text() else ""
