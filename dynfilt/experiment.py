"""One run from config to result: the page to read first."""

from __future__ import annotations

import io
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynfilt import cost
from dynfilt.assembly import build_trainer, load, read_checkpoint
from dynfilt.config.checks import check, make
from dynfilt.config.compose import Job, value_at
from dynfilt.data.image_cache import stopped_by
from dynfilt.layers.formulation import force_formulation
from dynfilt.retest import mean_choice_accuracy, retest
from dynfilt.run.continuation import continue_from, require_a_step_to_go
from dynfilt.run.folder import WANDB_ID, Predictions, RunFolder, RunState
from dynfilt.run.identity import Identity, digest, identify
from dynfilt.run.ownership import DIGEST
from dynfilt.run.plan import PlannedRun, Planner
from dynfilt.run.progress import ProgressDisplay, RunDisplay
from dynfilt.run.provenance import collect_provenance, git_state
from dynfilt.run.record import EXECUTION, RunRecord, set_aside
from dynfilt.run.recovery import checkpoint_to_go_on_from, warn
from dynfilt.run.source import source_of
from dynfilt.run.standing import ANEW, DAMAGED, changed_since, in_words, run_before, standing, was_begun_anew
from dynfilt.run.stopping import RunInterrupted, StopSignals
from dynfilt.seeding import global_settings_kept, seed_global_generators
from dynfilt.tracking.mirror import Mirror, new_run_id, open_mirror
from dynfilt.train.checkpoint import replace_atomically
from dynfilt.train.checkpoint_writer import CheckpointWriter
from dynfilt.train.evaluation import Evaluation, Stopped
from dynfilt.train.settings import resolve_device
from dynfilt.train.trainer import Trainer

IMAGES = "images"  # in checkpoints: the fingerprint of what they were trained on

__all__ = ["load", "run"]


class Ending(StrEnum):
    """How a job ended that did not fail."""

    TRAINED = "trained"
    TESTED = "tested"
    SKIPPED = "skipped"  # it was done before


@global_settings_kept()
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
    found = standing(RunFolder(path), job.config)
    if found.state == RunState.DAMAGED:
        raise ValueError(f"{path}: {found.flaw}")
    if found.state == RunState.COMPLETED:
        return _skip(path, job)
    device = resolve_device(job.config["trainer"]["device"])
    old = set_aside(path) if found.aside else None
    if old is not None:
        because = "" if job.config["rerun"] is ANEW else f", {found.aside}"
        print(f"{path}: set aside as {old.name}{because}")
    elif before := run_before(RunFolder(path)):
        warn(RunFolder(path), before)
    with RunRecord(path, job.config, old) as record, force_formulation(job.config["trainer"]["formulation"]):
        if record.folder.state() == RunState.COMPLETED:  # another process ended it between the look above and the lock
            return _skip(path, job)
        record.set_damaged_result_aside()
        origin = {"model": job.choices["model"], "differences": job.differences, "parent": job.config["parent"]}
        origin["source"] = source_of(job.config)
        origin |= {key: value_at(job.config, key) for key in EXECUTION if "." in key}
        display.enter(path)
        record.start({**collect_provenance(device), **origin})
        cost.reset_peak_memory(device)
        with stopped_by(stop.check):
            trainer = build_trainer(job.config, device)
        require_a_step_to_go(job.config, trainer.total_steps)
        _warn_of_temperatures(trainer, record, job.differences)
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
    folder = RunFolder(path)
    modules = changed_since(folder, job.config)
    anew = f"{in_words(modules)} changed since, rerun=changed runs it anew" if modules else "rerun=true runs it anew"
    print(f"{path}: already done{_commit_note(folder)}; skipped, {anew}")
    return Ending.SKIPPED


def _warn_of_temperatures(trainer: Trainer, record: RunRecord, differences: dict[str, Any]) -> None:
    idle = [key for key in differences if key.partition(".")[0] == "temperature"]
    if idle and trainer.last_temperature is None:
        warn(record.folder, f"{idle[0]} has no effect: no layer of this model has a temperature")
    epochs, final = (record.config["temperature"].get(key) for key in ("epochs", "final"))
    last, trained = trainer.last_temperature, trainer.total_steps / trainer.batches.steps_per_epoch
    if last is not None and isinstance(epochs, int | float) and final is not None and epochs > trained:
        warn(
            record.folder,
            f"training ends at temperature {last:.3g}, not at {final:g}: temperature.epochs={epochs:g} is longer; "
            "at a high temperature kernels are mixed alike",
        )


def resume(trainer: Trainer, record: RunRecord) -> None:
    """Go on from the folder's last checkpoint, else from the newest sound one, else from the parent's, else from step
    0."""
    folder, config = record.folder, record.config
    state = checkpoint_to_go_on_from(folder, config, start_over=config["rerun"] == DAMAGED)
    if state is None:
        if folder.sound_evaluations():
            missing = folder.name_of(folder.last_checkpoint)
            print(f"{folder.path}: has evaluations but no {missing}; starting again at step 0")
        record.drop_evaluations_after(-1)
        return
    if state.get(IMAGES) not in (None, trainer.data.fingerprint):  # older checkpoints lack it
        raise ValueError(
            f"{folder.path}: was trained on other images up to step {state['step']}; put them back where data.root is, "
            "or train on these anew with rerun=true or another study=..."
        )
    trainer.load_state_dict(state)
    for note in record.changes_since_the_attempt_before():
        warn(folder, f"{note}; its last bits will not be those of an uninterrupted run")
    record.drop_evaluations_after(trainer.step)
    lost = 0 if config["parent"] else trainer.evaluations_so_far - len(folder.evaluations())
    if lost > 0:
        warn(
            folder,
            f"{folder.evaluations_file.name} lacks {lost} evaluations up to step {trainer.step}, in its curves too",
        )
    print(f"{folder.path}: going on from step {trainer.step} of {trainer.total_steps}")


