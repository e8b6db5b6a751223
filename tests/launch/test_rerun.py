"""`rerun=true` of a sweep that is interrupted, and given again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dynfilt import experiment
from dynfilt.config.compose import Job
from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.record import RunRecord, record_death, set_aside
from dynfilt.run.standing import asides_of, standing
from tests.conftest import TINY, Command
from tests.run_folders import contents, read_status

SWEEP = (*TINY, "-m", "seed=0,1,2")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The seeds whose runs are begun, in order; a run takes no time, and the seeds in `stopping` are interrupted."""
    seeds: list[Any] = []

    def run(job: Job, stop: object) -> experiment.Ending:
        path = experiment.identify(job.config, job.choices, job.differences).folder(job.config["output_root"])
        found = standing(RunFolder(path), job.config)
        if found.aside:
            set_aside(path)
        elif found.state == RunState.COMPLETED:
            return experiment.Ending.SKIPPED
        path.mkdir(parents=True, exist_ok=True)
        seed = job.config["seed"]
        (path / "config.yaml").write_text(yaml.safe_dump(job.config, sort_keys=False))
        (path / "status.json").write_text('{"state": "running"}')
        if seed in stopping:
            stopping.remove(seed)
            raise KeyboardInterrupt
        seeds.append(seed)
        (path / "result.json").write_text(json.dumps({"test_accuracy": 0.5, "seed": seed}))
        return experiment.Ending.TRAINED

    monkeypatch.setattr(experiment, "run", run)
    return seeds


stopping: list[int] = []


@pytest.mark.slow
def test_an_interrupted_rerun_of_a_sweep_goes_on_with_what_is_left(
    begun: list[int], command: Command, tmp_path: Path
) -> None:
    assert command(*SWEEP).code == 0 and begun == [0, 1, 2]
    begun.clear()
    stopping.append(1)
    assert command(*SWEEP, "rerun=true").code != 0 and begun == [0]
    plan = command(*SWEEP, "rerun=true", "mode=plan").out
    assert [line.split()[1] for line in plan.splitlines()[2:5]] == [
        "completed",
        "interrupted",
        "to",
    ]
    again = command(*SWEEP, "rerun=true")
    assert again.code == 0, again.err
    assert begun == [0, 1, 2]
    assert "1 of 3 runs are done by this rerun already, which was interrupted" in again.out
    # It has ended, so the same command begins all of them anew.
    assert command(*SWEEP, "rerun=true").code == 0 and begun == [0, 1, 2, 0, 1, 2]
    places = sorted(path.name for path in (tmp_path / "outputs" / "tests" / "tiny").iterdir())
    assert places == [*(f".seed{seed}.{number}" for seed in range(3) for number in (1, 2)), "seed0", "seed1", "seed2"]
    assert not list((tmp_path / "outputs").glob(".rerun-*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [ValueError("no data"), torch.OutOfMemoryError("CUDA out of memory"), KeyboardInterrupt()]
)
def test_a_rerun_that_does_not_begin_leaves_the_old_result(
    error: BaseException, command: Command, finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        assert not finished_copy.joinpath("result.json").exists()
        raise error

    before = contents(finished_copy)
    monkeypatch.setattr(experiment, "build_trainer", fail)
    for _ in range(2):
        outcome = command(*TINY, "rerun=true")
        assert outcome.code != 0 and "the old one is back, what is left is in .seed0.not-begun" in outcome.err
        assert contents(finished_copy) == before | {"lock": (finished_copy / "lock").read_bytes()}
        assert not asides_of(RunFolder(finished_copy))
        status = read_status(finished_copy.with_name(".seed0.not-begun"))
        assert status["state"] in ("failed", "interrupted")


def test_nor_does_one_whose_process_dies_or_whose_folder_cannot_be_begun(
    finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    record = RunRecord(finished_copy, config, set_aside(finished_copy)).__enter__()
    record.start({})
    record._lock.release()  # as the end of a process does
    record_death(finished_copy, "killed")
    assert (finished_copy / "result.json").exists()
    assert read_status(finished_copy.with_name(".seed0.not-begun"))["error"]["message"] == "killed"
    monkeypatch.setattr(RunRecord, "_claim_config", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        RunRecord(finished_copy, config, set_aside(finished_copy)).__enter__()
    assert (finished_copy / "result.json").exists()


def test_a_rerun_has_begun_with_its_first_checkpoint(
    command: Command, finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "conclude", lambda *_: 1 / 0)
    assert command(*TINY, "rerun=true").code == 1
    assert not (finished_copy / "result.json").exists() and (finished_copy / "checkpoint" / "last.pt").exists()
    assert [aside.name for aside in asides_of(RunFolder(finished_copy))] == [".seed0.1"]


@pytest.mark.slow
def test_a_kill_before_the_first_checkpoint_leaves_word_of_the_old_run(command: Command, finished_copy: Path) -> None:
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    record = RunRecord(finished_copy, config, set_aside(finished_copy)).__enter__()
    record.start({})
    record._lock.release()  # as the end of a process does
    word = "has no checkpoint yet; the run before it is whole in .seed0.1"
    assert f"tiny/seed0: {word}" in command(*TINY, "mode=plan").out
    outcome = command(*TINY)
    assert (outcome.code, outcome.err) == (0, f"warning: outputs/tests/tiny/seed0: {word}\n")
    assert word not in command(*TINY).err


@pytest.mark.slow
def test_a_rerun_where_nothing_can_be_written_lists_its_failures(command: Command, unwritable: Path) -> None:
    outcome = command(*SWEEP, "rerun=true", f"output_root={unwritable}")
    assert outcome.code == 1 and "3 jobs failed:" in outcome.err, outcome.err
    assert outcome.err.count("cannot be written (Not a directory); choose output_root=...") == 6
