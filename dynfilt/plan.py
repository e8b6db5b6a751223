"""`mode=plan`: what a command would run, what is done, and how long the rest may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynfilt.identity import Identity
from dynfilt.record import is_in_use, read_json, read_metrics


@dataclass(frozen=True)
class PlannedRun:
    """One job of a command: `remaining_seconds` is None while no run of its variant has been timed."""

    name: str
    state: str
    epochs_done: float
    epochs: float
    remaining_seconds: float | None


def plan_run(identity: Identity, config: dict[str, Any]) -> PlannedRun:
    """State of a run from its folder, and the time that is left, judged by runs of its variant in this study."""
    folder = identity.folder(config["output_root"])
    state = _state(folder)
    rows = read_metrics(folder)
    epochs = config["trainer"]["epochs"]
    done = epochs if state == "completed" else (rows[-1]["epoch"] if rows else 0.0)
    pace = _seconds_per_epoch(folder.parent)
    remaining = 0.0 if state == "completed" else None if pace is None else (epochs - done) * pace
    return PlannedRun(f"{identity.variant}/seed{identity.seed}", state, done, epochs, remaining)


def format_plan(runs: list[PlannedRun]) -> str:
    """A plan as an aligned text table with the total time below."""
    width = max(len(run.name) for run in runs)
    lines = [f"{'run':<{width}}  {'state':<11}  {'epochs':>9}  time left"]
    for run in runs:
        progress = f"{run.epochs_done:g}/{run.epochs:g}"
        lines.append(f"{run.name:<{width}}  {run.state:<11}  {progress:>9}  {_duration(run.remaining_seconds)}")
    known = [run.remaining_seconds for run in runs if run.remaining_seconds is not None]
    unknown = len(runs) - len(known)
    note = f", and {unknown} runs of variants that were never timed" if unknown else ""
    done = sum(run.state == "completed" for run in runs)
    return "\n".join([*lines, f"{done} of {len(runs)} done; time left {_duration(sum(known))}{note}"])


def _state(folder: Path) -> str:
    """As in status.json, but a run whose process died without a word is `interrupted`."""
    if (folder / "result.json").exists():
        return "completed"
    state = (read_json(folder / "status.json") or {}).get("state", "to do")
    return "interrupted" if state in ("running", "completed") and not is_in_use(folder) else state


def _seconds_per_epoch(variant_folder: Path) -> float | None:
    """Training seconds an epoch of the seed that got farthest; evaluation is not counted."""
    last_rows = [rows[-1] for folder in variant_folder.glob("seed*") if (rows := read_metrics(folder))]
    if not last_rows:
        return None
    farthest = max(last_rows, key=lambda row: row["epoch"])
    return farthest["seconds"] / farthest["epoch"]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not known yet"
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
