"""What a run is called and what makes two runs the same: variant, digest, folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

# Keys that do not change the numbers, and those that name the run; a prefix covers everything below it.
OUTSIDE_DIGEST = (
    "study",
    "seed",
    "mode",
    "run",
    "rerun",
    "output_root",
    "about",
    "tracking",
    "hydra",
    "data.root",
    "data.cache",
    "trainer.device",
    "trainer.eval_batch_size",
    "trainer.channels_last",
    "trainer.deterministic",
    "trainer.compile",
    "trainer.compile_mode",
    "trainer.cuda_graph",
    "trainer.formulation",
    "trainer.check_layer",
    "trainer.checkpoint_every_seconds",
    "trainer.progress_bar",
)
# Keys that came after the first results; with these values they mean what was done before, so that old runs stay the
# same runs.
ADDED_LATER: dict[str, Any] = {
    "buffers": {},
    "trainer.evaluate_every_steps": None,
    "trainer.decay_choice": True,
    "trainer.formulation": "auto",
    "trainer.check_layer": True,
    "trainer.compile_mode": "default",
    "trainer.cuda_graph": False,
    "trainer.deterministic": False,
}
# Dotted targets that have moved: former name -> today's. A config is read in today's names; the digest goes on using
# the first name, so that a renamed class leaves every finished run what it is.
RENAMED_TARGETS = {
    "dynfilt.wandb_mirror.Tracking": "dynfilt.tracking.mirror.Tracking",
}
FORMER_TARGETS = {today: former for former, today in reversed(RENAMED_TARGETS.items())}
# Keys whose whole numbers the published digests hold as 1.0; everywhere else a whole number is an integer.
FLOATS_IN_DIGEST = (
    "trainer.evaluate_every_epochs",
    "optimizer.weight_decay",
    "schedule.value",
    "schedule.final",
    "temperature.value",
    "temperature.initial",
    "temperature.final",
)
LARGEST_EXACT_INTEGER = 2**53
# The same for what had results before it had these keys: a target's key and name -> the keys beside it.
ADDED_TO_TARGETS: dict[tuple[str, str], dict[str, Any]] = {
    **{
        ("data._target_", f"dynfilt.data.{loader}"): {"data.rotate_degrees": 0}
        for loader in ("cifar.cifar10", "cifar.cifar100", "sample.cifar10_sample")
    },
    ("data._target_", "dynfilt.data.image_list.image_list"): {
        "data.rotate_degrees": 0,
        "data.denoise": 0,
        "data.min_max": False,
    },
    ("model._target_", "dynfilt.models.resnet.resnet18"): {
        "model.width": 1.0,
        "model.dynamic_layers": "all",
        "model.conv._target_": "torch.nn.Conv2d",
        "model.conv._partial_": True,
    },
    ("model.conv._target_", "dynfilt.layers.dyconv.DYConv2d"): {"model.conv.control": "none"},
    ("model.conv._target_", "dynfilt.layers.dcd.DCDConv2d"): {"model.conv.feature_norm": "none"},
    ("model.conv._target_", "dynfilt.layers.involution.InvolutionConv2d"): {"model.conv.feature_norm": "none"},
    ("model.conv._target_", "dynfilt.layers.fdconv.FDConv2d"): {"model.conv.control": "none"},
    ("model._target_", "dynfilt.models.lab_net.LabNet"): {"model.num_filters": 1, "model.dropout": 0.0},
    ("model._target_", "dynfilt.models.label_net.LabelNet"): {"model.frozen": "nothing", "model.adapter": False},
    ("model.filter._target_", "dynfilt.layers.generated.GeneratedConv2d"): {
        "model.filter.activation": "tanh",
        "model.filter.rank": None,
        "model.filter.pooled": False,
    },
    ("model.filter._target_", "dynfilt.layers.generated.SharedConv2d"): {"model.filter.normalised": False},
    ("model.second_head._target_", "dynfilt.layers.generated.GeneratorHead"): {
        "model.second_head.rank": None,
        "model.second_head.pooled": False,
    },
}
LONGEST_NAME = 120
LONGEST_FOLDER_NAME = 255  # of the file systems that are in use
SHORTENED = "~"  # what no escaped name holds


@dataclass(frozen=True)
class Identity:
    """A run's place among all runs: `variant` is readable, `digest` is what decides."""

    study: str
    variant: str
    seed: int
    digest: str

    def folder(self, output_root: str) -> Path:
        """`output_root/study/variant/seed<k>`."""
        study = shortened(file_name(self.study), LONGEST_FOLDER_NAME)
        return Path(output_root) / study / self.variant / f"seed{self.seed}"

    @property
    def wandb_id(self) -> str:
        """The same for every attempt at this run, different for any other run."""
        parts = json.dumps([self.study, self.variant, self.digest, self.seed])
        return hashlib.sha256(parts.encode()).hexdigest()[:16]


