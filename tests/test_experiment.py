import json
import math
import re
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dynfilt import experiment
from dynfilt.config import Job
from dynfilt.identity import ADDED_LATER, digest
from dynfilt.record import RunRecord
from dynfilt.train.checkpoint import load_checkpoint, save_checkpoint
from dynfilt.train.trainer import Trainer
from tests.conftest import TINY, Command, command_line
from tests.run_folders import assert_same_outcome, contents, read_result, read_rows, read_status
from tests.tiny_run import TinyNet, tiny_data

ROW = [
    *("epoch", "step", "lr", "temperature", "train_loss", "train_accuracy"),
    *("val_loss", "val_accuracy", "seconds", "images_per_second"),
]
RESULT = [
    *("study", "variant", "seed", "test_accuracy", "test_loss", "val_accuracy", "val_loss"),
    *("train_accuracy", "train_loss", "best_epoch", "last_test_accuracy", "parameters", "flops", "latency_ms"),
    *("train_seconds", "peak_memory_mb", "images_per_second", "config_digest"),
]


def test_the_run_folder_holds_what_the_contract_says(finished_run: Path) -> None:
    assert sorted(contents(finished_run)) == [
        *("checkpoint/best.pt", "checkpoint/last.pt", "config.yaml", "lock", "metrics.jsonl"),
        *("provenance.json", "result.json", "status.json", "test_predictions.npz"),
    ]
    assert sorted(path.name for path in finished_run.parents[3].iterdir()) == ["outputs"]  # and nothing of Hydra's
    assert all(list(row) == ROW for row in read_rows(finished_run))
    assert [row["step"] for row in read_rows(finished_run)] == [3, 6, 9, 12]
    assert [row["epoch"] for row in read_rows(finished_run)] == [0.8, 1 + 32 / 60, 2 + 16 / 60, 3.0]
    assert list(read_result(finished_run)) == RESULT
    status = read_status(finished_run)
    assert (status["state"], status["started"] <= status["finished"]) == ("completed", True)
    state = load_checkpoint(finished_run / "checkpoint" / "last.pt")
    assert state.keys() >= {"model", "optimizer", "step", "epoch", "best", "sums", "rng"}


def test_the_provenance_says_where_the_result_comes_from(finished_run: Path) -> None:
    provenance = json.loads((finished_run / "provenance.json").read_text())
    assert provenance["versions"]["torch"] == metadata.version("torch")
    assert provenance["versions"].keys() >= {"python", "dynfilt", "torchvision", "hydra-core", "wandb"}
    assert provenance["command"][1:] == list(TINY)
    assert provenance.keys() >= {"commit", "dirty", "host", "device", "threads", "platform", "time"}


def test_the_config_is_resolved_and_its_own(finished_run: Path, compose: Callable[..., list[Job]]) -> None:
    config = yaml.safe_load((finished_run / "config.yaml").read_text())
    [job] = compose(*TINY)
    assert config == job.config
    assert "${" not in (finished_run / "config.yaml").read_text()
    assert read_result(finished_run)["config_digest"] == digest(config)


def test_the_result_follows_from_the_predictions_and_the_metrics(finished_run: Path) -> None:
    result, rows = read_result(finished_run), read_rows(finished_run)
    test = tiny_data(num_classes=4, split_seed=0, flip=True, pad=2).test
    with np.load(finished_run / "test_predictions.npz") as arrays:
        assert {name: array.shape for name, array in arrays.items()} == {
            "label": (20,),
            "best_class": (20,),
            "best_true_class_probability": (20,),
            "last_class": (20,),
            "last_true_class_probability": (20,),
        }
        right = {which: arrays[f"{which}_class"] == test.labels.numpy() for which in ("best", "last")}
        assert arrays["label"].tolist() == test.labels.tolist()
        losses = -np.log(arrays["best_true_class_probability"].astype(np.float64))
    assert result["test_accuracy"] == right["best"].mean()
    assert result["last_test_accuracy"] == right["last"].mean()
    assert result["test_loss"] == pytest.approx(losses.mean(), rel=1e-5)
    best = max(rows, key=lambda row: row["val_accuracy"])  # the first of equals
    assert (result["best_epoch"], result["val_accuracy"]) == (best["epoch"], best["val_accuracy"])
    assert result["val_loss"] == best["val_loss"]
    assert load_checkpoint(finished_run / "checkpoint" / "best.pt")["step"] == best["step"]
    assert load_checkpoint(finished_run / "checkpoint" / "last.pt")["step"] == 12
    assert best is not rows[-1]  # else best and last cannot be told apart
    assert result["train_seconds"] == rows[-1]["seconds"]
    assert result["images_per_second"] == pytest.approx(180 / result["train_seconds"])


