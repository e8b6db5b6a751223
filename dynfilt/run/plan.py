"""`mode=plan`: what a command would run, what is done, and how long the rest may take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.identity import Identity
from dynfilt.run.standing import standing


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
        self._paces: dict[Path, float | None] = {}

    def plan(self, identity: Identity, config: dict[str, Any]) -> PlannedRun:
        """State of a run as the same command will find it, and the time that is left, judged by runs of its variant in
        this study. Raises ValueError when its folder belongs to another config."""
        folder = RunFolder(identity.folder(config["output_root"]))
        found = standing(folder, config)
        name, epochs, state = f"{identity.variant}/seed{identity.seed}", config["trainer"]["epochs"], found.state
        if state == RunState.COMPLETED:
            return PlannedRun(name, state, epochs, epochs, 0.0)
        done = 0.0 if found.aside else _number(folder.last_evaluation(), "epoch")
        pace = self._seconds_per_epoch(folder.path.parent)
        left = None if pace is None else (epochs - done) * pace
        reason = f"will be set aside, {found.aside}" if found.aside else found.flaw
        return PlannedRun(name, state, done, epochs, left, reason)

    def _seconds_per_epoch(self, variant_folder: Path) -> float | None:
        """Training seconds an epoch of the seed that got farthest; evaluation is not counted."""
        if variant_folder not in self._paces:
            last_rows = filter(None, (RunFolder(path).last_evaluation() for path in variant_folder.glob("seed*")))
            epoch, seconds = max(
                ((_number(row, "epoch"), _number(row, "seconds")) for row in last_rows), default=(0, 0)
            )
            self._paces[variant_folder] = seconds / epoch if epoch > 0 else None
        return self._paces[variant_folder]


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


def _number(row: Mapping[str, Any], key: str) -> float:
    """A number of a row of metrics.jsonl, 0 where damage took it."""
    value = row.get(key)
    return value if isinstance(value, int | float) and math.isfinite(value) else 0.0


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not known yet"
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
