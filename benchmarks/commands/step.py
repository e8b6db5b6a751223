"""A training step of whole networks through the real trainer: ours, the static twin, and how public code does it."""

from __future__ import annotations

import argparse
import itertools
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch

from benchmarks.measuring.arm import Arm, Mode
from benchmarks.measuring.machine import Machine
from benchmarks.measuring.timing import Deadline
from benchmarks.measuring.turns import Turn, Turns
from benchmarks.reporting.report import Result, Timing, require_any
from dynfilt.config.errors import explain
from dynfilt.layers.formulation import FORMULATIONS
from dynfilt.train.settings import resolve_device

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Network:
    """A dynamic network, its static twin, arms that do the same as public code does, and candidates for CUDA."""

    static: str
    ours: str
    batch: int
    public: tuple[Arm, ...]
    overrides: tuple[str, ...] = ()
    on_cuda: tuple[Arm, ...] = ()


def _public(name: str, role: str, *overrides: str, **options: Any) -> Arm:
    return Arm(name, role, (*overrides, "trainer.channels_last=false"), "nchw", **options)


NETWORKS = {
    "lab": Network(
        "static_3x3",
        "dynamic_3x3",
        64,
        (
            _public("dynamic_3x3, grouped", "public", "model=dynamic_3x3", "trainer.formulation=grouped"),
            _public(
                "dynamic_3x3, loop",
                "other",
                "model=dynamic_3x3",
                "model.filter._target_=benchmarks.measuring.peers.LoopedConv2d",
                path="loop over images",
            ),
            Arm("static_3x3, public loop", "public loop", ("model=static_3x3",), "data-loader"),
            Arm(
                "dynamic_3x3, public loop",
                "public loop",
                ("model=dynamic_3x3", "model.filter._target_=benchmarks.measuring.peers.LoopedConv2d"),
                "data-loader",
            ),
        ),
    ),
    "label": Network(
        "static_1x1",
        "label_guided_1x1",
        64,
        (
            _public(
                "label_guided_1x1, ten passes",
                "public",
                "model=label_guided_1x1",
                "model._target_=benchmarks.measuring.peers.TenPassLabelNet",
                path="a backbone pass for each class",
                canonical=False,
            ),
        ),
    ),
    "dyconv": Network(
        "resnet18",
        "dyconv_resnet18",
        128,
        (
            _public("dyconv_resnet18, grouped", "public", "model=dyconv_resnet18", "trainer.formulation=grouped"),
            _public(
                "dyconv_resnet18, stacked outputs",
                "mixed outputs",
                "model=dyconv_resnet18",
                "model._target_=benchmarks.measuring.peers.stacked_outputs_resnet18",
                path="outputs, stacked",
                canonical=False,
            ),
        ),
        # As in sweeps/dyconv_twins.yaml.
        ("model.stem=cifar", "optimizer=sgd", "data.flip=true", "data.pad=4"),
        (
            Arm(
                "dyconv_resnet18, stacked",
                "stacked",
                ("model=dyconv_resnet18", "trainer.formulation=stacked"),
                canonical=False,
            ),
        ),
    ),
}


# Overrides that these options set for all arms.
SET_BY_OPTIONS = {
    "trainer.batch_size": "--batch",
    "trainer.precision": "--precision",
    "trainer.formulation": "--formulation",
}
# Overrides that say where the images lie, not what a step does: the bundled ones are of CIFAR-10, too.
PLACES = ("data.root=", "data.cache=", "output_root=", "data=cifar10_sample")


def names(text: str) -> list[str]:
    """A list on the command line: names with commas between."""
    return text.split(",")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--network", type=names, default=list(NETWORKS), help=f"of {','.join(NETWORKS)} (default: all)")
    parser.add_argument("--models", type=names, help="choices of conf/model instead, the first is the twin")
    parser.add_argument(
        "--arm",
        action="append",
        metavar="OVERRIDES",
        help="an arm by its overrides, once for each; the first is the twin",
    )
    parser.add_argument("--formulation", type=names, default=["auto"], help="of these arms: " + ",".join(FORMULATIONS))
    parser.add_argument("--batch", type=int, help="default: 64, of ResNet-18 128")
    parser.add_argument("--precision", type=names, default=["float32"], help=",".join(PRECISIONS))
    parser.add_argument("--run", type=names, default=["eager"], help=f"how, of {','.join(get_args(Mode)[:-1])}")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a repetition, at least one step")
    parser.add_argument("overrides", nargs="*", help="config overrides for all arms, e.g. data.root=...")


