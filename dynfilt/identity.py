"""What a run is called and what makes two runs the same: variant, digest, folder."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Keys that do not change the numbers, and those that name the run; a prefix covers everything below it.
OUTSIDE_DIGEST = (
    "study",
    "seed",
    "mode",
    "run",
    "rerun",
    "output_root",
    "tracking",
    "hydra",
    "data.root",
    "trainer.device",
    "trainer.eval_batch_size",
    "trainer.channels_last",
    "trainer.compile",
    "trainer.compile_mode",
    "trainer.cuda_graph",
    "trainer.formulation",
    "trainer.checkpoint_every_seconds",
    "trainer.progress_bar",
)
# Keys that came after the first results; with these values they mean what was done before, so that old runs stay the
# same runs.
ADDED_LATER = {
    "trainer.evaluate_every_steps": None,
    "trainer.formulation": "auto",
    "trainer.compile_mode": "default",
    "trainer.cuda_graph": False,
}
RESNET18 = "dynfilt.models.resnet.resnet18"
# The same for the one model that had results before it had these keys.
ADDED_TO_RESNET18 = {
    "model.width": 1.0,
    "model.dynamic_layers": "all",
    "model.conv._target_": "torch.nn.Conv2d",
    "model.conv._partial_": True,
}
LONGEST_NAME = 120


@dataclass(frozen=True)
class Identity:
    """A run's place among all runs: `variant` is readable, `digest` is what decides."""

    study: str
    variant: str
    seed: int
    digest: str

    def folder(self, output_root: str) -> Path:
        """`output_root/study/variant/seed<k>`."""
        return Path(output_root) / escape(self.study) / self.variant / f"seed{self.seed}"

    @property
    def wandb_id(self) -> str:
        """The same for every attempt at this run, different for any other run."""
        parts = json.dumps([self.study, self.variant, self.digest, self.seed])
        return hashlib.sha256(parts.encode()).hexdigest()[:16]


def in_digest(key: str) -> bool:
    """Whether a dotted key is part of what a run *is*, not of where or how it is executed."""
    return not any(key == outside or key.startswith(f"{outside}.") for outside in OUTSIDE_DIGEST)


def digest(config: dict[str, Any]) -> str:
    """16 hexadecimal digits that are equal exactly when two resolved configs describe the same numbers."""
    content = _content(config)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def differing_keys(config: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Dotted keys inside the digest whose values differ, each as `key: value here -> value there`."""
    here, there = _content(config), _content(other)
    keys = sorted(here.keys() | there.keys())
    missing = "absent"
    return [
        f"{key}: {here.get(key, missing)} -> {there.get(key, missing)}"
        for key in keys
        if here.get(key, missing) != there.get(key, missing)
    ]


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """An older run's config with the keys that came later, at the values that mean what was done then."""
    completed = copy.deepcopy(config)
    for key, neutral in _added_later(flatten(config)).items():
        group, *path, name = key.split(".")
        node = completed.get(group)
        for part in path:
            node = node.setdefault(part, {}) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.setdefault(name, neutral)
    return completed


def variant_name(model: str, differences: dict[str, Any]) -> str:
    """`model`, then `,key=value` sorted by key; safe as a folder's name, shortened with a hash when long."""
    parts = [
        model,
        *(f"{key}={_text(value)}" for key, value in sorted(differences.items()) if in_digest(key)),
    ]
    name = ",".join(escape(part) for part in parts)
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def escape(text: str) -> str:
    """Percent-encode everything but letters, digits and `._=+-`; a leading dot too, so that nothing is hidden."""
    safe = re.sub(r"[^A-Za-z0-9._=+-]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)
    return f"%2E{safe[1:]}" if safe.startswith(".") else safe


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict of dotted keys; lists and empty dicts are values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{path}."))
        else:
            flat[path] = value
    return flat


def _content(config: dict[str, Any]) -> dict[str, Any]:
    """What the digest covers, by dotted key."""
    flat = flatten(config)
    later = {key for key, neutral in _added_later(flat).items() if flat.get(key) == neutral}
    return {key: value for key, value in flat.items() if in_digest(key) and key not in later}


def _added_later(flat: dict[str, Any]) -> dict[str, Any]:
    """The keys that came later to a config, with what was done before."""
    return {**ADDED_LATER, **(ADDED_TO_RESNET18 if flat.get("model._target_") == RESNET18 else {})}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
