"""Configs: the schema of the top-level keys, a check of every target's arguments, the only instantiate."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).resolve().parents[1] / "conf"
MODES = ("train", "test", "plan")
GROUPS = ("model", "data", "optimizer", "schedule", "temperature", "trainer", "tracking")
NESTED_GROUPS = ("model/conv",)  # a node inside the file of another group, by whose defaults it is there
CHEAP_GROUPS = (
    "schedule",
    "temperature",
    "trainer",
    "tracking",
)  # built once more just to hear their objections
RESERVED = {"_target_", "_partial_"}


@dataclass
class Run:
    """The top-level keys; conf/config.yaml holds their values."""

    study: str
    seed: int
    mode: str
    run: str | None
    parent: str | None
    rerun: bool
    output_root: str
    model: Any
    data: Any
    optimizer: Any
    schedule: Any
    temperature: Any
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
    ConfigStore.instance().store(name="schema", node=Run)


def compose(overrides: list[str]) -> dict[str, Any]:
    """The resolved config of conf/config.yaml with overrides, for use outside the command line."""
    register_schema()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return typing.cast(dict[str, Any], OmegaConf.to_container(hydra.compose("config", overrides), resolve=True))


def read_job(cfg: DictConfig) -> Job:
    """Resolve what Hydra composed for the current job. Raises ValueError for a value that cannot be resolved."""
    config = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    settings = HydraConfig.get()
    choices = _choices(settings.runtime.choices)
    base, base_choices = _compose_base(settings.job.config_name)
    switched = tuple(f"{group}={choice}" for group, choice in choices.items() if choice != base_choices.get(group))
    own_base, _ = _compose_base(settings.job.config_name, switched)
    outer = tuple(override for override in switched if override.partition("=")[0] in GROUPS)
    _, default_choices = _compose_base(settings.job.config_name, outer)
    overrides = OverridesParser.create().parse_overrides(list(settings.overrides.task))
    keys = [override.key_or_group for override in overrides]
    differences: dict[str, Any] = {}
    for key in keys:
        here = _value(key, config, choices)
        if key in NESTED_GROUPS:  # the choice of the outer group's own defaults is no difference
            if here != default_choices.get(key):
                differences[key.rpartition("/")[2]] = here
        # A group's own defaults may hold the value by which another run of the same name differs.
        elif key != "model" and (here != _value(key, base, base_choices) or here != _value(key, own_base, choices)):
            differences[key] = here
    return Job(config, choices, differences, tuple(keys))


def check(config: dict[str, Any], choices: dict[str, str]) -> None:
    """Check every value before any work: top-level keys, then each target's arguments and their types.

    Raises ValueError naming the key, the file it comes from and what is allowed.
    """
    _check_top_level(config)
    if config["seed"] < 0:
        raise ValueError(f"seed={config['seed']}: must be a whole number >= 0")
    for key in ("study", "output_root"):
        if not config[key]:
            raise ValueError(f"{key}: must not be empty; conf/config.yaml has the default")
    if config["mode"] not in MODES:
        raise ValueError(f"mode={config['mode']}: allowed: {', '.join(MODES)}")
    for group in GROUPS:
        node = config[group]
        file = f"conf/{group}/{choices.get(group, '?')}.yaml"
        if not isinstance(node, dict) or "_target_" not in node:
            raise ValueError(f"{group}={node!r}: must be one of the files in conf/{group}/")
        _check_target(node, group, file, choices)
    for group in CHEAP_GROUPS:
        make(config[group], group)


def make(node: dict[str, Any], key: str, **arguments: Any) -> Any:
    """Build the object that a config node describes: the only instantiate of the project.

    Raises ValueError with the constructor's own message when it refuses its arguments.
    """
    try:
        return hydra.utils.instantiate(node, **arguments, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        while isinstance(cause, InstantiationException):
            cause = cause.__cause__
        if isinstance(cause, ValueError):
            raise ValueError(str(cause) if key in str(cause) else f"{key}: {cause}") from error
        raise RuntimeError(f"{key}: {type(cause).__name__}: {cause}") from error


def _check_top_level(config: dict[str, Any]) -> None:
    names = [field.name for field in dataclasses.fields(Run)]
    for key in sorted(config.keys() ^ set(names)):
        problem = "no such key or group" if key in config else "missing"
        raise ValueError(f"{key}: {problem}; conf/config.yaml has: {', '.join(names)}")


def _value(key: str, config: dict[str, Any], choices: dict[str, str]) -> Any:
    if key in choices:
        return choices[key]
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


@functools.lru_cache(maxsize=64)
def _compose_base(config_name: str, switched: tuple[str, ...] = ()) -> tuple[dict[str, Any], dict[str, str]]:
    """The primary config without any override but those of groups, and its group choices."""
    base = hydra.compose(config_name, list(switched), return_hydra_config=True)
    choices = _choices(base.hydra.runtime.choices)
    OmegaConf.set_struct(base, False)
    base.pop("hydra")
    return typing.cast(dict[str, Any], OmegaConf.to_container(base, resolve=True)), choices


def _choices(all_choices: Mapping[str, str]) -> dict[str, str]:
    """The choices of our own groups among all that Hydra knows."""
    return {group: choice for group, choice in all_choices.items() if group in (*GROUPS, *NESTED_GROUPS)}


def _check_target(node: dict[str, Any], key: str, file: str, choices: dict[str, str]) -> None:
    target = _locate(node["_target_"], key, file)
    parameters = dict(inspect.signature(target).parameters)
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        _check_names(node, parameters, key, file)
    required = {name for name, p in parameters.items() if p.default is p.empty and p.kind not in (2, 4)}
    missing = sorted(required - node.keys())
    if missing and not node.get("_partial_"):
        raise ValueError(f"{key}: {node['_target_']} needs {', '.join(missing)}; set it in {file}")
    hints = _type_hints(target)
    for name, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            choice = choices.get(f"{key}/{name}")
            inner = f"conf/{key}/{name}/{choice}.yaml" if choice else file
            _check_target(value, f"{key}.{name}", inner, choices)
        elif f"{key}/{name}" in choices:
            raise ValueError(f"{key}.{name}={value!r}: choose a file of conf/{key}/{name}/ by {key}/{name}=CHOICE")
        elif name in hints and name not in RESERVED:
            _check_type(value, hints[name], f"{key}.{name}", file)


def _check_names(node: dict[str, Any], parameters: dict[str, Any], key: str, file: str) -> None:
    for name in node:
        if name not in parameters and name not in RESERVED:
            allowed = ", ".join(n for n in parameters if n != "params")
            raise ValueError(f"{key}.{name}: no such key; {file} allows: {allowed}")


def _check_type(value: Any, hint: Any, key: str, file: str) -> None:
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticUserError, PydanticSchemaGenerationError):
        adapter = TypeAdapter(hint)  # a type with a config of its own
    try:
        # As JSON, since a list in YAML stands for any sequence while numbers and booleans stay what they are.
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        messages = {e["msg"] for e in error.errors() if e["msg"].startswith("Input should be")}
        wanted = " or ".join(sorted(message.replace("Input should be ", "") for message in messages)) or str(hint)
        raise ValueError(f"{key}={value!r}: must be {wanted}; set in {file} or by override") from error


def _locate(path: str, key: str, file: str) -> Any:
    try:
        return hydra.utils.get_object(path)
    except Exception as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"{key}._target_={path}: cannot be imported ({reason}); set in {file}") from error


def _type_hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # a library's annotations may name what it does not import
        return {}