def test_the_training_accuracy_is_of_the_whole_split_in_eval_mode(finished_run: Path) -> None:
    net = experiment.load(finished_run)
    data = tiny_data(num_classes=4, split_seed=0, flip=True, pad=2)
    scores = net(data.train.images / 127.5 - 1).detach()
    result = read_result(finished_run)
    assert result["train_accuracy"] == (scores.argmax(1) == data.train.labels).double().mean().item()
    loss = torch.nn.functional.cross_entropy(scores.double(), data.train.labels).item()
    assert result["train_loss"] == pytest.approx(loss, rel=1e-5)


def test_costs_are_counted(finished_run: Path) -> None:
    result = read_result(finished_run)
    net = TinyNet(num_classes=4, dropout=0.2)
    assert result["parameters"] == sum(p.numel() for p in net.parameters())
    # DY-Conv at 8x8 (attention 3 -> 2 -> 2, mixing 2 kernels of 108 weights and their biases), then 16 -> 4.
    convolution, attention, mixing, head = 2 * 64 * 108, 2 * (3 * 2 + 2 * 2), 2 * 2 * (108 + 4), 2 * 16 * 4
    assert convolution + head < result["flops"] <= convolution + attention + mixing + head
    assert min(result[key] for key in ("latency_ms", "train_seconds", "peak_memory_mb", "images_per_second")) > 0


def test_a_loaded_run_predicts_what_the_run_predicted(finished_run: Path) -> None:
    net = experiment.load(finished_run)
    assert not any(module.training for module in net.modules())
    assert_predicts(net, finished_run, "best")
    best, last = (load_checkpoint(finished_run / "checkpoint" / f"{which}.pt")["model"] for which in ("best", "last"))
    torch.testing.assert_close(dict(net.state_dict()), best, rtol=0, atol=0)  # the temperature too
    net.load_state_dict(last)
    assert_predicts(net, finished_run, "last")


def assert_predicts(net: torch.nn.Module, folder: Path, which: str) -> None:
    test = tiny_data(num_classes=4, split_seed=0, flip=False, pad=0).test
    with torch.no_grad():
        scores = net(test.images / 127.5 - 1)
    with np.load(folder / "test_predictions.npz") as arrays:
        assert scores.argmax(1).tolist() == arrays[f"{which}_class"].tolist()
        probability = scores.softmax(1)[range(20), test.labels].numpy()
        np.testing.assert_allclose(probability, arrays[f"{which}_true_class_probability"], rtol=1e-5)


@pytest.mark.parametrize("damage", ["config.yaml", "checkpoint/best.pt", "truncated", "folder"])
def test_what_is_no_whole_run_is_not_loaded(damage: str, finished_copy: Path) -> None:
    if damage == "truncated":
        (finished_copy / "checkpoint" / "best.pt").write_bytes(b"PK")
    elif damage == "folder":
        shutil.rmtree(finished_copy)
    else:
        (finished_copy / damage).unlink()
    with pytest.raises(ValueError, match=r"config\.yaml: not the config|has no checkpoint|not a readable checkpoint"):
        experiment.load(finished_copy)