def open_wandb(record: RunRecord, identity: Identity) -> Mirror:
    """The W&B run that mirrors this folder, as `tracking` says; a run that was begun anew has another than before."""
    noted = record.noted(WANDB_ID)
    is_new = record.is_first_attempt and was_begun_anew(record.folder)
    run_id = noted or (new_run_id() if is_new else identity.wandb_id)
    mirror = open_mirror(
        make(record.config["tracking"], "tracking"),
        folder=record.folder.path,
        run_id=run_id,
        study=identity.study,
        variant=identity.variant,
        seed=identity.seed,
        config={**record.config, "provenance": record.folder.provenance()},
    )
    if mirror.run_id not in (None, noted):
        record.add_provenance(**{WANDB_ID: mirror.run_id})
    mirror.note({DIGEST: identity.digest})  # a dashboard tells unfinished runs of several configs apart by it
    return mirror


def fit(
    trainer: Trainer, record: RunRecord, mirror: Mirror, display: RunDisplay, label: str, stop: StopSignals
) -> None:
    """Train to the end; every evaluation is recorded, then kept as a checkpoint, then mirrored."""
    folder, writer = record.folder, CheckpointWriter()
    belongs_to = {DIGEST: digest(record.config), IMAGES: trainer.data.fingerprint}

    def state() -> dict[str, Any]:
        return {**trainer.state_dict(), **belongs_to}

    def on_checkpoint() -> None:
        writer.write(state(), folder.last_checkpoint)

    def on_evaluation(row: dict[str, Any], improved: bool) -> None:
        record.append_evaluation(row)
        writer.write(state(), folder.last_checkpoint, folder.best_checkpoint if improved else None)
        mirror.log(row)
        display.show_evaluation(row, improved)

    for row in folder.evaluations()[-1:]:
        mirror.log(row)  # after a kill W&B may lack it; readers keep the last row of an epoch
    settings = trainer.settings
    with writer, display.of(label, trainer.step, trainer.total_steps, settings.epochs, settings.progress_bar):
        trainer.fit(on_evaluation, on_checkpoint, display.show_step, stop)


def conclude(trainer: Trainer, record: RunRecord, identity: Identity, stop: StopSignals) -> dict[str, Any]:
    """Evaluate the last and the best weights, once, and write the predictions; the result is returned."""
    model, data, evaluate = trainer.model, trainer.data, trainer.evaluator.evaluate
    seed_global_generators(trainer.device, trainer.seed, "conclusion")  # for a layer that draws in evaluation too
    last_test = evaluate(model, data.test, stop)
    model.load_state_dict(_best_state(trainer, record.folder)["model"])
    train_split, val, test = (evaluate(model, split, stop) for split in (data.train, data.val, data.test))
    labels = trainer.evaluator.subset_to_evaluate(data.test).labels
    save_predictions(record.folder.predictions_file, labels, test, last_test)
    images = trainer.epoch * len(data.train)
    with trainer.settings.autocast(trainer.device):
        latency_ms = cost.measure_latency_ms(model, data.image_shape, trainer.device)
    peak_memory_mb = cost.peak_memory_mb(trainer.device)  # before the mean choice, whose sums are no part of training
    return {
        "study": identity.study,
        "variant": identity.variant,
        "seed": identity.seed,
        **test.numbers("test"),
        **val.numbers("val"),
        **train_split.numbers("train"),
        "best_epoch": trainer.best_epoch,
        "last_test_accuracy": last_test.accuracy,
        **trainer.evaluator.partial_accuracies(model, data.test, stop),
        **mean_choice_accuracy(trainer.evaluator, model, data.test, record.folder, stop),
        "parameters": cost.count_parameters(model),
        "flops": cost.count_flops(model, trainer.data.image_shape),
        "latency_ms": latency_ms,
        "train_seconds": trainer.train_seconds,
        "peak_memory_mb": peak_memory_mb,
        "images_per_second": images / trainer.train_seconds,
        DIGEST: identity.digest,
    }


def _best_state(trainer: Trainer, folder: RunFolder) -> dict[str, Any]:
    state = read_checkpoint(folder, "best")
    # What was recorded with the weights: to evaluate them again on another device may round otherwise.
    if (accuracy := state["best"]["accuracy"]) != trainer.best_accuracy:
        raise ValueError(
            f"{folder.path}: {folder.name_of(folder.best_checkpoint)} has weights of validation accuracy "
            f"{accuracy:.2%}, the run's best is {trainer.best_accuracy:.2%}; train it anew with rerun=true"
        )
    return state


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


def _commit_note(folder: RunFolder) -> str:
    before, now = (folder.provenance(strict=False) or {}).get("commit"), git_state()[0]
    return f" at commit {before[:10]}, now {now[:10]}" if isinstance(before, str) and now and before != now else ""
