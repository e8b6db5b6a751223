"""W&B sweeps: the command that an agent makes of each YAML is one that run.py takes, without a server."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dynfilt.config.checks import check
from dynfilt.config.compose import Job
from dynfilt.run.identity import identify
from tests.conftest import ROOT

FILES = sorted((ROOT / "sweeps" / "wandb").glob("*.yaml"))
HANDED_IN = {"interpreter": ["python"], "env": ["/usr/bin/env"]}


def agents_command(sweep: dict[str, Any], values: dict[str, Any]) -> list[str]:
    """What `wandb agent` would start, by its own functions for the parts that it fills in."""
    # Here, since it loads half of W&B: seconds that collecting the fast tests need not take.
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    parts = {**HANDED_IN, "program": [sweep["program"]]}
    parts |= create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    words: list[str] = []
    for word in create_sweep_command(list(sweep["command"])):
        words += parts[word[2:-1]] if word.startswith("${") else [word]
    return words


def choices(parameter: dict[str, Any]) -> list[Any]:
    """Values that the server may hand out: all of a list, both ends of a range."""
    return parameter.get("values") or [parameter[key] for key in ("value", "min", "max") if key in parameter]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_agents_command_composes_and_passes_the_check(path: Path, compose: Callable[..., list[Job]]) -> None:
    sweep = yaml.safe_load(path.read_text())
    keys = list(sweep["parameters"])
    grid = list(itertools.product(*(choices(sweep["parameters"][key]) for key in keys)))
    for values in (grid[0], grid[-1]):
        *start, program = (command := agents_command(sweep, dict(zip(keys, values, strict=True))))[:3]
        assert (start, program) == (["/usr/bin/env", "python"], "run.py")
        [job] = compose(*(str(ROOT / word) if word == "sweeps" else word for word in command[3:]))
        check(job.config, job.choices)
        for key, value in zip(keys, values, strict=True):
            node: Any = {**job.config, "model": job.choices["model"]}
            for part in key.split("."):
                node = node[part]
            assert node == value or math.isclose(node, value)


@pytest.mark.slow
def test_the_grid_is_that_of_the_declared_sweep(compose: Callable[..., list[Job]]) -> None:
    """Its runs are the same runs: what one command has done, the other one skips."""
    sweep = yaml.safe_load((ROOT / "sweeps" / "wandb" / "lab_3x3.yaml").read_text())
    assert sweep["method"] == "grid"
    declared = yaml.safe_load((ROOT / "sweeps" / "lab_3x3.yaml").read_text())["hydra"]["sweeper"]["params"]
    parameters = {key: ",".join(map(str, node["values"])) for key, node in sweep["parameters"].items()}
    assert parameters == declared
    words = agents_command(sweep, {"seed": 7, "model": "bypass_3x3"})[3:]
    [job] = compose(*(str(ROOT / word) if word == "sweeps" else word for word in words))
    [other] = compose("-cd", str(ROOT / "sweeps"), "-cn", "lab_3x3", "seed=7", "model=bypass_3x3")
    assert identify(job.config, job.choices, job.differences) == identify(
        other.config, other.choices, other.differences
    )
