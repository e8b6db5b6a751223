"""A check of every value before any work: top-level keys, each target's arguments and types; the only instantiate."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import logging
import math
import typing
from collections.abc import Callable, Iterable
from typing import Any

import hydra
from hydra.errors import InstantiationException

from dynfilt.config.about import check_about
from dynfilt.config.compose import GROUPS, Schema, data_node
from dynfilt.config.files import file_of, in_words
from dynfilt.wording import one_line

MODES = ("train", "test", "plan")
LARGEST_SEED = 2**53 - 1  # what every reader of JSON gives back as it is
LARGEST_INTEGER = 2**63 - 1
RERUNS = ("true", "false", "damaged", "changed")
# Built once here so that bad values fail early: these cost nothing to build.
CHEAP_GROUPS = ("schedule", "temperature", "trainer", "tracking")
RESERVED = {"_target_", "_partial_"}
# Hydra logs what it raises, in several lines, and Python prints what no handler takes.
logging.getLogger(hydra.utils.__name__).addHandler(logging.NullHandler())


def check(config: dict[str, Any], choices: dict[str, str]) -> None:
    """Check every value before any work: top-level keys, then each target's arguments and their types.

    Raises ValueError naming the key, the file it comes from and what is allowed.
    """
    _check_top_level(config)
    if not 0 <= config["seed"] <= LARGEST_SEED:
        raise ValueError(f"seed={config['seed']}: must be a whole number from 0 to {LARGEST_SEED}")
    for key in ("study", "output_root", "run"):
        if config[key] == "":
            raise ValueError(f"{key}: must not be empty; conf/config.yaml has the default")
    if config["mode"] not in MODES:
        raise ValueError(f"mode={config['mode']}: allowed: {', '.join(MODES)}")
    check_rerun(config["rerun"])
    check_about(config["about"])
    nodes = {**config, "data": data_node(config)}
    for group in GROUPS:
        _check_group(group, json.dumps(choices), json.dumps(nodes[group]))
    for name, node in config["buffers"].items():
        _check_buffer(name, node, choices)
    _check_numbers(config, "")
    if config["optimizer"]["_target_"].startswith("torch.optim."):  # another's may not take this
        from torch import nn, zeros

        make_optimizer(config["optimizer"], [nn.Parameter(zeros(1, 1))])


@functools.lru_cache(maxsize=4096)  # the jobs of a sweep share most of their groups
def _check_group(group: str, choices_as_json: str, node_as_json: str) -> None:
    choices, node = json.loads(choices_as_json), json.loads(node_as_json)
    file = _file(group, choices.get(group, "?"))
    if not isinstance(node, dict) or "_target_" not in node:
        raise ValueError(f"{group}={node!r}: must be one of the files in conf/{group}/")
    _check_target(node, group, file, choices)
    if group in CHEAP_GROUPS:
        make(node, group)


def _check_buffer(name: str, node: Any, choices: dict[str, str]) -> None:
    key = f"buffers.{name}"
    if name == "temperature":
        raise ValueError(f"{key}: its schedule is the group temperature")
    if not isinstance(node, dict) or "_target_" not in node:
        raise ValueError(f"{key}={node!r}: must be a schedule, such as {{_target_: dynfilt.schedules.Linear, ...}}")
    _check_target(node, key, "the command or its sweep", choices)
    make(node, key)


def check_rerun(value: Any) -> None:
    """Raise ValueError for a value of `rerun`, as text or as it was read, that is none of RERUNS."""
    if str(value).lower() not in RERUNS:
        raise ValueError(f"rerun={value}: must be true, false, damaged or changed; set in conf/config.yaml")


def make(node: dict[str, Any], key: str) -> Any:
    """Build the object that a config node describes: the only instantiate of the project.

    Raises ValueError with the constructor's own message when it refuses its arguments.
    """
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        while isinstance(cause, InstantiationException):
            cause = cause.__cause__
        if cause is None:  # Hydra itself refuses, for one a target that runs commands
            raise ValueError(f"{key}._target_={node.get('_target_')}: refused ({one_line(error)})") from error
        if isinstance(cause, ValueError):
            raise ValueError(str(cause) if key in str(cause) else f"{key}: {cause}") from error
        raise RuntimeError(f"{key}: {type(cause).__name__}: {cause}") from error


def make_optimizer(node: dict[str, Any], parameters: Iterable[Any]) -> Any:
    """Build the optimizer of a config's node for these parameters. Raises ValueError for numbers out of its range."""
    try:
        return make(node, "optimizer")(parameters)
    except ValueError as error:
        raise ValueError(f"optimizer: {error}") from error


