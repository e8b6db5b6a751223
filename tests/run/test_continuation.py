"""mode=train: a new run that goes on from a finished one; and runs from before a key existed."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from dynfilt.run.continuation import adopt_checkpoints
from dynfilt.run.folder import RunFolder
from dynfilt.run.identity import ADDED_LATER, digest
from dynfilt.train.checkpoint import load_checkpoint, save_checkpoint
from dynfilt.train.trainer import Trainer
from tests.conftest import TINY, Command, command_line
from tests.run_folders import assert_same_outcome, contents, read_result, read_rows


@pytest.fixture(scope="session")
def later_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of two runs: one of two epochs and then two more, one of four epochs at once."""

    root = tmp_path_factory.mktemp("later")
    with command_line(root) as call:
        for study, epochs in (("parts", 2), ("whole", 4)):
            outcome = call(*TINY, f"study={study}", f"trainer.epochs={epochs}", "trainer.evaluate_every_steps=4")
            assert outcome.code == 0, outcome.err
        parent = "run=outputs/parts/tiny,trainer.epochs=2,trainer.evaluate_every_steps=4/seed0"
        outcome = call("mode=train", parent, "trainer.epochs=4", "tracking=off")
        assert outcome.code == 0, outcome.err
    return root / "outputs"


PARENT = "parts/tiny,trainer.epochs=2,trainer.evaluate_every_steps=4/seed0"
CHILD = "parts/tiny,trainer.epochs=4,trainer.evaluate_every_steps=4/seed0"
WHOLE = "whole/tiny,trainer.epochs=4,trainer.evaluate_every_steps=4/seed0"


@pytest.mark.slow
def test_a_continued_run_equals_an_uninterrupted_one(later_run: Path) -> None:
    child, whole = later_run / CHILD, later_run / WHOLE
    assert [row["step"] for row in read_rows(child)] == [12, 16]
    whole_rows = read_rows(whole)
    (child / "copy").mkdir(exist_ok=True)
    rows = [*whole_rows[:2], *read_rows(child)]
    complete = child / "copy"
    shutil.copytree(child, complete, dirs_exist_ok=True, ignore=shutil.ignore_patterns("copy"))
    (complete / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert_same_outcome(complete, whole, ignored=frozenset({"study", "config_digest"}))
    shutil.rmtree(complete)


@pytest.mark.slow
def test_a_continued_run_names_its_parent(later_run: Path) -> None:
    parent_config = yaml.safe_load((later_run / PARENT / "config.yaml").read_text())
    name = f"{PARENT}@{digest(parent_config)}:8"
    config = yaml.safe_load((later_run / CHILD / "config.yaml").read_text())
    provenance = json.loads((later_run / CHILD / "provenance.json").read_text())
    assert (config["parent"], provenance["parent"]) == (name, name)
    assert parent_config["parent"] is None
    assert config["run"].endswith(PARENT)
    assert {**parent_config, **{key: config[key] for key in ("parent", "run", "trainer")}} == config
    assert read_result(later_run / CHILD)["config_digest"] != read_result(later_run / WHOLE)["config_digest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ([], "say what changes, e.g. trainer.epochs=4"),
        (["trainer.device=cpu", "tracking=off"], "say what changes"),
        (["trainer.epochs=2"], "say what changes|is at epoch 2 already"),
        (["trainer.epochs=1"], "trainer.epochs=1: .* is at epoch 2 already; choose more"),
        (["schedule=cosine"], "trainer.epochs=2: .* is at epoch 2 already; choose more"),
        (["model=static_3x3", "trainer.epochs=4"], "model: cannot change when going on from"),
        (["optimizer=sgd", "trainer.epochs=4"], "optimizer: cannot change when going on from"),
        (["trainer.batch_size=30", "trainer.epochs=4"], "trainer.batch_size: cannot change .* in batches of 16; keep"),
        (["trainer=smoke", "trainer.epochs=4"], "trainer.batch_size: cannot change when going on from"),
        (["data.split_seed=1", "trainer.epochs=4"], "data.split_seed: cannot change when going on from .* it at 0$"),
        (["data.split_seed=${seed}", "seed=1", "trainer.epochs=4"], "data.split_seed: cannot change .* it at 0$"),
        (["trainer.max_eval_images=9", "trainer.epochs=4"], "trainer.max_eval_images: cannot change when going on"),
        (["trainer.epochs=4", "trainer.patience=1"], "trainer.patience=1: .* waited"),
        (
            ["trainer.epochs=4", "trainer.max_steps=8"],
            "trainer.max_steps=8: .* is at step 8 already; choose more, or n",
        ),
    ],
)
def test_going_on_without_a_sense_is_refused(
    overrides: list[str], problem: str, command: Command, later_run: Path, tmp_path: Path
) -> None:
    parent = tmp_path / "parent" / "seed0"
    shutil.copytree(later_run / PARENT, parent)
    if "trainer.patience=1" in overrides:
        last = parent / "checkpoint" / "last.pt"
        save_checkpoint({**load_checkpoint(last), "evaluations_without_improvement": 1}, last)
    before = contents(tmp_path)
    outcome = command("mode=train", f"run={parent}", *overrides)
    assert (outcome.code, len(outcome.lines)) == (1, 1)

    assert re.search(problem, outcome.err), outcome.err
    assert contents(tmp_path) == before


