"""A sweep whose runs other processes work on: it says so, and its exit code is neither success nor failure."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dynfilt import experiment
from dynfilt.config.compose import Job
from dynfilt.launch.jobs import PoolJob
from dynfilt.launch.outcome import JobOutcome, JobState, varying_parts
from dynfilt.launch.pool_settings import PoolSettings
from dynfilt.run.lock import RunInUse
from dynfilt.run.record import set_aside
from tests.conftest import TINY, Command

Do = Callable[[Job], None]


@pytest.fixture(params=["basic", "pool"])
def sweep(request: pytest.FixtureRequest, command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """sweep(do, "seed=0,1") runs a sweep by a launcher, each job of which calls `do` and no more."""

    def call(do: Do, *words: str) -> object:
        def run(job: Job, stop: object) -> experiment.Ending:
            do(job)
            return experiment.Ending.TRAINED

        def outcome(job: PoolJob) -> JobOutcome:
            try:
                return JobOutcome(job.name, JobState(run(job.job, None)))
            except RunInUse as error:
                return JobOutcome(job.name, JobState.BUSY, str(error))

        def run_all(settings: PoolSettings, jobs: Sequence[PoolJob], stop: object) -> list[JobOutcome]:
            return [outcome(job) for job in jobs]

        monkeypatch.setattr(experiment, "run", run)
        monkeypatch.setattr(PoolSettings, "run", run_all)
        return command(*TINY, "-m", f"hydra/launcher={request.param}", *words)

    return call


def test_jobs_are_called_by_what_tells_them_apart() -> None:
    assert varying_parts(["model=x seed=0", "model=x seed=1"]) == ["seed=0", "seed=1"]
    assert varying_parts(["model=x seed=0", "model=x seed=0 width=2"]) == ["model=x seed=0", "width=2"]
    names = ["study='a b c'", "study='a b b c'"]  # the same words
    assert varying_parts(names) == names


def busy_below(seed: int) -> Do:
    def do(job: Job) -> None:
        if job.config["seed"] < seed:
            raise RunInUse("in use")

    return do


@pytest.mark.slow
def test_what_is_running_elsewhere_is_named_and_ends_with_try_again(sweep: Callable) -> None:
    outcome = sweep(busy_below(7), "seed=range(0,8)", "trainer.epochs=2")
    assert outcome.code == 75
    assert outcome.err.splitlines()[-1] == (
        "7 of 8 jobs are running elsewhere (seed=0; seed=1; seed=2; seed=3; seed=4; and 2 more); once they have ended, "
        "the same command goes on with what they leave"
    )


@pytest.mark.slow
def test_what_others_have_finished_by_the_end_is_done(sweep: Callable, finished_run: Path, tmp_path: Path) -> None:
    def do(job: Job) -> None:
        if job.config["seed"] == 0:
            raise RunInUse("in use")
        shutil.copytree(finished_run, tmp_path / "outputs" / "tests" / "tiny" / "seed0")

    outcome = sweep(do, "seed=0,1")
    assert (outcome.code, "elsewhere" in outcome.err) == (0, False)


@pytest.mark.slow
def test_a_rerun_that_another_process_has_finished_by_the_end_is_done(
    sweep: Callable, finished_copy: Path, tmp_path: Path
) -> None:
    def do(job: Job) -> None:
        if job.config["seed"] == 0:
            raise RunInUse("in use")
        set_aside(finished_copy)
        shutil.copytree(tmp_path / "outputs" / "tests" / "tiny" / ".seed0.1", finished_copy)

    assert sweep(do, "seed=0,1", "rerun=true").code == 0
    assert not list((tmp_path / "outputs").glob(".rerun-*"))


@pytest.mark.slow
def test_a_rerun_that_another_process_was_in_the_way_of_is_not_done(
    sweep: Callable, finished_copy: Path, tmp_path: Path
) -> None:
    outcome = sweep(busy_below(1), "seed=0,1", "rerun=true")
    assert outcome.code == 75 and "1 of 2 jobs are running elsewhere (seed=0)" in outcome.err
    assert list((tmp_path / "outputs").glob(".rerun-*"))
