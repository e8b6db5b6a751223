"""Damage of any file of a run: said, set aside, and the run goes on from what is sound to the same bits."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dynfilt import cost, experiment
from dynfilt.config.compose import Job
from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.plan import Planner
from dynfilt.tracking.mirror import Mirror
from dynfilt.train.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import TINY
from tests.run_folders import assert_same_outcome, contents, read_rows, read_status

Make = Callable[..., Job]
Damage = Callable[[Path], None]
JOBS: dict[tuple[str, ...], Job] = {}  # to compose one takes longer than to run it


@pytest.fixture
def make(compose: Callable[..., list[Job]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """make("rerun=damaged") is the job of the tiny run with that override; to run it costs next to nothing."""
    for name, value in (("count_flops", 0), ("measure_latency_ms", 1.0)):
        monkeypatch.setattr(cost, name, lambda *_, value=value: value)
    monkeypatch.setattr(experiment, "collect_provenance", lambda device: {})
    yield lambda *overrides: JOBS.get(overrides) or JOBS.setdefault(overrides, compose(*TINY, *overrides)[0])


@pytest.fixture
def folder(finished_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return finished_copy


@pytest.fixture
def interrupted(folder: Path) -> Path:
    """A run stopped after its second evaluation, which was its best so far and its last checkpoint."""
    (folder / "result.json").unlink()
    (folder / "test_predictions.npz").unlink()
    shutil.copyfile(folder / "checkpoint" / "best.pt", folder / "checkpoint" / "last.pt")
    step = load_checkpoint(folder / "checkpoint" / "last.pt")["step"]
    rows = [row for row in read_rows(folder) if row["step"] <= step]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    weight = load_checkpoint(file)["model"]["fc.weight"].numpy().tobytes()
    content[bytes(content).index(weight)] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def make_a_folder(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()


def is_like(folder: Path, whole: Path) -> None:
    assert_same_outcome(folder, whole, ignored=frozenset({"flops"}))
    assert read_status(folder)["state"] == "completed"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, make_a_folder])
def test_a_damaged_last_checkpoint_is_set_aside_and_the_run_goes_on_from_the_best(
    damage: Damage, make: Make, interrupted: Path, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(interrupted / "checkpoint" / "last.pt")
    experiment.run(make())
    err = capsys.readouterr().err
    assert "set aside as last.pt.damaged" in err and "going on from checkpoint/best.pt, at step " in err
    assert (interrupted / "checkpoint" / "last.pt.damaged").exists()
    is_like(interrupted, finished_run)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, empty, make_a_folder])
def test_a_damaged_best_checkpoint_is_made_of_the_last_where_they_are_the_same(
    damage: Damage, make: Make, interrupted: Path, finished_run: Path
) -> None:
    damage(interrupted / "checkpoint" / "best.pt")
    experiment.run(make())
    is_like(interrupted, finished_run)


@pytest.mark.slow
def test_when_no_checkpoint_is_left_only_a_flag_starts_over(make: Make, interrupted: Path, finished_run: Path) -> None:
    for name in ("last.pt", "best.pt"):
        truncate(interrupted / "checkpoint" / name)
    checkpoints = contents(interrupted / "checkpoint")
    for _ in range(2):  # the first try must not turn it into a run that has nothing
        with pytest.raises(ValueError, match=r"nothing is left to go on from .*rerun=damaged .*starts over at step 0"):
            experiment.run(make())
        assert contents(interrupted / "checkpoint") == checkpoints
    experiment.run(make("rerun=damaged"))
    assert (interrupted / "checkpoint" / "best.pt.damaged").read_bytes() == checkpoints["best.pt"]
    is_like(interrupted, finished_run)


def test_lost_best_weights_are_no_result_of_the_rest(make: Make, folder: Path, finished_run: Path) -> None:
    (folder / "result.json").unlink()
    truncate(folder / "checkpoint" / "best.pt")  # the last one is of a later, worse evaluation
    with pytest.raises(ValueError, match="nothing is left to go on from"):
        experiment.run(make())
    experiment.run(make("rerun=damaged"))
    is_like(folder, finished_run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "name"),
    [
        *((truncate, "config.yaml"), (make_a_folder, "config.yaml"), (Path.unlink, "config.yaml")),
        *((empty, "status.json"), (truncate, "provenance.json"), (make_a_folder, "metrics.jsonl")),
    ],
)
def test_damage_beside_the_truth_ends_no_run(
    damage: Damage, name: str, make: Make, interrupted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load_checkpoint(interrupted / "checkpoint" / "last.pt")["step"]
    damage(interrupted / name)
    found = experiment.plan(make(), Planner())
    assert found.state == RunState.INTERRUPTED
    experiment.run(make())
    out, err = capsys.readouterr()
    assert f"going on from step {state} of 12" in out
    assert "warning: " in err and name in err
    assert RunFolder(interrupted).state() == RunState.COMPLETED
    assert read_status(interrupted)["state"] == "completed"
    assert RunFolder(interrupted).config() == make().config
    assert (RunFolder(interrupted).provenance() or {})["model"] == "tiny"


@pytest.mark.parametrize("name", ["status.json", "provenance.json", "metrics.jsonl"])
def test_a_finished_run_is_done_whatever_else_is_damaged(name: str, make: Make, folder: Path) -> None:
    empty(folder / name)
    assert experiment.plan(make(), Planner()).state == RunState.COMPLETED
    assert experiment.run(make()) == experiment.Ending.SKIPPED


@pytest.mark.parametrize("row", ["5", '{"epoch": 1}', '{"step": "x"}'])
def test_a_row_that_is_no_evaluation_is_damage(row: str, make: Make, interrupted: Path) -> None:
    rows = (interrupted / "metrics.jsonl").read_text()
    (interrupted / "metrics.jsonl").write_text(f"{rows}{row}\n{rows}")
    experiment.run(make())
    assert row in (interrupted / "metrics.jsonl.damaged").read_text()
    assert [row["step"] for row in read_rows(interrupted)] == [3, 6, 9, 12]


def test_a_checkpoint_belongs_to_its_config(make: Make, interrupted: Path) -> None:
    state = load_checkpoint(interrupted / "checkpoint" / "last.pt")
    for name in ("last.pt", "best.pt"):
        save_checkpoint({**state, "config_digest": "of another"}, interrupted / "checkpoint" / name)
    before = contents(interrupted / "checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint/last\.pt belongs to another config \(digest of another, here "):
        experiment.run(make())
    (interrupted / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"belongs to another config \(digest of another, here "):
        experiment.run(make())
    assert not (interrupted / "config.yaml").exists()
    assert contents(interrupted / "checkpoint") == before


def test_without_anything_that_names_its_config_a_run_is_set_aside_by_consent_only(
    make: Make, interrupted: Path, finished_run: Path
) -> None:
    for name in ("last.pt", "best.pt"):
        state = load_checkpoint(interrupted / "checkpoint" / name)
        state.pop("config_digest")
        save_checkpoint(state, interrupted / "checkpoint" / name)
    (interrupted / "config.yaml").unlink()
    with pytest.raises(ValueError, match="nothing else says which config the run belongs to"):
        experiment.run(make())
    experiment.run(make("rerun=damaged"))
    assert (interrupted.with_name(".seed0.1") / "checkpoint" / "last.pt").exists()
    is_like(interrupted, finished_run)


def contradicted(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "test_accuracy": result["test_accuracy"] + 0.25}))


DAMAGED_RESULTS: dict[str, Damage] = {
    "contradicted": contradicted,
    "empty": lambda folder: empty(folder / "result.json"),
    "truncated": lambda folder: truncate(folder / "result.json"),
    "a list": lambda folder: (folder / "result.json").write_text("[]") and None,
    "a folder": lambda folder: make_a_folder(folder / "result.json"),
    "no accuracy": lambda folder: (folder / "result.json").write_text("{}") and None,
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGED_RESULTS)
def test_a_damaged_result_is_damaged_for_everybody_and_computed_again_by_consent(
    damage: str, make: Make, folder: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analysis.reading.sources import read_runs

    DAMAGED_RESULTS[damage](folder)
    planned = experiment.plan(make(), Planner())
    (read,) = read_runs([str(folder)])
    assert planned.state == RunFolder(folder).state() == read.state == RunState.DAMAGED
    assert not read.counts and read.error in planned.reason
    with pytest.raises(ValueError, match="rerun=true sets the run aside, rerun=damaged mends it"):
        experiment.run(make())
    mend = make("rerun=damaged")
    assert experiment.plan(mend, Planner()).state == RunState.INTERRUPTED
    monkeypatch.setattr(experiment.Trainer, "train_step", lambda self: pytest.fail("it was trained again"))
    experiment.run(mend)
    is_like(folder, finished_run)
    assert experiment.run(mend) == experiment.Ending.SKIPPED


@pytest.mark.slow
@pytest.mark.parametrize("before", [[".seed0.1"], []])
def test_a_run_begun_anew_and_interrupted_goes_on(
    before: list[str], make: Make, folder: Path, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not before:
        shutil.rmtree(folder)
    job, train_step, steps = make("rerun=true"), experiment.Trainer.train_step, []

    def interrupt_at_seven(self: Any) -> None:
        if self.step == 7 and 7 not in steps:
            steps.append(7)
            raise KeyboardInterrupt
        steps.append(self.step)
        train_step(self)

    monkeypatch.setattr(experiment.Trainer, "train_step", interrupt_at_seven)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(job)
    assert experiment.plan(job, Planner()).state == RunState.INTERRUPTED
    experiment.run(job)
    assert steps == [*range(7), 7, *range(6, 12)]  # from the checkpoint at step 6, not from 0
    is_like(folder, finished_run)
    assert sorted(path.name for path in folder.parent.iterdir()) == [*before, "seed0"]
    assert experiment.plan(job, Planner()).state == RunState.TO_DO  # done, so it would begin anew


def test_changed_code_is_named_and_only_that_is_run_anew(
    make: Make, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed, provenance = make("rerun=changed"), json.loads((folder / "provenance.json").read_text())
    assert experiment.run(changed) == experiment.Ending.SKIPPED
    provenance["source"]["dynfilt.layers.mixture"] = "other"
    (folder / "provenance.json").write_text(json.dumps(provenance))
    capsys.readouterr()
    assert experiment.run(make()) == experiment.Ending.SKIPPED
    assert "dynfilt.layers.mixture changed since, rerun=changed runs it anew" in capsys.readouterr().out
    assert experiment.plan(changed, Planner()).state == RunState.TO_DO
    assert experiment.run(changed) == experiment.Ending.TRAINED
    assert "set aside as .seed0.1, its code has changed in dynfilt.layers.mixture" in capsys.readouterr().out
    assert experiment.run(changed) == experiment.Ending.SKIPPED


def test_a_plan_refuses_what_the_command_refuses(make: Make, folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("lr: 0.1", "lr: 0.2"))
    for ask in (lambda job: experiment.plan(job, Planner()), experiment.run):
        with pytest.raises(ValueError, match=r"belongs to another config .*optimizer\.lr: 0\.2 -> 0\.1"):
            ask(make())


def test_lost_evaluations_are_said(make: Make, interrupted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = read_rows(interrupted)
    empty(interrupted / "metrics.jsonl")
    experiment.run(make())
    assert f"metrics.jsonl lacks {len(rows)} evaluations up to step {rows[-1]['step']}" in capsys.readouterr().err
    assert torch.isfinite(torch.tensor([row["val_loss"] for row in read_rows(interrupted)])).all()


def test_a_run_begun_anew_is_another_run_on_the_server_too(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    class Open(Mirror):
        def __init__(self, run_id: str) -> None:
            super().__init__(None, Path())
            self.run_id = run_id
            opened.append(run_id)

    monkeypatch.setattr(experiment, "open_mirror", lambda *_, run_id, **__: Open(run_id))
    for _ in range(2):
        experiment.run(make("rerun=true"))
    (folder / "result.json").unlink()
    experiment.run(make())
    first, second, again = opened
    assert first != second == again
    own = experiment.identify(make().config, make().choices, make().differences).wandb_id
    assert own not in opened  # that of the run that was set aside


def test_begun_anew_with_another_config_it_begins_anew_again(make: Make, interrupted: Path) -> None:
    shutil.copytree(interrupted, interrupted.with_name(".seed0.1"))
    job = make("rerun=true")
    assert experiment.plan(job, Planner()).state == RunState.INTERRUPTED
    text = (interrupted / "config.yaml").read_text()
    (interrupted / "config.yaml").write_text(text.replace("lr: 0.1", "lr: 0.2"))
    assert experiment.plan(job, Planner()).state == RunState.TO_DO


@pytest.mark.slow
@pytest.mark.parametrize("resumed", [5, "x", [5, {"threads": 1}], {"a": 1}])
def test_a_provenance_of_any_shape_ends_no_run(resumed: Any, make: Make, interrupted: Path) -> None:
    (interrupted / "provenance.json").write_text(json.dumps({"threads": 1, "resumed": resumed}))
    experiment.run(make())
    assert experiment.run(make("rerun=changed")) == experiment.Ending.SKIPPED


def test_what_makes_other_last_bits_is_said_when_a_run_goes_on(
    make: Make, interrupted: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(experiment, "collect_provenance", lambda device: {"threads": 1, "device": "a CPU"})
    before = {"threads": 4, "trainer.channels_last": True, "trainer.compile": False, "device": "a CPU"}
    (interrupted / "provenance.json").write_text(json.dumps(before))
    experiment.run(make("trainer.channels_last=false"))
    warnings = [line for line in capsys.readouterr().err.splitlines() if "its last bits will not be" in line]
    assert [line.split(": ", 2)[2].partition(";")[0] for line in warnings] == [
        "threads was 4, is 1",
        "trainer.channels_last was True, is False",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "warned"), [(10, True), (3, False)])
def test_annealing_longer_than_training_is_said_at_the_start(
    epochs: int, warned: bool, make: Make, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment.run(make(f"temperature.epochs={epochs}"))
    said = "training ends at temperature 22, not at 1: temperature.epochs=10 is longer"
    assert (said in capsys.readouterr().err) == warned
