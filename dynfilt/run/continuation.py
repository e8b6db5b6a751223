"""`mode=train run=FOLDER`: a new run that goes on from another's last checkpoint."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

from dynfilt.config.compose import Job, data_node, value_at
from dynfilt.run.folder import RunFolder
from dynfilt.run.identity import differing_keys, digest, identify, in_digest
from dynfilt.run.standing import standing
from dynfilt.train.checkpoint import copy_checkpoint, load_checkpoint

KEPT = ("model", "optimizer")
# What may change of the images: all else says which there are, or which of them choose the best weights.
AUGMENTATION = ("data.flip", "data.pad", "data.rotate_degrees")


def continue_from(job: Job) -> Job:
    """The job that goes on from the run `job.config['run']`: its config, changed by this command's overrides.

    Raises ValueError when the folder has no checkpoint, when nothing tells the new run from the old one, or
    when an override would make the checkpoint meaningless.
    """
    parent = Path(job.config["run"])
    folder = RunFolder(parent)
    config, origin = folder.config_to_build(), folder.provenance() or {}
    for key in job.overridden:
        if key in KEPT or key == "model._target_" or key.startswith(("model/", "model.conv")):
            raise ValueError(f"{key}: cannot change when going on from run={parent}; its checkpoint needs the old one")
    merged = _merge(config, job)
    _require_same_images_and_batches(parent, merged, config)
    changed = {
        key: job.choices.get(key, value_at(merged, key))
        for key in job.overridden
        if in_digest(key) and value_at(merged, key) != value_at(config, key)
    }
    if not changed and merged["study"] == config["study"] and merged["seed"] == config["seed"]:
        raise ValueError(f"run={parent}: say what changes, e.g. trainer.epochs={2 * config['trainer']['epochs']:g}")
    choices = {**job.choices, "model": origin.get("model", parent.parent.name)}
    going_on = dataclasses.replace(
        job, config=merged, choices=choices, differences={**origin.get("differences", {}), **changed}
    )
    name = f"{config['study']}/{parent.parent.name}/seed{config['seed']}@{digest(config)}"
    merged["parent"] = _begun_at(going_on, name) or f"{name}:{_step_to_go_on_from(folder, merged['trainer'])}"
    return going_on


def with_data_of_its_run(job: Job) -> Job:
    """A job of `run=FOLDER` with that run's data where it sets `data.cache`, which the chosen data may lack."""
    if job.config["run"] is None or "data.cache" not in job.overridden or "data" in job.overridden:
        return job
    data = RunFolder(Path(job.config["run"])).config_to_build()["data"]
    return dataclasses.replace(job, config={**job.config, "data": {**data, "cache": job.config["data"]["cache"]}})


def _begun_at(job: Job, name: str) -> str | None:
    """The name and step of its parent that the run of this job's place was begun at, where it goes on by itself; the
    parent may have trained on since, or have lost its checkpoint."""
    begun = RunFolder(identify(job.config, job.choices, job.differences).folder(job.config["output_root"]))
    if not begun.last_checkpoint.exists():
        return None
    try:
        recorded = begun.config()["parent"]
        found = standing(begun, {**job.config, "parent": recorded})
    except ValueError:  # it is another run, or damage hides which one: whoever trains it says so
        return None
    return recorded if str(recorded).rpartition(":")[0] == name and not found.aside else None


def _require_same_images_and_batches(parent: Path, config: dict[str, Any], before: dict[str, Any]) -> None:
    here, there = ({**each, "data": data_node(each)} for each in (config, before))
    for key in (difference.partition(":")[0] for difference in differing_keys(here, there)):
        if key == "trainer.batch_size":
            raise ValueError(
                f"{key}: cannot change when going on from run={parent}, which has counted its steps in batches of "
                f"{before['trainer']['batch_size']}; keep that size"
            )
        if key == "trainer.max_eval_images" or (key.startswith("data.") and key not in AUGMENTATION):
            raise ValueError(
                f"{key}: cannot change when going on from run={parent}, which trained on images and chose its best "
                f"weights by others; keep it at {value_at(there, key)}"
            )


