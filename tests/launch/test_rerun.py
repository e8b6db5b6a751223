"""`rerun=true` of a sweep that is interrupted, and given again."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynfilt import experiment
from dynfilt.config.compose import Job
from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.record import set_aside
from dynfilt.run.standing import standing
from tests.conftest import TINY, Command

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
