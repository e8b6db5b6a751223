"""`data.split_seed=${seed}`: one variant whose seeds differ in the validation split too."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dynfilt.assembly import build_data
from dynfilt.config.checks import check
from dynfilt.config.compose import Job
from dynfilt.run.folder import RunFolder
from dynfilt.run.identity import digest, identify
from tests.conftest import ROOT, TINY, Command

Compose = Callable[..., list[Job]]


@pytest.mark.slow
@pytest.mark.parametrize("value", ["${seed}", "seed"])
def test_it_is_one_variant(value: str, compose: Compose) -> None:
    jobs = compose(*TINY, "-m", "seed=0,1", f"data.split_seed={value}")
    identities = [identify(job.config, job.choices, job.differences) for job in jobs]
    assert {each.variant for each in identities} == {"tiny,data.split_seed=seed"}
    assert len({each.digest for each in identities}) == 1 and [each.seed for each in identities] == [0, 1]
    for job in jobs:
        check(job.config, job.choices)
    images = [build_data(job.config, torch.device("cpu")).val.images for job in jobs]
    assert not torch.equal(*images)
    [fixed] = compose(*TINY, "seed=1", "data.split_seed=1")
    assert torch.equal(build_data(fixed.config, torch.device("cpu")).val.images, images[1])
    assert digest(fixed.config) != identities[1].digest


@pytest.mark.slow
def test_a_sweep_may_say_so(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("sweeps")
    (folder / "mine.yaml").write_text("defaults: [config, _self_]\nstudy: mine\ndata: {split_seed: '${seed}'}\n")
    jobs = compose("-cd", str(folder), "-cn", "mine", "-m", "seed=0,1")
    assert [job.config["data"]["split_seed"] for job in jobs] == ["seed", "seed"]
    assert not jobs[1].differences.keys() - {"seed"}


@pytest.mark.slow
def test_a_run_of_it_is_trained_and_evaluated_again(command: Command, tmp_path: Path) -> None:
    words = ("data.split_seed=${seed}", "seed=2", "trainer.epochs=0.1")
    assert command(*TINY, *words).code == 0
    assert "already done" in command(*TINY, *words).out
    [folder] = tmp_path.glob("outputs/tests/*data.split_seed=seed*/seed2")
    assert command("mode=test", f"run={folder}").code == 0


def test_a_word_that_means_nothing_is_one_line(command: Command) -> None:
    outcome = command(*TINY, "data.split_seed=sed")
    assert outcome.code == 1 and len(outcome.lines) == 1
    assert "data.split_seed='sed': must be a valid integer" in outcome.err


def test_finished_runs_are_what_they_were() -> None:
    folders = [path.parent for path in sorted(ROOT.glob("docs/runs*/*/*/seed*/result.json"))]
    assert len(folders) >= 95
    for folder in folders:
        assert digest(RunFolder(folder).recorded_config()) == (RunFolder(folder).result() or {})["config_digest"]