@pytest.mark.slow
def test_less_than_a_step_more_is_no_run(command: Command, later_run: Path, tmp_path: Path) -> None:
    words = ("mode=train", f"run={later_run / PARENT}", "tracking=off")
    for _ in range(2):
        outcome = command(*words, "trainer.epochs=2.01")
        assert outcome.code == 1
        assert "trainer.epochs=2.01: is no more than 8 whole steps, which run=" in outcome.err
    assert not list(tmp_path.rglob("result.json"))
    assert command(*words, "trainer.epochs=2.25").code == 0
    [result] = tmp_path.rglob("result.json")
    assert [row["step"] for row in read_rows(result.parent)] == [9]


def stopped_at(step: int, command: Command, *words: str) -> None:
    train_step = Trainer.train_step

    def stop(self: Trainer) -> None:
        if self.step == step:
            raise KeyboardInterrupt
        train_step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_step", stop)
        assert command(*words).code == 130


@pytest.mark.slow
@pytest.mark.parametrize("is_gone", [False, True])
def test_a_run_goes_on_by_itself_when_its_parent_has_trained_on_or_lost_its_checkpoint(
    is_gone: bool, command: Command, tmp_path: Path
) -> None:
    parent = tmp_path / "outputs" / "tests" / "tiny" / "seed0"
    stopped_at(4, command, *TINY)
    words = ("mode=train", f"run={parent}", "trainer.epochs=5", "tracking=off")
    stopped_at(10, command, *words)
    child = parent.parents[1] / "tiny,trainer.epochs=5" / "seed0"
    begun_at = RunFolder(child).config()["parent"]
    assert begun_at.endswith(":3") and load_checkpoint(child / "checkpoint" / "last.pt")["step"] == 9
    if is_gone:
        (parent / "checkpoint" / "last.pt").unlink()
    else:
        assert command(*TINY).code == 0
    assert " interrupted " in command(*words, "mode=plan").out
    outcome = command(*words)
    assert outcome.code == 0 and "going on from step 9 of 20" in outcome.out, outcome.err
    assert RunFolder(child).config()["parent"] == begun_at
    assert [row["step"] for row in read_rows(child)] == [6, 9, 12, 15, 18, 20]
    if not is_gone:
        assert command(*words, "rerun=true").code == 0
        assert RunFolder(child).config()["parent"].endswith(":12")


@pytest.mark.slow
def test_a_run_without_a_sound_checkpoint_does_not_begin_at_another_step(command: Command, tmp_path: Path) -> None:
    parent = tmp_path / "outputs" / "tests" / "tiny" / "seed0"
    stopped_at(4, command, *TINY)
    words = ("mode=train", f"run={parent}", "trainer.epochs=5", "tracking=off")
    stopped_at(4, command, *words)
    assert command(*TINY).code == 0
    child = parent.parents[1] / "tiny,trainer.epochs=5" / "seed0"
    for name in ("last.pt", "best.pt"):
        (child / "checkpoint" / name).write_bytes(b"")
    outcome = command(*words, "rerun=damaged")
    assert outcome.code == 1
    assert "was begun at step 3 of run=" in outcome.err and "which is at step 12 now; rerun=true begins" in outcome.err


