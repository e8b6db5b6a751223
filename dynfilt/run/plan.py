"""`mode=plan`: what a command would run, what is done, and how long the rest may take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.identity import Identity
from dynfilt.run.standing import run_before, standing


@dataclass(frozen=True)
class PlannedRun:
    """One job of a command: `remaining_seconds` is None while no run of its variant has been timed; `reason` says why a
    run is damaged, or set aside first."""

    name: str
    state: RunState
    epochs_done: float
    epochs: float
    remaining_seconds: float | None
    reason: str = ""


class Planner:
    """Plans the runs of one command; the pace of each variant is read once."""

    def __init__(self) -> None:
        self._farthest: dict[Path, Mapping[str, Any]] = {}

    def plan(self, identity: Identity, config: dict[str, Any]) -> PlannedRun:
        """State of a run as the same command will find it, and the time that is left, judged by runs of its variant in
        this study. Raises ValueError when its folder belongs to another config."""
        folder = RunFolder(identity.folder(config["output_root"]))
        found = standing(folder, config)
        name, state = f"{identity.variant}/seed{identity.seed}", found.state
        farthest = self._farthest_row(folder.path.parent)
        epochs = epochs_of(config["trainer"], farthest)
        if state == RunState.COMPLETED:
            return PlannedRun(name, state, epochs, epochs, 0.0)
        done = 0.0 if found.aside else number_in(folder.last_evaluation(), "epoch")
        timed = number_in(farthest, "epoch")
        left = max(0.0, epochs - done) * number_in(farthest, "seconds") / timed if timed > 0 else None
        reason = f"will be set aside, {found.aside}" if found.aside else found.flaw or run_before(folder)
        return PlannedRun(name, state, done, epochs, left, reason)

    def _farthest_row(self, variant_folder: Path) -> Mapping[str, Any]:
        """The last row of the seed that got farthest, empty where none has one. Its `seconds` are of training alone."""
        if variant_folder not in self._farthest:
            rows = [RunFolder(path).last_evaluation() for path in variant_folder.glob("seed*")]
            self._farthest[variant_folder] = max(
                rows, key=lambda row: (number_in(row, "epoch"), number_in(row, "seconds")), default={}
            )
        return self._farthest[variant_folder]


def format_plan(runs: list[PlannedRun]) -> str:
    """A plan as an aligned text table with the total time below."""
    width = max(len(run.name) for run in runs)
    lines = [f"{'run':<{width}}  {'state':<11}  {'epochs':>9}  time left"]
    for run in runs:
        progress = f"{run.epochs_done:g}/{run.epochs:g}"
        lines.append(f"{run.name:<{width}}  {run.state:<11}  {progress:>9}  {_duration(run.remaining_seconds)}")
    known = sum(run.remaining_seconds or 0.0 for run in runs)
    unknown = sum(run.remaining_seconds is None for run in runs)
    lines += [f"{run.name}: {run.reason}" for run in runs if run.reason]
    left = [_duration(known)] if known or not unknown else []
    left += [f"not known of variants that were never timed ({unknown} of these runs)"] if unknown else []
    done = sum(run.state == RunState.COMPLETED for run in runs)
    return "\n".join([*lines, f"{done} of {len(runs)} done; time left {'; '.join(left)}"])


def epochs_of(trainer: Mapping[str, Any], row: Mapping[str, Any]) -> float:
    """The epochs of a whole run: those of its config, or as many as `max_steps` leaves, by a row that tells how many
    steps an epoch has."""
    epochs, step = number_in(trainer, "epochs"), number_in(row, "step")
    by_steps = number_in(trainer, "max_steps") * number_in(row, "epoch") / step if step else 0.0
    return min(epochs, by_steps) if by_steps else epochs


def number_in(row: Mapping[str, Any], key: str) -> float:
    """A number of a row of metrics.jsonl, or of a config; 0 where there is none, or damage took it."""
    value = row.get(key)
    return value if isinstance(value, int | float) and -math.inf < value < math.inf else 0.0


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not known yet"
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