def test_a_finished_run_is_skipped_and_the_skip_is_said(
    command: Command, finished_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(finished_copy)
    for commit, note in (("a" * 40, " at commit aaaaaaaaaa, now bbbbbbbbbb"), ("b" * 40, "")):
        provenance = {**json.loads(before["provenance.json"]), "commit": commit}
        (finished_copy / "provenance.json").write_text(json.dumps(provenance))
        monkeypatch.setattr(experiment, "git_state", lambda: ("b" * 40, False))
        outcome = command(*TINY)
        assert outcome.code == 0
        assert outcome.lines == [f"outputs/tests/tiny/seed0: already done{note}; skipped, rerun=true runs it anew"]
    after = contents(finished_copy)
    assert after.pop("provenance.json") and before.pop("provenance.json")
    assert after == before


@pytest.mark.parametrize("done", [True, False])
def test_a_folder_of_another_config_is_refused_by_key(done: bool, command: Command, finished_copy: Path) -> None:
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    config["optimizer"]["lr"] = 0.5
    config["trainer"]["device"] = "cuda"  # outside the digest
    (finished_copy / "config.yaml").write_text(yaml.safe_dump(config))
    if not done:
        (finished_copy / "result.json").unlink()
    before = contents(finished_copy)
    outcome = command(*TINY)
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert "belongs to another config (there -> here: optimizer.lr: 0.5 -> 0.1)" in outcome.err
    assert contents(finished_copy) == before


def test_rerun_sets_the_old_run_aside_and_runs_anew(command: Command, finished_copy: Path) -> None:
    before = contents(finished_copy)
    for number in (1, 2):
        outcome = command(*TINY, "rerun=true")
        assert outcome.code == 0
        assert f"set aside as .seed0.{number}" in outcome.out
    assert contents(finished_copy.with_name(".seed0.1")) == before
    assert_same_outcome(finished_copy, finished_copy.with_name(".seed0.1"))


def test_a_folder_in_use_is_refused_and_left_alone(command: Command, finished_copy: Path) -> None:
    (finished_copy / "result.json").unlink()
    with RunRecord(finished_copy, yaml.safe_load((finished_copy / "config.yaml").read_text())):
        before = contents(finished_copy)
        for override in ((), ("rerun=true",)):
            outcome = command(*TINY, *override)
            assert (outcome.code, len(outcome.lines)) == (1, 1)
            assert "in use by another process (pid " in outcome.err
        assert contents(finished_copy) == before
        assert list(finished_copy.parent.iterdir()) == [finished_copy]
    assert command(*TINY).code == 0


def test_mode_test_reproduces_the_test_accuracy_and_touches_nothing_else(command: Command, finished_copy: Path) -> None:
    before = contents(finished_copy)
    outcome = command("mode=test", f"run={finished_copy}", "trainer.device=cpu")
    assert outcome.code == 0, outcome.err
    result, test = read_result(finished_copy), json.loads((finished_copy / "test.json").read_text())
    assert test["test_accuracy"] == result["test_accuracy"]
    assert test["test_loss"] == result["test_loss"]
    assert test["provenance"]["versions"]["torch"] == metadata.version("torch")
    after = contents(finished_copy)
    assert after.pop("test.json")
    assert after == before
    assert [path.name for path in (finished_copy.parents[3]).iterdir()] == ["outputs"]


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["seed=1"], "seed: "),
        (["trainer.epochs=3", "tracking=off"], "trainer.epochs, tracking: "),
        (["model=static_3x3"], "model: "),
        (["data.split_seed=1"], "data.split_seed: "),
    ],
)
def test_mode_test_refuses_other_overrides(
    overrides: list[str], named: str, command: Command, finished_run: Path
) -> None:
    outcome = command("mode=test", f"run={finished_run}", *overrides)
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert f"{named}mode=test uses the run's own config; only data.root, trainer.device may differ" in outcome.err
    assert not (finished_run / "test.json").exists()


