"""Runs recorded by other versions of the code: the same runs today, or refused in one line with nothing lost.

tests/run/recorded holds runs of all model families from before targets were renamed; one of them was interrupted, and
interrupted_then_finished.json is the result that the same code then brought it to.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from analysis.comparing.comparison import compare
from analysis.reading.sources import read_runs
from dynfilt import experiment
from dynfilt.assembly import build_data
from dynfilt.config.checks import make
from dynfilt.data.augment import normalise
from dynfilt.run import identity
from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.identity import differing_keys, digest, in_todays_terms
from tests.conftest import ROOT, TINY, Command
from tests.run_folders import contents, read_result, read_rows

RECORDED = Path(__file__).parent / "recorded"
FINISHED_THERE = RECORDED / "interrupted_then_finished.json"
RUNS = [path.parent for path in sorted(RECORDED.glob("*/seed*/config.yaml"))]
SMOKE = [path for path in RUNS if path.name == "seed3"]
DONE, INTERRUPTED = (path for path in RUNS if path not in SMOKE)
NEWER = {"state": "paused", "error": None}


def words_of(folder: Path) -> list[str]:
    """The overrides that the run was started with."""
    provenance = RunFolder(folder).provenance()
    assert provenance is not None
    return list(provenance["command"][1:])


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[Path], Path]:
    """copy(folder) is a copy of a recorded run where the command finds it."""

    def call(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "outputs" / "recorded" / folder.parent.name / folder.name))

    return call


def test_the_published_digests_stay() -> None:
    runs = [path.parent for path in (ROOT / "docs" / "runs").rglob("result.json")]
    assert len(runs) >= 41 and len(SMOKE) == 11
    for folder in [*runs, *SMOKE, DONE]:
        config = RunFolder(folder).recorded_config()
        assert digest(config) == digest(in_todays_terms(config)) == read_result(folder)["config_digest"], folder
    assert digest(RunFolder(INTERRUPTED).config()) == json.loads(FINISHED_THERE.read_text())["config_digest"]


@pytest.mark.slow
def test_finished_runs_are_skipped(command: Command, copy: Callable[[Path], Path], tmp_path: Path) -> None:
    for folder in [*SMOKE, DONE]:
        copy(folder)
    before = contents(tmp_path)
    own = next(word for word in words_of(SMOKE[0]) if word.startswith("model="))
    models = ",".join(folder.parent.name.partition(",")[0] for folder in SMOKE)
    shared = [f"model={models}" if word == own else word for word in words_of(SMOKE[0])]
    for words, line in (
        (["-m", *shared], "11 of 11 runs are done already; skipped"),
        (words_of(DONE), ": already done"),
    ):
        outcome = command(*words)
        assert (outcome.code, outcome.out.count(line)) == (0, 1), outcome.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("folder", SMOKE, ids=lambda folder: folder.parent.name.partition(",")[0])
def test_every_model_has_the_tensors_that_were_saved(folder: Path) -> None:
    node = {**RunFolder(folder).config()["model"], "weights": "none"}
    with torch.device("meta"):
        model = make(node, "model")
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes == json.loads((folder / "state_shapes.json").read_text())


def test_a_recorded_model_is_loaded_and_predicts_what_it_did() -> None:
    data = build_data(RunFolder(DONE).config(), torch.device("cpu"))
    kept = RunFolder(DONE).predictions("label", "best_class", "last_class")
    assert np.array_equal(kept["label"], data.test.labels)
    images = normalise(data.test.images, data.mean, data.std)
    for weights, classes in (("best", kept["best_class"]), ("last", kept["last_class"])):
        model = experiment.load(DONE, checkpoint=weights)  # type: ignore[arg-type]
        with torch.no_grad():
            agree = (model(images).argmax(1).numpy() == classes).mean()
        assert agree >= 0.99  # ties within rounding may fall another way on another machine


@pytest.mark.slow
def test_a_recorded_run_is_tested_again(command: Command, copy: Callable[[Path], Path]) -> None:
    folder = copy(DONE)
    outcome = command("mode=test", f"run={folder}")
    assert outcome.code == 0, outcome.err
    tested, result = json.loads((folder / "test.json").read_text()), read_result(folder)
    assert tested["test_loss"] == pytest.approx(result["test_loss"], rel=1e-5)
    assert tested["test_accuracy"] == pytest.approx(result["test_accuracy"], abs=0.005)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_result_that_was_recorded(
    command: Command, copy: Callable[[Path], Path]
) -> None:
    folder, there = copy(INTERRUPTED), json.loads(FINISHED_THERE.read_text())
    earlier = read_rows(folder)
    outcome = command(*words_of(INTERRUPTED))
    assert outcome.code == 0 and "going on from step 28 of" in outcome.out, outcome.err
    assert read_rows(folder)[: len(earlier)] == earlier
    result = read_result(folder)
    exact = ("study", "variant", "seed", "best_epoch", "parameters", "flops", "config_digest")
    assert {key: result[key] for key in exact} == {key: there[key] for key in exact}
    for key in there:
        if key.endswith("_loss"):
            assert result[key] == pytest.approx(there[key], rel=1e-4), key
        elif key.endswith("_accuracy"):
            assert result[key] == pytest.approx(there[key], abs=0.01), key


def test_each_recorded_run_is_a_row_or_is_named() -> None:
    runs = read_runs([str(RECORDED)])
    comparison = compare(runs, None)
    assert {variant.name for variant in comparison.variants} == {folder.parent.name for folder in RUNS}
    assert all(variant.summary.n == 1 for variant in comparison.variants)
    assert [(run.place, run.state) for run in runs if not run.counts] == [(str(INTERRUPTED), RunState.INTERRUPTED)]


@pytest.mark.slow
def test_a_renamed_target_leaves_a_run_what_it_is(
    command: Command, finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today, former = "tests.tiny_run.TinyNet", "tests.before.Net"
    config = (finished_copy / "config.yaml").read_text()
    assert config.count(today) == 1
    (finished_copy / "config.yaml").write_text(config.replace(today, former))
    monkeypatch.setitem(identity.RENAMED_TARGETS, former, today)
    monkeypatch.setitem(identity.FORMER_TARGETS, today, former)
    recorded = RunFolder(finished_copy).recorded_config()
    assert recorded["model"]["_target_"] == former
    assert RunFolder(finished_copy).config() == yaml.safe_load(config)
    assert differing_keys(recorded, yaml.safe_load(config)) == []
    assert experiment.load(finished_copy).training is False
    assert "already done" in command(*TINY).out
    assert command("mode=test", f"run={finished_copy}").code == 0
    (run,) = read_runs([str(finished_copy)])
    assert run.setting("model._target_") == today


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "key", "value", "words"),
    [
        ("model", "_target_", "tests.after.Net", "the run's model, recorded by dynfilt 9.1 at commit 0123456789 (.*"),
        ("model", "sparsity", 0.5, "the run's model, recorded by dynfilt 9.1 at commit 0123456789 (.*sparsity"),
        ("trainer", "swa", True, "the run's data and trainer, recorded by dynfilt 9.1 at commit 0123456789 (.*swa"),
        ("data", "mosaic", 2, "the run's data and trainer, recorded by dynfilt 9.1 at commit 0123456789 (.*mosaic"),
    ],
)
def test_what_this_version_does_not_know_is_one_line_and_nothing_is_lost(
    where: str, key: str, value: object, words: str, command: Command, finished_copy: Path
) -> None:
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    config[where][key] = value
    (finished_copy / "config.yaml").write_text(yaml.safe_dump(config))
    provenance = json.loads((finished_copy / "provenance.json").read_text())
    provenance |= {"versions": {**provenance["versions"], "dynfilt": "9.1"}, "commit": "0123456789abcdef"}
    (finished_copy / "provenance.json").write_text(json.dumps(provenance))
    (finished_copy / "status.json").write_text(json.dumps(NEWER))
    (finished_copy / "result.json").write_text(json.dumps({**read_result(finished_copy), "calibration": [0.1]}))
    before = contents(finished_copy)
    tested, again = command("mode=test", f"run={finished_copy}"), command(*TINY)
    for outcome in (tested, again):
        assert (outcome.code, len(outcome.lines)) == (1, 1), outcome.err
    start, _, rest = words.partition("(.*")
    assert f"{finished_copy}: this version cannot rebuild {start}(" in tested.err and rest in tested.err
    assert f"belongs to another config (there -> here: {where}.{key}: {value} -> " in again.err
    (run,) = read_runs([str(finished_copy)])
    assert run.counts and run.state == RunState.COMPLETED and run.error == "its status.json says paused"
    assert contents(finished_copy) == before
