"""Steps of the real trainer: how many, on what, and where their time goes."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.measuring import clock, public_loop, training
from benchmarks.measuring.arm import Arm
from benchmarks.measuring.clock import fit_steps
from benchmarks.measuring.public_loop import PublicLoop
from benchmarks.measuring.training import TrainerArm, build
from dynfilt.cost import count_flops
from dynfilt.layers.formulation import force_formulation
from dynfilt.train.graphed_step import EAGER_STEPS
from dynfilt.train.trainer import Trainer
from tests.benchmarks.conftest import tiny_arm

CPU = torch.device("cpu")


def built(arm: Arm) -> TrainerArm:
    trainer_arm = build(arm, arm.config(CPU), CPU)
    assert isinstance(trainer_arm, TrainerArm)
    return trainer_arm


@pytest.fixture
def lab() -> TrainerArm:
    return built(tiny_arm("static_3x3"))


@pytest.fixture
def seen(lab: TrainerArm, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The step and the batch size of each optimizer step."""
    steps: list[tuple[int, int]] = []
    step = lab.trainer.step_function

    def noting(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        steps.append((lab.trainer.step, len(images)))
        return step(images, labels)

    monkeypatch.setattr(lab.trainer, "step_function", noting)
    return steps


def test_fit_takes_as_many_steps_as_asked(lab: TrainerArm, seen: list[tuple[int, int]]) -> None:
    fit_steps(lab.trainer, 3, lambda: None)
    fit_steps(lab.trainer, 2, lambda: None)
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.slow
def test_partial_batches_are_left_out(seen: list[tuple[int, int]], lab: TrainerArm) -> None:
    assert len(lab.trainer.data.train) == 1800
    lab.trainer.batches.batch_size, lab.trainer.batches.steps_per_epoch = 700, 3
    object.__setattr__(lab.trainer.settings, "batch_size", 700)
    for count in (1, 2, 2):
        fit_steps(lab.trainer, count, lambda: None)
    assert seen == [(0, 700), (1, 700), (3, 700), (4, 700), (6, 700)]


@pytest.mark.slow
def test_preparing_says_what_a_step_is_made_of(lab: TrainerArm) -> None:
    facts = lab.prepare(0.0)
    flops = count_flops(lab.trainer.model, (3, 32, 32))
    assert (facts["path"], facts["images"]) == ("taps", 4)
    # Backward costs twice the forward pass, less what the images' own gradient would.
    assert 2.5 * 4 * flops < facts["flops"] < 3 * 4 * flops
    assert lab.steps == 1


@pytest.mark.slow
def test_the_bytes_of_a_step_hold_the_optimizer_s_state(lab: TrainerArm) -> None:
    plain = built(tiny_arm("static_3x3", "optimizer=sgd", "optimizer.momentum=0"))
    parameters = sum(p.numel() for p in lab.trainer.model.parameters())
    with_states = lab.prepare(0.0)["bytes"]
    assert with_states > 4 * 10 * parameters
    more = with_states - plain.prepare(0.0)["bytes"]
    assert more == pytest.approx(4 * 2 * 2 * parameters, rel=1e-3)  # Adam reads and writes two states


class Hands:
    """A clock that stands still between the calls that are slowed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.monkeypatch = monkeypatch
        for module in (clock, training):
            monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.seconds))

    def slow(self, name: str, seconds: float, of: object, call: Callable[..., Any]) -> None:
        """Have the method `name` of an object do `call`, which takes so many seconds."""

        def slowed(*arguments: Any) -> Any:
            self.seconds += seconds
            return call(*arguments)

        self.monkeypatch.setattr(of, name, slowed)


@pytest.mark.slow
def test_a_repetition_takes_about_the_seconds_asked_for(
    lab: TrainerArm, seen: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    Hands(monkeypatch).slow("step_function", 0.03, lab.trainer, lab.trainer.step_function)
    lab.prepare(0.5)
    before = len(seen)
    assert lab.repetition() == pytest.approx(30)
    assert len(seen) - before == lab.steps == round(0.5 / 0.03)


def test_the_parts_of_a_step_are_told_apart(lab: TrainerArm, monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch)

    trainer = lab.trainer
    batch = trainer.batches.batch(0)
    answer = trainer.step_function(*batch)
    hands.slow("batch", 0.2, trainer.batches, lambda step: batch)
    hands.slow("step_function", 0.4, trainer, lambda images, labels: answer)
    hands.slow("add", 0.1, trainer.sums, trainer.sums.add)
    monkeypatch.setattr(training, "LOOP_STEPS", 3)
    own = trainer.batches.batch, trainer.step_function
    parts = lab.breakdown()
    expected = {"data, ms": 200, "network, ms": 400, "rest of the step, ms": 100, "loop alone, ms": 100}
    assert parts == pytest.approx(expected)
    assert (
        trainer.batches.batch,
        trainer.step_function,
    ) == own  # the clock and the stand-ins are off again


@pytest.mark.slow
def test_a_forced_formulation_is_the_path_that_is_told() -> None:
    arm = tiny_arm("dynamic_3x3", "trainer.formulation=grouped")
    with force_formulation("grouped"):
        assert built(arm).prepare(0.0)["path"] == "grouped"


def test_the_public_loop_trains_the_same_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_loop, "WORKERS", 0)
    arm = tiny_arm("static_3x3", run="data-loader")
    loop = build(arm, arm.config(CPU), CPU)
    assert isinstance(loop, PublicLoop)
    before = loop.model.classifier.weight.clone()
    assert loop.prepare(0.0)["images"] == 4
    assert loop.repetition() > 0 and loop.peak_mb() > 0
    assert loop.loss > 0
    assert not torch.equal(before, loop.model.classifier.weight)


@pytest.mark.slow
def test_a_way_to_run_reaches_the_trainer() -> None:
    trainer: Trainer = built(tiny_arm("static_3x3", run="nchw")).trainer
    assert not trainer.settings.channels_last
    assert tiny_arm("static_3x3", run="max-autotune").config(CPU)["trainer"]["compile_mode"] == "max-autotune"


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_a_graph_without_cuda_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"trainer\.cuda_graph=true needs a CUDA device, but trainer\.device is cpu"):
        built(tiny_arm("static_3x3", run="graph"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("model", ["static_3x3", "dynamic_3x3", "label_guided_1x1", "dyconv_resnet18"])
def test_a_graphed_step_trains(model: str) -> None:
    device = torch.device("cuda", 0)
    arm = tiny_arm(model, "optimizer.lr=1e-3", run="graph")
    trainer = build(arm, arm.config(device), device).trainer
    fit_steps(trainer, EAGER_STEPS + 1, lambda: None)  # the last is recorded and replayed
    before = [p.clone() for p in trainer.model.parameters()]
    fit_steps(trainer, 1, lambda: None)
    assert all(not torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
