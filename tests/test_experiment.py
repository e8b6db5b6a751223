"""One run from config to result: its folder, what it refuses, how it ends."""

import json
import math
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
from dynfilt.config.checks import make
from dynfilt.config.compose import Job
from dynfilt.config.compose import compose as compose_config
from dynfilt.run.identity import digest
from dynfilt.run.record import RunRecord
from dynfilt.train.checkpoint import load_checkpoint, save_checkpoint
from dynfilt.train.trainer import Trainer
from tests.conftest import TINY, Command
from tests.run_folders import assert_same_outcome, contents, read_result, read_rows, read_status
from tests.tiny_run import TinyNet, tiny_data

ROW = [
    *("epoch", "step", "lr", "temperature", "train_loss", "train_accuracy"),
    *("val_loss", "val_accuracy", "seconds", "images_per_second"),
]
RESULT = [
    *("study", "variant", "seed", "test_loss", "test_accuracy", "val_loss", "val_accuracy"),
    *("train_loss", "train_accuracy", "best_epoch", "last_test_accuracy", "test_accuracy_mean_choice"),
    *("parameters", "flops", "latency_ms", "train_seconds", "peak_memory_mb", "images_per_second", "config_digest"),
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
    assert provenance["formulations"] == "grouped"


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
        of_each = ("class", "class_probability", "true_class_probability", "true_class_rank")
        names = {"label", *(f"{which}_{what}" for which in ("best", "last") for what in of_each)}
        assert {name: array.shape for name, array in arrays.items()} == dict.fromkeys(names, (20,))
        right = {which: arrays[f"{which}_class"] == test.labels.numpy() for which in ("best", "last")}
        assert arrays["label"].tolist() == test.labels.tolist()
        assert ((arrays["best_true_class_rank"] == 0) == right["best"]).all()
        assert (arrays["best_class_probability"] >= arrays["best_true_class_probability"]).all()
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


def test_latency_is_measured_in_the_runs_precision(
    compose: Callable[..., list[Job]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtypes = []

    def watched(model: torch.nn.Module, image_shape: tuple[int, int, int], device: torch.device) -> float:
        with torch.inference_mode():
            dtypes.append(model(torch.zeros(1, *image_shape)).dtype)
        return 1.0

    monkeypatch.setattr("dynfilt.cost.measure_latency_ms", watched)
    (job,) = compose(*TINY, "trainer.precision=bfloat16", f"output_root={tmp_path}")
    experiment.run(job)
    assert dtypes == [torch.bfloat16]


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


def test_a_network_within_a_network_loads_without_the_file_that_it_started_from(finished_copy: Path) -> None:
    node = compose_config(["model=zero_filled_resnet8", "data=cifar10_sample"])["model"]
    network, best = make(node, "model"), finished_copy / "checkpoint" / "best.pt"
    save_checkpoint({**load_checkpoint(best), "model": network.state_dict()}, best)
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    config["model"] = {**node, "network": {**node["network"], "weights": "gone.pth"}}
    (finished_copy / "config.yaml").write_text(yaml.safe_dump(config))
    torch.testing.assert_close(dict(experiment.load(finished_copy).state_dict()), dict(network.state_dict()))


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_rerun_sets_the_old_run_aside_and_runs_anew(command: Command, finished_copy: Path) -> None:
    before = contents(finished_copy)
    for number in (1, 2):
        outcome = command(*TINY, "rerun=true")
        assert outcome.code == 0
        assert f"set aside as .seed0.{number}" in outcome.out
    assert contents(finished_copy.with_name(".seed0.1")) == before
    assert_same_outcome(finished_copy, finished_copy.with_name(".seed0.1"))


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert "result.json is not valid JSON" in outcome.err and "rerun=true sets the run aside" in outcome.err


def test_a_lost_best_checkpoint_is_told_before_training(command: Command, finished_copy: Path) -> None:
    (finished_copy / "result.json").unlink()
    state = load_checkpoint(finished_copy / "checkpoint" / "last.pt")
    state["best"]["epoch"] = 0.25
    save_checkpoint(state, finished_copy / "checkpoint" / "last.pt")
    (finished_copy / "checkpoint" / "best.pt").unlink()
    outcome = command(*TINY)
    assert (outcome.code, outcome.out) == (1, "")
    assert "has no checkpoint/best.pt; train it first, or anew with rerun=true" in outcome.err


def test_best_weights_of_another_accuracy_are_no_result(command: Command, finished_copy: Path) -> None:
    (finished_copy / "result.json").unlink()
    best = finished_copy / "checkpoint" / "best.pt"
    state = load_checkpoint(best)
    state["best"]["accuracy"] = 0.01
    save_checkpoint(state, best)
    outcome = command(*TINY)
    assert outcome.code == 1
    assert "checkpoint/best.pt has weights of validation accuracy 1.00%, the run's best is " in outcome.err
    assert read_status(finished_copy)["state"] == "failed" and not (finished_copy / "result.json").exists()


@pytest.mark.slow
def test_a_lost_last_checkpoint_is_said(command: Command, finished_copy: Path, finished_run: Path) -> None:
    (finished_copy / "result.json").unlink()
    (finished_copy / "checkpoint" / "last.pt").unlink()
    outcome = command(*TINY)
    assert outcome.code == 0
    assert "warning: outputs/tests/tiny/seed0: going on from checkpoint/best.pt, at step " in outcome.err
    assert_same_outcome(finished_copy, finished_run)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_never_trained_on(command: Command, finished_copy: Path, finished_run: Path) -> None:
    (finished_copy / "result.json").unlink()
    last = finished_copy / "checkpoint" / "last.pt"
    damaged = last.read_bytes()[:-100]
    last.write_bytes(damaged)
    outcome = command(*TINY)
    assert outcome.code == 0
    assert "checkpoint/last.pt not a readable checkpoint (" in outcome.err
    assert last.with_name("last.pt.damaged").read_bytes() == damaged
    assert_same_outcome(finished_copy, finished_run)


@pytest.mark.slow
def test_deterministic_algorithms_leave_a_run_on_a_cpu_as_it_is(
    command: Command, finished_run: Path, tmp_path: Path
) -> None:
    outcome = command(*TINY, "trainer.deterministic=true")
    assert outcome.code == 0, outcome.err
    assert not torch.are_deterministic_algorithms_enabled()
    run = tmp_path / "outputs" / "tests" / "tiny" / "seed0"
    assert_same_outcome(run, finished_run)
    assert json.loads((run / "provenance.json").read_text())["trainer.deterministic"] is True
