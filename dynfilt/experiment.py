"""One run from config to result: the page to read first."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynfilt import cost
from dynfilt.assembly import build_trainer, load, load_best
from dynfilt.config import Job, check
from dynfilt.continuation import adopt_checkpoints, continue_from
from dynfilt.identity import Identity, digest, variant_name
from dynfilt.layers.formulation import force_formulation
from dynfilt.plan import PlannedRun, plan_run
from dynfilt.progress import ProgressDisplay
from dynfilt.provenance import collect_provenance, git_state
from dynfilt.record import RunRecord, read_json, read_metrics, require_same_config, set_aside
from dynfilt.retest import retest
from dynfilt.train.checkpoint import copy_checkpoint, load_checkpoint, replace_atomically
from dynfilt.train.checkpoint_writer import CheckpointWriter
from dynfilt.train.evaluation import Evaluation
from dynfilt.train.settings import resolve_device
from dynfilt.train.trainer import Trainer
from dynfilt.wandb_mirror import Mirror, Tracking, open_mirror

__all__ = ["load", "run"]


def run(job: Job) -> PlannedRun | None:
    """Train, test or plan one run, as the config's `mode` says; a plan is returned, everything else is on disk.

    Raises ValueError for what the user can mend and FloatingPointError when training diverges.
    """
    check(job.config, job.choices)
    if job.config["mode"] == "test":
        retest(job)
        return None
    if job.config["run"] is not None:
        job = continue_from(job)
        check(job.config, job.choices)
    name = variant_name(job.choices["model"], job.differences)
    identity = Identity(job.config["study"], name, job.config["seed"], digest(job.config))
    if job.config["mode"] == "plan":
        return plan_run(identity, job.config)
    train(job, identity)
    return None


def train(job: Job, identity: Identity) -> None:
    """Bring a run to its result: skip it when it is done, else start it or go on from its last checkpoint."""
    folder = identity.folder(job.config["output_root"])
    if job.config["rerun"] and folder.exists():
        print(f"{folder}: set aside as {set_aside(folder).name}")
    done = folder / "result.json"
    if done.exists() and read_json(done) is not None:
        require_same_config(folder, job.config)
        print(f"{folder}: already done{_commit_note(folder)}; skipped, rerun=true runs it anew")
        return
    device = resolve_device(job.config["trainer"]["device"])
    with RunRecord(folder, job.config) as record, force_formulation(job.config["trainer"]["formulation"]):
        origin = {"model": job.choices["model"], "differences": job.differences, "parent": job.config["parent"]}
        record.start({**collect_provenance(device), **origin})
        cost.reset_peak_memory(device)
        trainer = build_trainer(job.config, device)
        resume(trainer, record)
        with trainer.settings.autocast(device):
            record.note(formulations=cost.name_formulations(trainer.model, trainer.data.image_shape, device))
        with open_wandb(record, identity) as mirror:
            fit(trainer, record, mirror, f"{identity.variant}/seed{identity.seed}")
            result = conclude(trainer, record, identity)
            mirror.finish(result)
        record.finish(result)
    print(f"{folder}: test accuracy {result['test_accuracy']:.2%} (best on validation, epoch {result['best_epoch']:g})")


def resume(trainer: Trainer, record: RunRecord) -> None:
    """Go on from the folder's last checkpoint, else from the parent's, else from step 0."""
    parent = record.config["run"]
    if parent is not None and not record.last_checkpoint.exists():
        adopt_checkpoints(Path(parent), record.folder)
    if not record.last_checkpoint.exists():
        if read_metrics(record.folder):
            print(f"{record.folder}: has evaluations but no checkpoint/last.pt; starting again at step 0")
        record.drop_metrics_after(-1)
        return
    state = load_checkpoint(record.last_checkpoint)
    if state["best"]["accuracy"] >= 0 and state["best"]["epoch"] != state["epoch"]:
        load_best(record.folder)  # without it there is no result, so it is better to know before training
    if state["best"]["epoch"] == state["epoch"]:
        copy_checkpoint(record.last_checkpoint, record.best_checkpoint)  # a crash may have come between the two
    trainer.load_state_dict(state)
    record.drop_metrics_after(trainer.step)
    print(f"{record.folder}: going on from step {trainer.step} of {trainer.total_steps}")


def open_wandb(record: RunRecord, identity: Identity) -> Mirror:
    """The W&B run that mirrors this folder, as `tracking` says."""
    return open_mirror(
        Tracking(**{key: value for key, value in record.config["tracking"].items() if key != "_target_"}),
        folder=record.folder,
        run_id=identity.wandb_id,
        study=identity.study,
        variant=identity.variant,
        seed=identity.seed,
        config={**record.config, "provenance": read_json(record.folder / "provenance.json")},
    )


def fit(trainer: Trainer, record: RunRecord, mirror: Mirror, label: str) -> None:
    """Train to the end; every evaluation is recorded, then kept as a checkpoint, then mirrored."""
    writer = CheckpointWriter()

    def on_checkpoint() -> None:
        writer.write(trainer.state_dict(), record.last_checkpoint)

    def on_evaluation(row: dict[str, Any], improved: bool) -> None:
        record.append_metrics(row)
        writer.write(trainer.state_dict(), record.last_checkpoint, record.best_checkpoint if improved else None)
        mirror.log(row)
        display.show_evaluation(row, improved)

    for row in read_metrics(record.folder)[-1:]:
        mirror.log(row)  # after a kill W&B may lack it; readers keep the last row of an epoch
    settings = trainer.settings
    with writer, ProgressDisplay(label, trainer.total_steps, settings.epochs, settings.progress_bar) as display:
        trainer.fit(on_evaluation, on_checkpoint, display.show_step)


def conclude(trainer: Trainer, record: RunRecord, identity: Identity) -> dict[str, Any]:
    """Evaluate the last and the best weights, once, and write the predictions; the result is returned."""
    model, data, evaluate = trainer.model, trainer.data, trainer.evaluator.evaluate
    last_test = evaluate(model, data.test)
    model.load_state_dict(load_best(record.folder)["model"])
    train_split, val, test = (evaluate(model, split) for split in (data.train, data.val, data.test))
    labels = trainer.evaluator.part(data.test).labels
    save_predictions(record.folder / "test_predictions.npz", labels, test, last_test)
    images = trainer.epoch * len(data.train)
    return {
        "study": identity.study,
        "variant": identity.variant,
        "seed": identity.seed,
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "val_accuracy": val.accuracy,
        "val_loss": val.loss,
        "train_accuracy": train_split.accuracy,
        "train_loss": train_split.loss,
        "best_epoch": trainer.best_epoch,
        "last_test_accuracy": last_test.accuracy,
        "parameters": cost.count_parameters(model),
        "flops": cost.count_flops(model, trainer.data.image_shape),
        "latency_ms": cost.measure_latency_ms(model, trainer.data.image_shape, trainer.device),
        "train_seconds": trainer.train_seconds,
        "peak_memory_mb": cost.peak_memory_mb(trainer.device),
        "images_per_second": images / trainer.train_seconds,
        "config_digest": identity.digest,
    }


def save_predictions(path: Path, labels: torch.Tensor, best: Evaluation, last: Evaluation) -> None:
    """True class of every test image, and predicted class and true-class probability by the best and last weights."""
    buffer = io.BytesIO()
    arrays = {
        "label": labels.cpu().to(torch.int16),
        "best_class": best.predictions.to(torch.int16),
        "best_true_class_probability": best.true_class_probability,
        "last_class": last.predictions.to(torch.int16),
        "last_true_class_probability": last.true_class_probability,
    }
    np.savez_compressed(buffer, allow_pickle=False, **{name: t.numpy() for name, t in arrays.items()})
    replace_atomically(path, buffer.getvalue())


def _commit_note(folder: Path) -> str:
    before, now = (read_json(folder / "provenance.json") or {}).get("commit"), git_state()[0]
    return f" at commit {before[:10]}, now {now[:10]}" if before and now and before != now else ""