@pytest.mark.slow
def test_a_group_changed_on_going_on_is_named_by_its_choice(command: Command, later_run: Path) -> None:
    overrides = ("trainer.epochs=4", "schedule=cosine", "data.pad=1", "seed=5")
    outcome = command("mode=plan", f"run={later_run / PARENT}", *overrides)
    assert outcome.code == 0, outcome.err
    assert "tiny,data.pad=1,schedule=cosine,trainer.epochs=4,trainer.evaluate_every_steps=4/seed5  to do" in outcome.out


@pytest.mark.slow
def test_a_seed_that_splits_the_images_too_cannot_change(command: Command, later_run: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent" / "seed0"
    shutil.copytree(later_run / PARENT, parent)
    config = yaml.safe_load((parent / "config.yaml").read_text())
    config["data"]["split_seed"] = "seed"
    (parent / "config.yaml").write_text(yaml.safe_dump(config))
    words = ("mode=plan", f"run={parent}", "trainer.epochs=4", "seed=1")
    outcome = command(*words)
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert re.search("data.split_seed: cannot change .*; keep it at 0$", outcome.err.strip())
    assert command(*words, "data.split_seed=0").code == 0


@pytest.mark.parametrize(
    ("accuracy", "epoch_of_best", "epoch_in_file", "adopted"),
    [
        (0.5, 1.0, 1.0, 1.0),
        (0.5, 2.0, 1.0, 2.0),  # killed after it had written the one and before it wrote the other
        (0.5, 2.0, None, 2.0),
        (-1.0, 0.0, None, None),  # stopped before its first evaluation
        (0.5, 1.0, 1.5, "not the best that its checkpoint/last.pt knows"),  # it trains on meanwhile
        (0.5, 1.0, None, "not the best that its checkpoint/last.pt knows"),
    ],
)
def test_the_best_weights_are_those_that_the_last_checkpoint_knows(
    accuracy: float, epoch_of_best: float, epoch_in_file: float | None, adopted: float | str | None, tmp_path: Path
) -> None:
    known = {"accuracy": accuracy, "epoch": epoch_of_best}
    save_checkpoint({"epoch": 2.0, "best": known}, tmp_path / "old" / "checkpoint" / "last.pt")
    if epoch_in_file is not None:
        save_checkpoint({"epoch": epoch_in_file}, tmp_path / "old" / "checkpoint" / "best.pt")
    new = RunFolder(tmp_path / "new")
    new.path.mkdir()
    if isinstance(adopted, str):
        with pytest.raises(ValueError, match=adopted):
            adopt_checkpoints(tmp_path / "old", new.path)
        return
    assert adopt_checkpoints(tmp_path / "old", new.path) == {"epoch": 2.0, "best": known}
    assert load_checkpoint(new.last_checkpoint)["epoch"] == 2.0
    found = load_checkpoint(new.best_checkpoint)["epoch"] if new.best_checkpoint.exists() else None
    assert found == adopted


@pytest.mark.parametrize(("step_in_file", "adopted"), [(8, 8), (6, None)])
def test_of_checkpoints_of_one_epoch_the_step_tells_which_is_the_best(
    step_in_file: int, adopted: int | None, tmp_path: Path
) -> None:
    known = {"accuracy": 0.5, "epoch": 2.0, "step": 8}
    save_checkpoint({"epoch": 2.0, "step": 12, "best": known}, tmp_path / "old" / "checkpoint" / "last.pt")
    save_checkpoint({"epoch": 2.0, "step": step_in_file}, tmp_path / "old" / "checkpoint" / "best.pt")
    new = RunFolder(tmp_path / "new")
    new.path.mkdir()
    if adopted is None:
        with pytest.raises(ValueError, match=r"not the best that its checkpoint/last\.pt knows"):
            adopt_checkpoints(tmp_path / "old", new.path)
        return
    adopt_checkpoints(tmp_path / "old", new.path)
    assert load_checkpoint(new.best_checkpoint)["step"] == adopted


@pytest.mark.slow
@pytest.mark.parametrize("key", ADDED_LATER)
def test_a_run_from_before_a_key_existed_is_still_a_run(key: str, command: Command, finished_copy: Path) -> None:
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    *groups, name = key.split(".")
    (config[groups[0]] if groups else config).pop(name)
    (finished_copy / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = command("mode=test", f"run={finished_copy}")
    assert outcome.code == 0, outcome.err
    outcome = command("mode=plan", f"run={finished_copy}", "trainer.epochs=6")
    assert outcome.code == 0, outcome.err
