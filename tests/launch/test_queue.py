"""The queue of a multirun: one job after the other, each in a process of its own, told as if it ran here."""

from pathlib import Path

import pytest
import torch

from tests.conftest import TINY, Command
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