def test_mode_test_looks_for_the_data_where_it_is_told(command: Command, finished_copy: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    lab = {"mean": [0.5] * 3, "std": [0.5] * 3, "flip": False, "pad": 0, "split_seed": 0}
    config["data"] = {"_target_": "dynfilt.data.cifar.cifar10", "root": None, "num_classes": 10, **lab}
    config["data"]["validation_size"] = 5000
    (finished_copy / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = command("mode=test", f"run={finished_copy}", f"data.root={tmp_path / 'nowhere'}")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert f"data.root: {tmp_path / 'nowhere'} is no folder" in outcome.err


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
        (["trainer.epochs=4", "trainer.patience=1"], "trainer.patience=1: .* waited"),
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


def test_a_group_changed_on_going_on_is_named_by_its_choice(command: Command, later_run: Path) -> None:
    outcome = command("mode=plan", f"run={later_run / PARENT}", "trainer.epochs=4", "schedule=cosine", "seed=5")
    assert outcome.code == 0, outcome.err
    assert "tiny,schedule=cosine,trainer.epochs=4,trainer.evaluate_every_steps=4/seed5  to do" in outcome.out


@pytest.mark.parametrize("key", ADDED_LATER)
def test_a_run_from_before_a_key_existed_is_still_a_run(key: str, command: Command, finished_copy: Path) -> None:
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    group, name = key.split(".")
    config[group].pop(name)
    (finished_copy / "config.yaml").write_text(yaml.safe_dump(config))
    outcome = command("mode=test", f"run={finished_copy}")
    assert outcome.code == 0, outcome.err
    outcome = command("mode=plan", f"run={finished_copy}", "trainer.epochs=6")
    assert outcome.code == 0, outcome.err


def test_a_plan_runs_and_creates_nothing(command: Command, finished_copy: Path, tmp_path: Path) -> None:
    (finished_copy.with_name("seed1")).mkdir()
    (finished_copy.with_name("seed1") / "status.json").write_text('{"state": "failed"}')
    for number in (2, 3):
        shutil.copytree(finished_copy, finished_copy.with_name(f"seed{number}"))
        folder = finished_copy.with_name(f"seed{number}")
        (folder / "result.json").unlink()
        (folder / "status.json").write_text('{"state": "running"}')
        rows = (folder / "metrics.jsonl").read_text().splitlines()[:2]
        (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    before = contents(tmp_path)
    with RunRecord(finished_copy.with_name("seed3"), yaml.safe_load((finished_copy / "config.yaml").read_text())):
        outcome = command(*TINY, "-m", "mode=plan", "seed=0,1,2,3,4")
    before["outputs/tests/tiny/seed3/lock"] = contents(tmp_path)["outputs/tests/tiny/seed3/lock"]
    assert contents(tmp_path) == before
    assert outcome.code == 0, outcome.err
    states = {line.split()[0]: line.split()[1] for line in outcome.lines[1:-1] if line.startswith("tiny/")}
    assert states == {
        "tiny/seed0": "completed",
        "tiny/seed1": "failed",
        "tiny/seed2": "interrupted",
        "tiny/seed3": "running",
        "tiny/seed4": "to" if "to do" in outcome.out else "",
    }
    assert "1.53333/3" in outcome.out
    assert outcome.lines[-1].startswith("1 of 5 done; time left 0 min ")


def test_the_time_left_is_judged_by_the_epochs_that_were_timed(command: Command, finished_copy: Path) -> None:
    rows = read_rows(finished_copy)
    rows[-1]["seconds"] = 3 * 600.0
    (finished_copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = command(*TINY, "-m", "mode=plan", "seed=0,1,2")
    assert [line.split("  ")[-1].strip() for line in outcome.lines[1:4]] == ["0 min 00 s", "30 min 00 s", "30 min 00 s"]
    assert outcome.lines[-1] == "1 of 3 done; time left 1 h 00 min"


def test_a_diverging_run_fails_with_one_line_that_names_the_step(command: Command, tmp_path: Path) -> None:
    outcome = command(*TINY, "optimizer.lr=1e30")
    assert outcome.code == 1
    assert len(outcome.lines) <= 14
    assert "Traceback" not in outcome.out + outcome.err
    assert "loss is" in outcome.err and " step " in outcome.err
    [folder] = (tmp_path / "outputs" / "tests").glob("*/seed0")
    status = read_status(folder)
    assert (status["state"], status["error"]["type"]) == ("failed", "FloatingPointError")
    assert status["error"]["message"] in outcome.err
    assert "Traceback" in status["error"]["traceback"]
    assert not (folder / "result.json").exists()
    assert all(math.isfinite(value) for row in read_rows(folder) for value in row.values() if value is not None)


def test_an_interrupted_run_says_so_and_goes_on(
    command: Command, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    train_step = Trainer.train_step

    def interrupt(self: Any) -> None:
        if self.step == 7:
            raise KeyboardInterrupt
        train_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupt)
        outcome = command(*TINY)
    folder = tmp_path / "outputs" / "tests" / "tiny" / "seed0"
    assert outcome.code == 130
    assert "interrupted; the same command goes on from the last checkpoint" in outcome.err
    assert read_status(folder)["state"] == "interrupted"
    outcome = command(*TINY)
    assert "going on from step 6 of 12" in outcome.out
    assert_same_outcome(folder, finished_run)


@pytest.mark.parametrize("content", ["", '{"test_acc'])
def test_a_damaged_result_is_not_taken_for_one(content: str, command: Command, finished_copy: Path) -> None:
    (finished_copy / "result.json").write_text(content)
    outcome = command(*TINY)
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert "result.json: not readable as JSON" in outcome.err and "rerun=true sets the run aside" in outcome.err


def test_a_lost_best_checkpoint_is_told_before_training(command: Command, finished_copy: Path) -> None:
    (finished_copy / "result.json").unlink()
    state = load_checkpoint(finished_copy / "checkpoint" / "last.pt")
    state["best"]["epoch"] = 0.25
    save_checkpoint(state, finished_copy / "checkpoint" / "last.pt")
    (finished_copy / "checkpoint" / "best.pt").unlink()
    outcome = command(*TINY)
    assert (outcome.code, outcome.out) == (1, "")
    assert "has no checkpoint/best.pt; train it first, or anew with rerun=true" in outcome.err


def test_a_lost_last_checkpoint_is_said(command: Command, finished_copy: Path) -> None:
    (finished_copy / "result.json").unlink()
    (finished_copy / "checkpoint" / "last.pt").unlink()
    outcome = command(*TINY)
    assert outcome.code == 0
    assert "has evaluations but no checkpoint/last.pt; starting again at step 0" in outcome.out


def test_a_damaged_checkpoint_is_never_trained_on(command: Command, finished_copy: Path) -> None:
    (finished_copy / "result.json").unlink()
    last = finished_copy / "checkpoint" / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    outcome = command(*TINY)
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert "last.pt: not a readable checkpoint" in outcome.err
    assert read_status(finished_copy)["state"] == "failed"
