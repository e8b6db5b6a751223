"""Which config a run's folder belongs to, also where its config.yaml cannot tell any more."""

from __future__ import annotations

from typing import Any

from dynfilt.run.folder import RunFolder
from dynfilt.run.identity import differing_keys, digest
from dynfilt.run.parsing import DamagedFile, read_json

DIGEST = "config_digest"  # in result.json and in checkpoints
LAST_KEY = "tracking"  # of every config as it is written


def require_same_config(folder: RunFolder, config: dict[str, Any]) -> None:
    """Raise ValueError, naming the keys, when a run folder belongs to a config with another digest.

    Raises DamagedFile when its config.yaml cannot tell.
    """
    recorded = folder.config()
    if LAST_KEY in config and LAST_KEY not in recorded:
        raise DamagedFile(folder.config_file, ": is cut off")
    different = differing_keys(recorded, config)
    if different:
        shown = "; ".join(different[:6]) + (f"; and {len(different) - 6} more" if len(different) > 6 else "")
        raise ValueError(
            f"{folder.path}: belongs to another config (there -> here: {shown}); "
            f"choose another study=..., or rerun=true to set the old run aside"
        )


def require_recorded_digest(folder: RunFolder, config: dict[str, Any]) -> None:
    """Raise ValueError unless what a run holds beside its config.yaml says that it belongs to this config."""
    recorded = recorded_digest(folder)
    if recorded is None:
        raise ValueError(
            f"{folder.config_file}: cannot be read, and nothing else says which config the run belongs to; put the "
            "file back, or set the run aside by rerun=damaged"
        )
    if recorded not in digests_of(config):
        raise ValueError(
            f"{folder.path}: belongs to another config (digest {recorded}, here {digest(config)}); choose another "
            "study=..., or rerun=true to set the old run aside"
        )


def recorded_digest(folder: RunFolder) -> str | None:
    """The digest of the config that a run belongs to, by what its config.yaml is not needed for; None where nothing
    readable has one."""
    result = read_json(folder.result_file, strict=False) or {}
    if isinstance(result.get(DIGEST), str):
        return result[DIGEST]
    from dynfilt.train.checkpoint import DamagedCheckpoint, load_checkpoint  # torch takes seconds, and is rarely needed

    for file in (folder.last_checkpoint, folder.best_checkpoint):
        if file.exists():
            try:
                recorded = load_checkpoint(file).get(DIGEST)
            except DamagedCheckpoint:
                continue
            if recorded is not None:
                return recorded
    return None


def digests_of(config: dict[str, Any]) -> set[str]:
    """The digests whose checkpoints a config's run may hold: its own, and that of the run that it went on from."""
    parent = config.get("parent")
    return {digest(config), *([parent.rpartition("@")[2].partition(":")[0]] if parent else [])}