def identify(config: dict[str, Any], choices: dict[str, str], differences: dict[str, Any]) -> Identity:
    """The place of a composed run among all runs; a run begun when names kept numbers as they were written stays
    where it is."""
    root, model = config["output_root"], choices["model"]
    identity = Identity(config["study"], variant_name(model, differences), config["seed"], digest(config))
    former = dataclasses.replace(identity, variant=variant_name(model, differences, form=_as_written))
    begun_before = former != identity and former.folder(root).exists() and not identity.folder(root).exists()
    return former if begun_before else identity


@lru_cache(maxsize=4096)
def in_digest(key: str) -> bool:
    """Whether a dotted key is part of what a run *is*, not of where or how it is executed."""
    return not any(key == outside or key.startswith(f"{outside}.") for outside in OUTSIDE_DIGEST)


def digest(config: dict[str, Any]) -> str:
    """16 hexadecimal digits that are equal exactly when two resolved configs describe the same numbers."""
    content = digest_content(config)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def differing_keys(config: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Dotted keys inside the digest whose values differ, each as `key: value here -> value there`."""
    here, there = digest_content(config), digest_content(other)
    values = [
        (key, *(content.get(key, ADDED_LATER.get(key, "absent")) for content in (here, there)))
        for key in sorted(here.keys() | there.keys())
    ]
    return [f"{key}: {value} -> {other_value}" for key, value, other_value in values if value != other_value]


def in_todays_terms(config: dict[str, Any], wanted: Callable[[str], bool] = bool) -> dict[str, Any]:
    """An older run's config with today's names of targets, and later keys, those that are `wanted`, at the values that
    mean what was done."""
    current: dict[str, Any] = _map_targets(config, RENAMED_TARGETS)
    for key, neutral in _added_later(flatten(current)).items():
        if not wanted(key):
            continue
        *path, name = key.split(".")
        node = current.get(path[0]) if path else current
        for part in path[1:]:
            node = node.setdefault(part, {}) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node.setdefault(name, neutral)
    return current


def canonical(key: str, value: Any) -> Any:
    """One form for each number: 20, 20.0 and 2e1 are the same value of a key, in digests, names and tables."""
    if isinstance(value, list):
        return [canonical(key, item) for item in value]
    if isinstance(value, dict):
        return {name: canonical(f"{key}.{name}", item) for name, item in value.items()}
    if type(value) not in (int, float) or not abs(value) < LARGEST_EXACT_INTEGER or value != int(value):
        return value
    return float(value) if key in FLOATS_IN_DIGEST else int(value)


def variant_name(model: str, differences: dict[str, Any], form: Callable[[str, Any], Any] = canonical) -> str:
    """`model`, then `,key=value` sorted by key; safe as a folder's name, shortened with a hash when long."""
    parts = [
        model,
        *(f"{key}={_text(form(key, value))}" for key, value in sorted(differences.items()) if in_digest(key)),
    ]
    return shortened(",".join(file_name(part) for part in parts), LONGEST_NAME)


def shortened(name: str, most: int) -> str:
    """A name of at most so many characters, different for different names: a longer one ends in a hash of it."""
    if len(name) <= most:
        return name
    return f"{name[: most - 9]}{SHORTENED}{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def with_todays_numbers(variant: str) -> str:
    """A variant's name with each number in its one form; a shortened name stays as it is."""
    if SHORTENED in variant:
        return variant
    return ",".join(_with_todays_number(part) for part in variant.split(","))


def _with_todays_number(part: str) -> str:
    key, _, text = part.partition("=")
    try:
        value = json.loads(unquote(text))
    except ValueError:
        return part
    return file_name(f"{key}={_text(canonical(key, value))}")


def file_name(text: str) -> str:
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


def digest_content(config: dict[str, Any]) -> dict[str, Any]:
    """What the digest covers, by dotted key, in the names under which it was first published."""
    flat = _map_targets(flatten(config), FORMER_TARGETS)
    flat = {key: canonical(key, value) for key, value in flat.items()}
    later = {key for key, neutral in _added_later(flat).items() if flat.get(key) == neutral}
    return {key: value for key, value in flat.items() if in_digest(key) and key not in later}


def _map_targets(node: Any, names: dict[str, str]) -> Any:
    """A copy of a config, nested or flat, in which every `_target_` that is a key of `names` has that name instead."""
    if isinstance(node, list):
        return [_map_targets(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: names.get(value, value)
        if isinstance(value, str) and f".{key}".endswith("._target_")
        else _map_targets(value, names)
        for key, value in node.items()
    }


def _added_later(flat: dict[str, Any]) -> dict[str, Any]:
    """The keys that came later to a config, with what was done before."""
    added = dict(ADDED_LATER)
    for (key, target), keys in ADDED_TO_TARGETS.items():
        if flat.get(key) == target:
            added.update(keys)
    return added


def _as_written(key: str, value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
