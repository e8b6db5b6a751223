"""Training steps of several seeds of one network in one process: one after the other, and as one stacked network."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks.commands.step import names
from benchmarks.measuring.timing import NO_TIME, Deadline, interleaved_ms
from benchmarks.reporting.report import Result, Timing, require_any
from dynfilt.config.checks import make
from dynfilt.config.compose import compose
from dynfilt.data.augment import normalise
from dynfilt.train.settings import resolve_device

Optimize = Callable[[list[Tensor]], torch.optim.Optimizer]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=names, default=["static_3x3", "dynamic_3x3", "resnet8"])
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="config overrides for all models")


def run(arguments: argparse.Namespace, deadline: Deadline) -> Result:
    """Milliseconds of one step of all replicas. Raises errors of Hydra for an unknown key or choice."""
    device = resolve_device(arguments.device)
    timings = []
    for model in arguments.models:
        config = compose([f"model={model}", "data=cifar10_sample", *arguments.overrides])
        data = make(config["data"], "data").to(device)
        chosen = torch.arange(arguments.batch, device=device) % len(data.train.labels)
        batch = normalise(data.train.images[chosen], data.mean, data.std), data.train.labels[chosen]
        networks = [make(config["model"], "model").to(device) for _ in range(arguments.replicas)]
        optimize = make(config["optimizer"], "optimizer")
        arms = {
            "one by one": one_by_one(networks, batch, optimize),
            "stacked": stacked(networks, batch, optimize)[0],
        }
        case = f"{arguments.replicas} x {model}, batch {arguments.batch}"
        for name, ms in interleaved_ms(arms, device, arguments.repetitions, deadline).items():
            role, failure = "ours" if name == "stacked" else "static", None if ms else NO_TIME
            timings.append(Timing(case, name, role, ms=ms, failure=failure))
    require_any(timings)
    return Result("replicas", device, timings)


def one_by_one(networks: Sequence[nn.Module], batch: tuple[Tensor, Tensor], optimize: Optimize) -> Callable[[], None]:
    """A function that takes each network's own step on the batch."""
    optimizers = [optimize(list(network.parameters())) for network in networks]

    def step() -> None:
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(network(batch[0]), batch[1]).backward()
            optimizer.step()

    return step


def stacked(
    networks: Sequence[nn.Module], batch: tuple[Tensor, Tensor], optimize: Optimize
) -> tuple[Callable[[], None], dict[str, Tensor]]:
    """A function that takes the same steps with copies of all parameters, stacked; and those copies.

    The gradients are those of `torch.func.vmap` over the replicas, and one update moves all of them.
    """
    parameters, buffers = stack_module_state(list(networks))
    optimizer = optimize(list(parameters.values()))

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(networks[0], (parameters, buffers), (batch[0],)), batch[1])

    gradients = vmap(grad(loss), randomness="different")

    def step() -> None:
        for name, gradient in gradients(parameters, buffers).items():
            parameters[name].grad = gradient
        optimizer.step()

    return step, parameters