def run(arguments: argparse.Namespace, deadline: Deadline) -> Result:
    """Time the arms of each network in turn, so that a drift of the machine falls on all alike."""
    device = resolve_device(arguments.device)
    machine = Machine(device)
    timings = []
    for precision in arguments.precision:
        for case, arms in cases(arguments, precision):
            turns = Turns(arms, device, arguments.seconds, deadline)
            turns.take(arguments.repetitions)
            timings += [_timing(case, turn, machine, getattr(torch, precision)) for turn in turns.all]
    require_any(timings)
    return Result("step", device, timings, machine.facts())


def _timing(case: str, turn: Turn, machine: Machine, dtype: torch.dtype) -> Timing:
    arm, facts = turn.arm, turn.facts
    canonical = arm.canonical and facts.get("flops")
    floor_ms = machine.floor_ms(facts["flops"], facts["bytes"], dtype) if canonical else None
    path = arm.path or facts.get("path", "-")
    return Timing(
        *(case, arm.name, arm.role, arm.run, path, turn.ms, facts.get("images")),
        *(turn.peak_mb, floor_ms, turn.figures, turn.failure),
    )


def cases(arguments: argparse.Namespace, precision: str) -> list[tuple[str, list[Arm]]]:
    """Each case's name and arms. Raises ValueError for an unknown network, run or config choice."""
    require_known("--network", arguments.network, NETWORKS)
    require_known("--run", arguments.run, get_args(Mode)[:-1])
    require_known("--precision", arguments.precision, PRECISIONS)
    named = {model: (f"model={model}",) for model in arguments.models or ()}
    named |= {text: tuple(shlex.split(text)) for text in arguments.arm or ()}
    for word in itertools.chain.from_iterable(named.values()):
        if option := SET_BY_OPTIONS.get(word.lstrip("+").partition("=")[0]):
            raise ValueError(f"--arm {word}: is the same for all arms of a table; give {option}")
    if named:
        batch = arguments.batch or 64
        every = [f"trainer.batch_size={batch}", f"trainer.precision={precision}", *arguments.overrides]
        arms = [
            Arm(
                name if formulation == "auto" else f"{name}, {formulation}",
                "static" if index == 0 else "ours",
                (*own, f"trainer.formulation={formulation}", *every),
                way,
            )
            for way in arguments.run
            for index, (name, own) in enumerate(named.items())
            for formulation in arguments.formulation
        ]
        return [(_case_name(" ".join(named), batch, precision, arguments.overrides), _checked(arms))]
    return [_case(name, arguments, precision) for name in arguments.network]


def _case(name: str, arguments: argparse.Namespace, precision: str) -> tuple[str, list[Arm]]:
    network = NETWORKS[name]
    batch = arguments.batch or network.batch
    on_cuda = resolve_device(arguments.device).type == "cuda"
    arms = [
        arm
        for way in arguments.run
        for arm in (
            Arm(network.static, "static", (f"model={network.static}",), way),
            Arm(network.ours, "ours", (f"model={network.ours}",), way),
            *(replace(arm, run=way) for arm in network.on_cuda if on_cuda),
        )
    ]
    if "eager" in arguments.run:
        arms += [arm for arm in network.public if precision == "float32" or arm.run != "data-loader"]
    every = (f"trainer.batch_size={batch}", f"trainer.precision={precision}", *arguments.overrides)
    arms = [replace(arm, overrides=(*arm.overrides, *network.overrides, *every)) for arm in arms]
    models = f"{network.static} and {network.ours}"
    return _case_name(models, batch, precision, arguments.overrides), _checked(arms)


def _case_name(models: str, batch: int, precision: str, overrides: Sequence[str]) -> str:
    """What is measured, so that two files name it alike where it is the same."""
    own = sorted(word for word in overrides if not word.lstrip("+").startswith(PLACES))
    return ", ".join([models, f"batch {batch}", precision, *own])


def _checked(arms: list[Arm]) -> list[Arm]:
    for arm in arms:
        try:
            arm.config(torch.device("cpu"))
        except Exception as error:  # Hydra has an exception for each way to go wrong
            raise ValueError(f"{arm.name}: {explain(error)}") from error
    return arms


def require_known(option: str, given: Sequence[str], allowed: Sequence[str] | dict[str, Any]) -> None:
    for name in given:
        if name not in allowed:
            raise ValueError(f"{option} {name}: allowed: {', '.join(allowed)}")


def parts_with(words: Sequence[str], parts: Iterable[str]) -> list[str]:
    """Those whose names contain one of the words of `--only`. Raises ValueError for a word that is in none."""
    parts = list(parts)
    for word in words:
        if not any(word in part for part in parts):
            raise ValueError(f"--only {word}: is in no part's name; the parts are {', '.join(parts)}")
    return [part for part in parts if any(word in part for word in words)]
