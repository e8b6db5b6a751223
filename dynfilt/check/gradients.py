"""Whether every parameter trains: gradients against finite differences, and what moves in a step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dynfilt.check.findings import Measured, short
from dynfilt.check.subject import FLOAT64, SMALLEST_MOVE, Rounding, Subject, run, trained

NO_EFFECT = "has no effect on the output"


def gradients(subject: Subject) -> Measured:
    """Whether the gradients of x and of every trained parameter are those of central differences in float64.

    In evaluation, and in training where the layer's state does not change from one forward to the next.
    """
    layer, x = subject.lively(), subject.images(4)
    inputs: dict[str, Tensor] = {"the input": x.requires_grad_(), **trained(layer)}
    y = run(layer, x)
    cotangent = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1)) / y.detach().norm()

    def loss() -> Tensor:
        return (run(layer, x) * cotangent).sum()

    if not loss().requires_grad:
        return Measured(False, "no parameter gets a gradient")
    faults, worst = _faults(loss, inputs, subject.rounding)
    layer.train()
    if not faults and loss().item() == loss().item():
        # In training BatchNorm takes the effect of what only shifts its input.
        in_training, worst_in_training = _faults(loss, inputs, subject.rounding)
        faults = [f"in training {fault}" for fault in in_training if not fault.endswith(NO_EFFECT)]
        worst = max(worst, worst_in_training)
    if faults:
        more = f" and {len(faults) - 2} more" if len(faults) > 2 else ""
        faults.sort(key=lambda fault: "gets no gradient" not in fault)  # the plainest first
        return Measured(False, "; ".join(faults[:2]) + more, float(len(faults)))
    count = len(inputs) - 1
    return Measured(True, f"input and {count} parameters as finite differences, largest error {worst:.1g}", worst)


def _faults(loss: Callable[[], Tensor], inputs: dict[str, Tensor], rounding: Rounding) -> tuple[list[str], float]:
    """What is wrong with the gradients of a loss, in words, and the largest error."""
    analytic = torch.autograd.grad(loss(), list(inputs.values()), allow_unused=True)
    faults, worst = [], 0.0
    for (name, tensor), gradient in zip(inputs.items(), analytic, strict=True):
        slope, numeric = _both(loss, tensor, gradient, rounding.step, seed=len(name))
        if abs(numeric) < rounding.noise and abs(slope) < FLOAT64.noise:
            faults.append(f"{name} {NO_EFFECT}")
        elif gradient is None:
            faults.append(f"{name} gets no gradient, though the output depends on it")
        else:
            error = abs(slope - numeric) / max(abs(slope), abs(numeric), rounding.noise / rounding.tolerance)
            worst = max(worst, error)
            if error > rounding.tolerance:
                faults.append(f"{name}: gradient {short(slope)}, finite difference {short(numeric)}")
    return faults, worst


def _both(
    loss: Callable[[], Tensor], tensor: Tensor, gradient: Tensor | None, step: float, seed: int
) -> tuple[float, float]:
    """The loss's slope along one random direction, by the gradient and by central differences."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    direction *= max(tensor.detach().square().mean().sqrt().item(), SMALLEST_MOVE)
    with torch.no_grad():
        start = tensor.detach().clone()
        tensor.copy_(start + step * direction)
        above = loss().item()
        tensor.copy_(start - step * direction)
        below = loss().item()
        tensor.copy_(start)
    slope = 0.0 if gradient is None else (gradient * direction).sum().item()
    return slope, (above - below) / (2 * step)


def training_steps(subject: Subject) -> Measured:
    """Whether SGD with learning rate 1 moves every parameter within three steps from the start; frozen ones are named.

    One step is not enough for what lies before a head that starts at zero.
    """
    layer = subject.fresh().train()
    x = subject.images(16).float()
    parameters = trained(layer)
    start = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    frozen = ", ".join(name for name, _ in layer.named_parameters() if name not in parameters)
    target: Tensor | None = None
    after_one: list[str] = []
    for step in range(3):
        y = run(layer, x)
        target = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)) if target is None else target
        loss = (y - target).square().mean()
        if not parameters:
            return Measured(True, f"no parameter trains{frozen and f'; frozen: {frozen}'}", remarkable=True)
        if not loss.requires_grad:
            return Measured(False, "no parameter gets a gradient")
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters.values(), gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(gradient)
        if step == 0:
            after_one = _still(layer, start)
        if not (still := _still(layer, start)):
            break
    if still:
        return Measured(False, f"{', '.join(still)} never moved in 3 steps of SGD from the start", float(len(still)))
    late = f"; {', '.join(after_one)} only after the first" if after_one else ""
    words = f"{len(start)} parameters move in one step of SGD{late}{frozen and f'; frozen: {frozen}'}"
    return Measured(True, words, float(len(after_one)), remarkable=bool(frozen))


def _still(layer: nn.Module, start: dict[str, Tensor]) -> list[str]:
    now = dict(layer.named_parameters())
    return [name for name, before in start.items() if torch.equal(now[name].detach(), before)]
