"""The queue of a multirun: one job after the other, each in a process of its own, told as if it ran here."""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from dynfilt.launch.pool import process_context
from tests.conftest import ROOT, TINY, Command, quiet_environment
from tests.run_folders import assert_same_outcome, read_status

pytestmark = pytest.mark.slow

QUEUE = ("-m", *TINY, "hydra/launcher=queue", "model=faulty", "study=queue")


def test_a_job_that_ends_its_process_is_a_failure_and_the_queue_goes_on(command: Command, tmp_path: Path) -> None:
    words = "model=faulty study=queue model.faults='0:exit 1:segfault'"
    outcome = command(*QUEUE, words.split(" ", 2)[2], "hydra.launcher.retries=0", "seed=0,1,2")
    assert outcome.code == 1
    assert [line.strip() for line in outcome.err.splitlines()[-3:]] == [
        "2 jobs failed:",
        f"{words} seed=0: the process ended with exit code 0 and no word",
        f"{words} seed=1: the process was ended by SIGSEGV",
    ]
    folders = {path.name: path for path in (tmp_path / "outputs" / "queue").glob("*/seed*")}
    assert {name: read_status(path)["state"] for name, path in folders.items()} == {
        "seed0": "failed",
        "seed1": "failed",
        "seed2": "completed",
    }
    assert [line for line in outcome.out.splitlines() if "/seed2  epoch " in line] == [
        line for line in (folders["seed2"] / "log.txt").read_text().splitlines() if "  epoch " in line
    ]


def test_what_threads_of_a_job_print_arrives_whole_whatever_it_is(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    outcome = command(*QUEUE, "model.faults='0:talk'", "seed=0")
    assert outcome.code == 0, outcome.err
    printed = [line for line in (outcome.out + outcome.err).splitlines() if len(set(line)) == 1]
    assert sorted(printed) == [letter * 30_000 for letter in "abc" for _ in range(50)]
    assert "caf\udce9 \u00fc\n\nunended" in outcome.out
    [log] = (tmp_path / "outputs" / "queue").glob("*/seed0/log.txt")
    assert "caf\\udce9 \u00fc\n\nunended" in log.read_text(encoding="utf-8")


def test_a_job_that_asks_to_exit_has_its_reason_and_no_second_try(command: Command) -> None:
    outcome = command(*QUEUE, "model.faults='0:leave'", "seed=0")
    assert outcome.code == 1
    assert "seed=0: failed: SystemExit: a reason of its own" in outcome.err and "trying again" not in outcome.err


def test_a_job_that_prints_instead_of_working_is_ended(command: Command) -> None:
    limits = ("hydra.launcher.timeout_minutes=0.05", "hydra.launcher.retries=0")
    outcome = command(*QUEUE, "model.faults='0:chatter'", "seed=0,1", *limits)
    assert outcome.code == 1
    assert "seed=0: failed: no sign of life for 0.05 minutes" in outcome.err
    assert "seed=1: trained" in outcome.out


def test_a_sweep_runs_without_standard_output(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "run.py"), *QUEUE, "seed=0"]
    closed = f"{shlex.join(words)} >&-"
    done = subprocess.run(["sh", "-c", closed], cwd=tmp_path, env=quiet_environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_jobs_start_anew_where_the_server_that_forks_them_could_not_be_told_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.syspath_prepend(f"{tmp_path}/with:colon")
        assert process_context().get_start_method() == "spawn"
    monkeypatch.setattr(tempfile, "tempdir", f"{tmp_path}/{'long' * 30}")
    assert process_context().get_start_method() == "spawn"


def test_a_job_of_the_queue_is_the_run_that_it_would_be_alone(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # as this process has it
    assert command(*TINY, "model=faulty", "study=queue", "seed=1", "output_root=alone").code == 0
    assert command(*QUEUE, "seed=0,1").code == 0
    queued, alone = (next((tmp_path / root / "queue").glob("*/seed1")) for root in ("outputs", "alone"))
    assert_same_outcome(queued, alone)


def test_it_is_what_a_sweep_takes_where_no_launcher_is_chosen(command: Command) -> None:
    outcome = command("-m", "hydra.launcher.retries=-1")
    assert outcome.err == "error: hydra.launcher.retries=-1: must be a whole number >= 0\n"
    outcome = command("-m", "hydra.launcher.slots=2")
    assert outcome.err == (
        "error: hydra.launcher.slots: the chosen hydra/launcher has no such key; these have: hydra/launcher=pool, "
        "hydra/launcher=slurm\n"
    )
    outcome = command("-m", "hydra.launcher.minuts=2")
    assert outcome.err == "error: hydra.launcher.minuts: no such key (did you mean minutes?)\n"


def test_what_is_done_is_skipped_and_its_changed_code_named(command: Command, finished_copy: Path) -> None:
    words = ("-m", *TINY, "hydra/launcher=queue")
    skipped = "1 of 1 runs are done already; skipped, rerun=true runs them anew"
    assert command(*words).out == f"{skipped}\n"
    provenance = finished_copy / "provenance.json"
    provenance.write_text(provenance.read_text().replace('"dynfilt.train.trainer": "', '"dynfilt.train.trainer": "0'))
    assert command(*words).out == (
        f"{skipped}; dynfilt.train.trainer changed since 1 of them, rerun=changed runs only these anew\n"
    )