def _check_numbers(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _check_numbers(item, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for item in value:
            _check_numbers(item, key)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key}={value}: must be a finite number")
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError(f"{key}={value}: must be a whole number of at most {LARGEST_INTEGER}")


def _check_top_level(config: dict[str, Any]) -> None:
    names = [field.name for field in dataclasses.fields(Schema)]
    for key in sorted(config.keys() ^ set(names)):
        problem = "no such key or group" if key in config else "missing"
        raise ValueError(f"{key}: {problem}; conf/config.yaml has: {', '.join(names)}")


def _check_target(node: dict[str, Any], key: str, file: str, choices: dict[str, str]) -> None:
    target = _locate(node["_target_"], key, file)
    if not callable(target):
        kind = type(target).__name__
        raise ValueError(
            f"{key}._target_={node['_target_']}: is a {kind}, must be a class or a function; set in {file}"
        )
    try:
        parameters = dict(inspect.signature(target).parameters)
    except ValueError as error:  # some built-in types
        raise ValueError(
            f"{key}._target_={node['_target_']}: does not say which keys it takes; set in {file}"
        ) from error
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        _check_names(node, parameters, key, file)
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = {name for name, p in parameters.items() if p.default is p.empty and p.kind not in variadic}
    missing = sorted(required - node.keys())
    if missing and not node.get("_partial_"):
        raise ValueError(f"{key}: {node['_target_']} needs {', '.join(missing)}; set it in {file}")
    hints = _type_hints(target)
    for name, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            choice = choices.get(f"{key}/{name}")
            inner = _file(f"{key}/{name}", choice) if choice else file
            _check_target(value, f"{key}.{name}", inner, choices)
        elif f"{key}/{name}" in choices:
            raise ValueError(f"{key}.{name}={value!r}: choose a file of conf/{key}/{name}/ by {key}/{name}=CHOICE")
        elif name not in RESERVED:
            if name in hints:
                _check_type(value, hints[name], f"{key}.{name}", file)
            _refuse_quotes(value, functools.partial(_is_of_type, hints.get(name, Any)), f"{key}.{name}")


def _file(group: str, choice: str) -> str:
    file = file_of(group, choice)
    return in_words(file) if file else f"conf/{group}/{choice}.yaml"


def _check_names(node: dict[str, Any], parameters: dict[str, Any], key: str, file: str) -> None:
    allowed = [name for name in parameters if name != "params"]  # an optimizer's, which the program sets
    for name in node:
        if name not in allowed and name not in RESERVED:
            raise ValueError(f"{key}.{name}: no such key; {file} allows: {', '.join(allowed)}")


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


def _is_of_type(hint: Any, value: Any) -> bool:
    try:
        _check_type(value, hint, "", "")
    except ValueError:
        return False
    return True


def _refuse_quotes(value: Any, accepts: Callable[[Any], bool], key: str) -> None:
    """Raise ValueError for text such as '2', 'true' or 'null' where 2, true or null would do too: the two would share a
    name, and so a folder, and be different runs."""
    if isinstance(value, dict):
        for name, item in value.items():
            accepts_item = functools.partial(lambda name, other: accepts({**value, name: other}), name)
            _refuse_quotes(item, accepts_item, f"{key}.{name}")
    if not isinstance(value, str):
        return
    try:
        meant = json.loads(value)
    except ValueError:
        return
    if not isinstance(meant, str) and accepts(meant):
        raise ValueError(
            f"{key}={value!r}: is text that reads as a value; leave the quotes out, or annotate the argument as str if "
            "it must be text"
        )


def _locate(path: str, key: str, file: str) -> Any:
    try:
        return hydra.utils.get_object(path)
    except Exception as error:
        raise ValueError(f"{key}._target_={path}: cannot be imported ({one_line(error)}); set in {file}") from error


def _type_hints(target: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):  # a library's annotations may name what it does not import
        return {}