def _step_to_go_on_from(folder: RunFolder, trainer: dict[str, Any]) -> int:
    """The step of a parent's last checkpoint. Raises ValueError when there is none, or nothing to train after it."""
    parent = folder.path
    if not folder.last_checkpoint.exists():
        raise ValueError(f"run={parent}: has no {folder.name_of(folder.last_checkpoint)} to go on from")
    state = load_checkpoint(folder.last_checkpoint)
    if state["epoch"] >= trainer["epochs"]:
        raise ValueError(
            f"trainer.epochs={trainer['epochs']:g}: run={parent} is at epoch {state['epoch']:g} already; choose more"
        )
    if trainer["max_steps"] is not None and state["step"] >= trainer["max_steps"]:
        raise ValueError(
            f"trainer.max_steps={trainer['max_steps']}: run={parent} is at step {state['step']} already; choose more, "
            "or null"
        )
    waited, patience = state["evaluations_without_improvement"], trainer["patience"]
    if patience is not None and waited >= patience:
        raise ValueError(
            f"trainer.patience={patience}: run={parent} waited {waited} evaluations already; choose more, or null"
        )
    return state["step"]


def require_a_step_to_go(config: dict[str, Any], total_steps: int) -> None:
    """Raise ValueError for a run that goes on from another and has no whole step more than that one."""
    if config["parent"] is not None and total_steps <= step_of_parent(config):
        raise ValueError(
            f"trainer.epochs={config['trainer']['epochs']:g}: is no more than {total_steps} whole steps, which "
            f"run={config['run']} has trained already; choose more"
        )


def adopt_checkpoints(parent: Path, folder: Path) -> dict[str, Any]:
    """Begin a new run's folder with the last checkpoint of its parent, which is returned, and the best that it knows.

    Raises ValueError when the parent has no such best one: it was lost, or the parent has just written another.
    """
    new, old = RunFolder(folder), RunFolder(parent)
    new.last_checkpoint.parent.mkdir(exist_ok=True)
    copy_checkpoint(old.last_checkpoint, new.last_checkpoint)
    last = load_checkpoint(new.last_checkpoint)
    known = last["best"]
    if known["accuracy"] < 0:  # it was stopped before its first evaluation
        return last
    if holds_best_of(last, last):
        copy_checkpoint(new.last_checkpoint, new.best_checkpoint)
        return last
    if old.best_checkpoint.exists():
        copy_checkpoint(old.best_checkpoint, new.best_checkpoint)
        if holds_best_of(load_checkpoint(new.best_checkpoint), last):
            return last
    raise ValueError(
        f"run={parent}: its {old.name_of(old.best_checkpoint)} is not the best that its "
        f"{old.name_of(old.last_checkpoint)} knows, of epoch {known['epoch']:g}; if it is still training, try again"
    )


def step_of_parent(config: dict[str, Any]) -> int:
    """The step at which a run that goes on from another has begun."""
    return int(config["parent"].rpartition(":")[2])


def holds_best_of(state: dict[str, Any], last: dict[str, Any]) -> bool:
    """Whether a checkpoint is of the evaluation that another one, the last of its run, knows as the best."""
    known = last["best"]
    if known.get("step") is None:  # older checkpoints tell the epoch alone
        return state["epoch"] == known["epoch"]
    return state["step"] == known["step"]


def _merge(config: dict[str, Any], job: Job) -> dict[str, Any]:
    """The parent's config with this command's overrides, and this command's own place and tracking."""
    merged = copy.deepcopy(config)
    for key in ("mode", "run", "rerun", "output_root", "tracking"):
        merged[key] = job.config[key]
    merged["about"] = {**job.config["about"], **merged.get("about", {})}  # runs were made before there were its keys
    for key in job.overridden:
        *path, last = key.split(".")
        node = merged
        for part in path:
            node = node[part]
        node[last] = value_at(job.config, key)
    return merged
