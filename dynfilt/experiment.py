"""One run from config to result: the page to read first."""

from __future__ import annotations

import io
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynfilt import cost
from dynfilt.assembly import build_trainer, load, read_checkpoint
from dynfilt.config.checks import check, make
from dynfilt.config.compose import Job
from dynfilt.layers.formulation import force_formulation
from dynfilt.retest import retest
from dynfilt.run.continuation import adopt_checkpoints, continue_from
from dynfilt.run.folder import Predictions, RunFolder
from dynfilt.run.identity import Identity, identify
from dynfilt.run.plan import PlannedRun, Planner
from dynfilt.run.progress import ProgressDisplay, RunDisplay
from dynfilt.run.provenance import collect_provenance, git_state
from dynfilt.run.record import RunRecord, require_same_config, set_aside
from dynfilt.run.stopping import RunInterrupted, StopSignals
from dynfilt.tracking.mirror import Mirror, open_mirror
from dynfilt.train.checkpoint import copy_checkpoint, load_checkpoint, replace_atomically
from dynfilt.train.checkpoint_writer import CheckpointWriter
from dynfilt.train.evaluation import Evaluation, Stopped
from dynfilt.train.settings import resolve_device
from dynfilt.train.trainer import Trainer

__all__ = ["load", "run"]


class Ending(StrEnum):
    """How a job ended that did not fail."""

    TRAINED = "trained"
    TESTED = "tested"
    SKIPPED = "skipped"  # it was done before


def run(job: Job, stop: StopSignals | None = None, display: RunDisplay | None = None) -> Ending:
    """Train or test one run, as the config's `mode` says; all that comes of it is on disk.

    Raises ValueError for what the user can mend, FloatingPointError when training diverges, and RunInterrupted when
    `stop` has received a signal.
    """
    stop = stop or StopSignals()
    stop.check()
    check(job.config, job.choices)
    if job.config["mode"] == "test":
        retest(job)
        return Ending.TESTED
    if job.config["run"] is not None:
        job = continue_from(job)
        check(job.config, job.choices)
    return train(job, identify(job.config, job.choices, job.differences), stop, display or ProgressDisplay())


def plan(job: Job, planner: Planner) -> PlannedRun:
    """Plan what `run` would do with a checked job, without doing anything."""
    if job.config["run"] is not None:
        job = continue_from(job)
        check(job.config, job.choices)
    return planner.plan(identify(job.config, job.choices, job.differences), job.config)


def train(job: Job, identity: Identity, stop: StopSignals, display: RunDisplay) -> Ending:
    """Bring a run to its result: skip it when it is done, else start it or go on from its last checkpoint."""
    path = identity.folder(job.config["output_root"])
    if job.config["rerun"] and path.exists():
        print(f"{path}: set aside as {set_aside(path).name}")
    if RunFolder(path).result() is not None:
        return _skip(path, job)
    device = resolve_device(job.config["trainer"]["device"])
    with RunRecord(path, job.config) as record, force_formulation(job.config["trainer"]["formulation"]):
        if record.folder.result() is not None:  # another process ended it between the look above and the lock
            return _skip(path, job)
        origin = {"model": job.choices["model"], "differences": job.differences, "parent": job.config["parent"]}
        display.enter(path)
        record.start({**collect_provenance(device), **origin})
        cost.reset_peak_memory(device)
        trainer = build_trainer(job.config, device)
        resume(trainer, record)
        with trainer.settings.autocast(device):
            shape, batch = trainer.data.image_shape, trainer.settings.batch_size
            record.add_provenance(formulations=cost.name_formulations(trainer.model, shape, batch))
        with open_wandb(record, identity) as mirror:
            try:
                fit(trainer, record, mirror, display, f"{identity.variant}/seed{identity.seed}", stop)
                result = conclude(trainer, record, identity, stop)
            except Stopped as error:
                raise RunInterrupted(f"stopped at step {trainer.step} of {trainer.total_steps}") from error
            mirror.finish(result)
        record.finish(result)
    print(f"{path}: test accuracy {result['test_accuracy']:.2%} (best on validation, epoch {result['best_epoch']:g})")
    return Ending.TRAINED


def _skip(path: Path, job: Job) -> Ending:
    require_same_config(RunFolder(path), job.config)
    print(f"{path}: already done{_commit_note(path)}; skipped, rerun=true runs it anew")
    return Ending.SKIPPED


