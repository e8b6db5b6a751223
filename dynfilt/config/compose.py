"""Composed configs: the schema of the top-level keys, and what one job is."""

from __future__ import annotations

import functools
import os
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from dynfilt.config.about import FOLLOWS_SEED, SPLIT_SEED, About
from dynfilt.installation import CONF

SET_BY_THE_PROGRAM = ("parent",)
PATHS = ("output_root", "run", "data.root")  # `model.weights` is part of the digest, so its reader expands it
GROUPS = ("model", "data", "optimizer", "schedule", "temperature", "trainer", "tracking")
NESTED_GROUPS = ("model/conv",)  # a node inside the file of another group, by whose defaults it is there


@dataclass
class Schema:
    """The top-level keys; conf/config.yaml holds their values."""

    study: str
    seed: int
    mode: str
    run: str | None
    parent: str | None
    rerun: Any
    output_root: str
    about: About
    model: Any
    data: Any
    optimizer: Any
    schedule: Any
    temperature: Any
    buffers: dict[str, Any]
    trainer: Any
    tracking: Any


@dataclass(frozen=True)
class Job:
    """One composed run: plain resolved config, the choice of each group, and what the user changed.

    `differences` are the overridden keys whose composed value is not the primary config's, or not that of the primary
    config with the chosen groups; `overridden` all overridden keys.
    """

    config: dict[str, Any]
    choices: dict[str, str]
    differences: dict[str, Any]
    overridden: tuple[str, ...]


def register_schema() -> None:
    """Make the schema known to Hydra under the name `schema`. Call before composing."""
    ConfigStore.instance().store(name="schema", node=Schema)


def resolve(cfg: DictConfig, *, throw_on_missing: bool = True) -> dict[str, Any]:
    """The plain config of a composed one. `data.split_seed=${seed}` becomes the word `seed` in it, so that the runs of
    all seeds are one variant."""
    group, _, key = SPLIT_SEED.partition(".")
    data = OmegaConf.select(cfg, group)
    if isinstance(data, DictConfig) and typing.cast(dict[str, Any], OmegaConf.to_container(data)).get(key) == "${seed}":
        OmegaConf.update(cfg, SPLIT_SEED, FOLLOWS_SEED)
    plain = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=throw_on_missing)
    return typing.cast(dict[str, Any], plain)


def data_node(config: dict[str, Any]) -> dict[str, Any]:
    """The config of the data, in which the word `seed` is the run's seed."""
    data: dict[str, Any] = config["data"]
    follows = isinstance(data, dict) and data.get("split_seed") == FOLLOWS_SEED
    return {**data, "split_seed": config["seed"]} if follows else data


def compose(overrides: list[str]) -> dict[str, Any]:
    """The resolved config of conf/config.yaml with overrides, for use outside the command line."""
    register_schema()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return resolve(hydra.compose("config", overrides), throw_on_missing=False)


def read_job(cfg: DictConfig) -> Job:
    """Resolve what Hydra composed for the current job. Raises ValueError for a value that cannot be resolved."""
    settings = HydraConfig.get()
    config = resolve(cfg)
    overrides = OverridesParser.create().parse_overrides(list(settings.overrides.task))
    return job_of(config, group_choices(settings), overrides, settings.job.config_name)


def group_choices(settings: Any) -> dict[str, str]:
    """The chosen file of each of our own groups, from a composed config's hydra node."""
    return {group: choice for group, choice in settings.runtime.choices.items() if group in (*GROUPS, *NESTED_GROUPS)}


def job_of(
    config: dict[str, Any],
    choices: dict[str, str],
    overrides: Sequence[Override],
    config_name: str | None,
    own_base: dict[str, Any] | None = None,
) -> Job:
    """The job of a resolved config, composed with these overrides from this primary config.

    `own_base` is the primary config with the chosen groups and no other override, where it has been composed already.
    Raises ValueError for an override that deletes a key or sets what the program sets.
    """
    for override in overrides:
        key = override.key_or_group
        if key in SET_BY_THE_PROGRAM:
            raise ValueError(f"{key}: is set by the program, not by an override")
        if override.is_delete() and "." in key:
            raise ValueError(f"~{key}: a key cannot be deleted; give it a value instead")
    for group, choice in choices.items():
        if ".." in choice.replace("\\", "/").split("/"):
            raise ValueError(f"{group}={choice}: a choice is the name of a file in conf/{group}/, not a path")
    config = _with_paths_expanded(config)
    sources = tuple(source.path for source in GlobalHydra.instance().config_loader().get_sources())
    base, base_choices = _compose_base(sources, config_name)
    switched = tuple(f"{group}={choice}" for group, choice in choices.items() if choice != base_choices.get(group))
    own_base = own_base or _compose_base(sources, config_name, switched)[0]
    outer = tuple(override for override in switched if override.partition("=")[0] in GROUPS)
    _, default_choices = _compose_base(sources, config_name, outer)
    keys = tuple(override.key_or_group for override in overrides)
    differences: dict[str, Any] = {}
    for key in keys:
        here = _value(key, config, choices)
        if key in NESTED_GROUPS:  # the choice of the outer group's own defaults is no difference
            if here != default_choices.get(key):
                differences[key.rpartition("/")[2]] = here
        # A group's own defaults may hold the value by which another run of the same name differs.
        elif key != "model" and (here != _value(key, base, base_choices) or here != _value(key, own_base, choices)):
            differences[key] = here
    return Job(config, choices, differences, keys)


def value_at(config: dict[str, Any], key: str) -> Any:
    """The value of a dotted key in a config; None where there is no such key."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _with_paths_expanded(config: dict[str, Any]) -> dict[str, Any]:
    """The same config with `~` and environment variables in its paths replaced.

    Raises ValueError for a variable that is not set.
    """
    expanded = dict(config)
    for key in PATHS:
        path, (*groups, name) = value_at(config, key), key.split(".")
        if not isinstance(path, str) or not ("~" in path or "$" in path):
            continue
        for group in groups:
            expanded[group] = dict(expanded[group])
        (expanded[groups[0]] if groups else expanded)[name] = _expanded(path, key)
    return expanded


def _expanded(path: str, key: str) -> str:
    whole = os.path.expanduser(os.path.expandvars(path))
    if "$" in whole and not os.path.exists(whole):
        raise ValueError(f"{key}={path}: names an environment variable that is not set")
    return whole


def _value(key: str, config: dict[str, Any], choices: dict[str, str]) -> Any:
    return choices[key] if key in choices else value_at(config, key)


@functools.lru_cache(maxsize=64)
def _compose_base(
    sources: tuple[str, ...], config_name: str | None, switched: tuple[str, ...] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """The primary config without any override but those of groups, and its group choices, remembered by its sources."""
    base = hydra.compose(config_name, list(switched), return_hydra_config=True)
    choices = group_choices(base.hydra)
    OmegaConf.set_struct(base, False)
    base.pop("hydra")
    return resolve(base, throw_on_missing=False), choices
