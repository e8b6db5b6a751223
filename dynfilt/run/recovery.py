"""What is left of a damaged run: files set aside under another name, and the checkpoint to go on from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dynfilt.run.continuation import adopt_checkpoints, holds_best_of, step_of_parent
from dynfilt.run.folder import RunFolder
from dynfilt.run.identity import digest
from dynfilt.run.ownership import DIGEST, digests_of
from dynfilt.train.checkpoint import DamagedCheckpoint, copy_checkpoint, load_checkpoint

DAMAGED = ".damaged"
# A checkpoint is written while training goes on to the next evaluation, whose row waits for it.
MOST_ROWS_BEFORE_A_CHECKPOINT = 2


def warn(folder: RunFolder, text: str) -> None:
    """Say in one line what a run's folder has lost."""
    print(f"warning: {folder.path}: {text}", file=sys.stderr, flush=True)


def put_aside(folder: RunFolder, file: Path, flaw: str) -> None:
    """Give a damaged file of a run another name, which no reader looks for, and say so."""
    number, name = 1, f"{file.name}{DAMAGED}"
    while (target := file.with_name(name)).exists():
        number += 1
        name = f"{file.name}{DAMAGED}.{number}"
    file.rename(target)
    warn(folder, f"{folder.name_of(file)} {flaw}; set aside as {name}")


def checkpoint_to_go_on_from(folder: RunFolder, config: dict[str, Any], *, start_over: bool) -> dict[str, Any] | None:
    """The newest sound checkpoint of a run, else its parent's, its best weights in place; None for a run that has none.

    What is damaged is set aside, with a warning. Raises ValueError for a checkpoint of another config, and when
    evaluations or best weights are lost with every checkpoint that led to them, unless the run may `start_over`.
    """
    flaws: dict[Path, str] = {}
    states: dict[Path, dict[str, Any]] = {}
    for file in (folder.last_checkpoint, folder.best_checkpoint):
        if file.exists():
            try:
                states[file] = load_checkpoint(file)
            except DamagedCheckpoint as error:
                flaws[file] = error.flaw
            else:
                _require_own(folder, file, states[file], config)
    usable = _newest(folder, states, config)
    lost = flaws or states or len(folder.sound_evaluations()) > MOST_ROWS_BEFORE_A_CHECKPOINT
    if usable is None and config["run"] is None and lost:
        _require_consent(folder, flaws, states, start_over)
        flaws |= {file: "leads nowhere now" for file in (folder.evaluations_file, *states) if file.exists()}
    for file, flaw in flaws.items():
        put_aside(folder, file, flaw)
    if usable is None:
        if config["run"] is None:
            return None
        _require_same_step(folder, config)
        return adopt_checkpoints(Path(config["run"]), folder.path)
    state = states[usable]
    if usable == folder.best_checkpoint:
        warn(folder, f"going on from {folder.name_of(usable)}, at step {state['step']}")
    elif holds_best_of(state, state) and not _is_best_of(states.get(folder.best_checkpoint), state):
        copy_checkpoint(usable, folder.best_checkpoint)  # a crash may have come between the two
    return state


def _newest(folder: RunFolder, states: dict[Path, dict[str, Any]], config: dict[str, Any]) -> Path | None:
    """The newest checkpoint whose best weights are there too: without them there is no result."""
    last, best = states.get(folder.last_checkpoint), states.get(folder.best_checkpoint)
    if last is not None and (last["best"]["accuracy"] < 0 or holds_best_of(last, last) or _is_best_of(best, last)):
        return folder.last_checkpoint
    # The best weights of a run that has just gone on from another may be those of the other.
    if best is not None and (config["run"] is None or best.get(DIGEST) == digest(config)):
        return folder.best_checkpoint
    return None


def _is_best_of(best: dict[str, Any] | None, last: dict[str, Any]) -> bool:
    return best is not None and holds_best_of(best, last)


def _require_same_step(folder: RunFolder, config: dict[str, Any]) -> None:
    """Refuse the checkpoint of a parent that has trained on since a run was begun from it, and has lost its own."""
    step, begun_at = load_checkpoint(RunFolder(Path(config["run"])).last_checkpoint)["step"], step_of_parent(config)
    if step != begun_at:
        raise ValueError(
            f"{folder.path}: was begun at step {begun_at} of run={config['run']}, which is at step {step} now; "
            "rerun=true begins anew from there"
        )


def _require_own(folder: RunFolder, file: Path, state: dict[str, Any], config: dict[str, Any]) -> None:
    recorded = state.get(DIGEST)  # absent from checkpoints of before there was this key
    if recorded is not None and recorded not in digests_of(config):
        raise ValueError(
            f"{folder.path}: {folder.name_of(file)} belongs to another config (digest {recorded}, here "
            f"{digest(config)}); choose another study=..., or rerun=true to set the old run aside"
        )


def _require_consent(
    folder: RunFolder, flaws: dict[Path, str], states: dict[Path, dict[str, Any]], start_over: bool
) -> None:
    if start_over:
        return
    if states and not flaws:
        name = folder.name_of(folder.best_checkpoint)
        raise ValueError(f"{folder.path}: has no {name}; train it first, or anew with rerun=true or rerun=damaged")
    files = "; ".join(f"{folder.name_of(file)}: {flaw}" for file, flaw in flaws.items()) or "its checkpoints are gone"
    raise ValueError(
        f"{folder.path}: nothing is left to go on from ({files}); rerun=damaged sets it aside and starts over at step 0"
    )