def resume(trainer: Trainer, record: RunRecord) -> None:
    """Go on from the folder's last checkpoint, else from the parent's, else from step 0."""
    folder, parent = record.folder, record.config["run"]
    if parent is not None and not folder.last_checkpoint.exists():
        adopt_checkpoints(Path(parent), folder.path)
    if not folder.last_checkpoint.exists():
        if folder.evaluations():
            missing = folder.name_of(folder.last_checkpoint)
            print(f"{folder.path}: has evaluations but no {missing}; starting again at step 0")
        record.drop_evaluations_after(-1)
        return
    state = load_checkpoint(folder.last_checkpoint)
    if state["best"]["accuracy"] >= 0 and state["best"]["epoch"] != state["epoch"]:
        read_checkpoint(folder, "best")  # without it there is no result, so it is better to know before training
    if state["best"]["epoch"] == state["epoch"]:
        copy_checkpoint(folder.last_checkpoint, folder.best_checkpoint)  # a crash may have come between the two
    trainer.load_state_dict(state)
    record.drop_evaluations_after(trainer.step)
    print(f"{folder.path}: going on from step {trainer.step} of {trainer.total_steps}")


def open_wandb(record: RunRecord, identity: Identity) -> Mirror:
    """The W&B run that mirrors this folder, as `tracking` says."""
    return open_mirror(
        make(record.config["tracking"], "tracking"),
        folder=record.folder.path,
        run_id=identity.wandb_id,
        study=identity.study,
        variant=identity.variant,
        seed=identity.seed,
        config={**record.config, "provenance": record.folder.provenance()},
    )


def fit(
    trainer: Trainer, record: RunRecord, mirror: Mirror, display: RunDisplay, label: str, stop: StopSignals
) -> None:
    """Train to the end; every evaluation is recorded, then kept as a checkpoint, then mirrored."""
    folder, writer = record.folder, CheckpointWriter()

    def on_checkpoint() -> None:
        writer.write(trainer.state_dict(), folder.last_checkpoint)

    def on_evaluation(row: dict[str, Any], improved: bool) -> None:
        record.append_evaluation(row)
        writer.write(trainer.state_dict(), folder.last_checkpoint, folder.best_checkpoint if improved else None)
        mirror.log(row)
        display.show_evaluation(row, improved)

    for row in folder.evaluations()[-1:]:
        mirror.log(row)  # after a kill W&B may lack it; readers keep the last row of an epoch
    settings = trainer.settings
    with writer, display.of(label, trainer.total_steps, settings.epochs, settings.progress_bar):
        trainer.fit(on_evaluation, on_checkpoint, display.show_step, stop)


def conclude(trainer: Trainer, record: RunRecord, identity: Identity, stop: StopSignals) -> dict[str, Any]:
    """Evaluate the last and the best weights, once, and write the predictions; the result is returned."""
    model, data, evaluate = trainer.model, trainer.data, trainer.evaluator.evaluate
    last_test = evaluate(model, data.test, stop)
    model.load_state_dict(read_checkpoint(record.folder, "best")["model"])
    train_split, val, test = (evaluate(model, split, stop) for split in (data.train, data.val, data.test))
    labels = trainer.evaluator.subset_to_evaluate(data.test).labels
    save_predictions(record.folder.predictions_file, labels, test, last_test)
    views: Iterable[str] = getattr(model, "partial_views", tuple)()  # of a network for images that lack channels
    partial = {f"test_accuracy_{view}": evaluate(model, data.test, stop).accuracy for view in views}
    images = trainer.epoch * len(data.train)
    return {
        "study": identity.study,
        "variant": identity.variant,
        "seed": identity.seed,
        **test.numbers("test"),
        **val.numbers("val"),
        **train_split.numbers("train"),
        "best_epoch": trainer.best_epoch,
        "last_test_accuracy": last_test.accuracy,
        **partial,
        "parameters": cost.count_parameters(model),
        "flops": cost.count_flops(model, trainer.data.image_shape),
        "latency_ms": cost.measure_latency_ms(model, trainer.data.image_shape, trainer.device),
        "train_seconds": trainer.train_seconds,
        "peak_memory_mb": cost.peak_memory_mb(trainer.device),
        "images_per_second": images / trainer.train_seconds,
        "config_digest": identity.digest,
    }


def save_predictions(path: Path, labels: torch.Tensor, best: Evaluation, last: Evaluation) -> None:
    """Write what is kept of every test image."""
    kept = Predictions(
        label=labels.cpu().to(torch.int16).numpy(),
        best_class=best.predictions.to(torch.int16).numpy(),
        best_class_probability=best.probability.numpy(),
        best_true_class_probability=best.true_class_probability.numpy(),
        best_true_class_rank=best.true_class_rank.to(torch.int16).numpy(),
        last_class=last.predictions.to(torch.int16).numpy(),
        last_class_probability=last.probability.numpy(),
        last_true_class_probability=last.true_class_probability.numpy(),
        last_true_class_rank=last.true_class_rank.to(torch.int16).numpy(),
    )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **kept)
    replace_atomically(path, buffer.getvalue())


def _commit_note(path: Path) -> str:
    before, now = (RunFolder(path).provenance() or {}).get("commit"), git_state()[0]
    return f" at commit {before[:10]}, now {now[:10]}" if before and now and before != now else ""
