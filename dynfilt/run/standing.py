"""What the same command will do with a run's folder: the one answer for plan, training and launchers."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynfilt.run.folder import RunFolder, RunState, Snapshot
from dynfilt.run.ownership import recorded_digest, require_recorded_digest, require_same_config
from dynfilt.run.parsing import RERUN, DamagedFile, attempts_of
from dynfilt.run.source import changed_modules, source_of

ANEW, DAMAGED, CHANGED = True, "damaged", "changed"
MOST_MODULES = 3
# Errors that are the machine's: of its disks, a process that was killed, a GPU that others have filled.
FROM_OUTSIDE = {
    *(name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError)),
    "ProcessDied",
    "OutOfMemoryError",
}


@dataclass(frozen=True)
class Standing:
    """The state of a run once `aside`, a reason to set its folder aside first, has been obeyed where there is one.

    `flaw` is what is damaged, with the way out.
    """

    state: RunState
    aside: str = ""
    flaw: str = ""


def standing(folder: RunFolder, config: dict[str, Any]) -> Standing:
    """How a run stands for a command with this config, whose key `rerun` may set it aside or mend it.

    Raises ValueError when the folder belongs to another config.
    """
    found, rerun = folder.snapshot(), config["rerun"]
    if found.state == RunState.RUNNING or not folder.path.exists():
        return Standing(found.state)
    if rerun is ANEW:
        goes_on = _was_cut_short(found) and _was_begun_by_rerun(config, folder)
        return Standing(found.state) if goes_on else _anew()
    if rerun == CHANGED and found.state != RunState.DAMAGED and (modules := changed_since(folder, config)):
        return _anew(f"its code has changed in {in_words(modules)}")
    if folder.holds_training():
        try:
            require_same_config(folder, config)
        except DamagedFile as error:
            if rerun == DAMAGED and recorded_digest(folder) is None:
                return _anew(f"{error.flaw}, and nothing else says what it is of")
            require_recorded_digest(folder, config)
    if found.state != RunState.DAMAGED:
        return Standing(found.state, flaw=found.flaw)
    return Standing(RunState.INTERRUPTED if rerun == DAMAGED else found.state, flaw=f"{found.flaw}{RERUN}")


def changed_since(folder: RunFolder, config: dict[str, Any]) -> list[str]:
    """The modules whose code is another than when a run was last worked on; none where that is not known."""
    recorded = [attempt.get("source") for attempt in attempts_of(folder.provenance(strict=False) or {})]
    now = source_of(config) if any(recorded) else {}
    return sorted({module for each in recorded for module in changed_modules(each, now)})


def in_words(modules: list[str]) -> str:
    """Some modules, the first by name."""
    more = len(modules) - MOST_MODULES
    return ", ".join(modules[:MOST_MODULES]) + (f" and {more} more" if more > 0 else "")


def _anew(reason: str = "") -> Standing:
    return Standing(RunState.TO_DO, aside=reason or "rerun=true")


def _was_begun_by_rerun(config: dict[str, Any], folder: RunFolder) -> bool:
    """Whether it was a command with `rerun=true` and the same config that began a run; where there was none before, the
    run's own config alone can tell."""
    try:
        require_same_config(folder, config)
        return was_begun_anew(folder) or folder.config().get("rerun") is ANEW
    except ValueError:
        return False


def _was_cut_short(found: Snapshot) -> bool:
    """Whether a run ended for no reason of its own, so that it can go on."""
    error = found.status.get("error")
    reason = error.get("type") if isinstance(error, dict) else None
    return found.state == RunState.INTERRUPTED or (found.state == RunState.FAILED and reason in FROM_OUTSIDE)


def was_begun_anew(folder: RunFolder) -> bool:
    """Whether an earlier run of the same place was set aside."""
    return bool(asides_of(folder))


def run_before(folder: RunFolder) -> str:
    """A sentence on the run that was set aside last, while the one in its place has come to no checkpoint."""
    if not folder.path.exists() or folder.holds_training():
        return ""
    asides = [aside for aside in asides_of(folder) if RunFolder(aside).holds_training()]
    last = max(asides, key=lambda aside: (len(aside.name), aside.name), default=None)
    return f"has no checkpoint yet; the run before it is whole in {last.name}" if last else ""


def asides_of(folder: RunFolder) -> list[Path]:
    """The runs of the same place that were set aside."""
    return list(folder.path.parent.glob(f".{folder.path.name}.[0-9]*"))
