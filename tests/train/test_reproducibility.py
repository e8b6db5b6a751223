"""Reproducible training: the same bits from the same seed and after a resume, with the optimizer of the config."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dynfilt.schedules import Cosine, Linear
from dynfilt.seeding import global_settings_kept
from dynfilt.train import trainer as trainer_module
from dynfilt.train.checkpoint import load_checkpoint, save_checkpoint
from dynfilt.train.evaluation import Stopped
from dynfilt.train.trainer import Trainer
from tests.tiny_run import TinyNet
from tests.train.conftest import Rows, fit

TIMES = {"seconds", "images_per_second"}
CLOCKS = {"train_seconds", "seconds_at_evaluation"}
OPTIMIZERS: dict[str, Callable] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, fused=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=1e-3),
}


class Stop(BaseException):
    """The process dies."""


def without_times(rows: Rows) -> Rows:
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def assert_same_state(left: dict[str, Any], right: dict[str, Any]) -> None:
    for key in left.keys() - CLOCKS:
        torch.testing.assert_close(left[key], right[key], rtol=0, atol=0, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_from_any_step_on_a_resumed_run_is_bit_identical(
    name: str, make_trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "STEPS_BETWEEN_LOSS_CHECKS", 1)
    path = tmp_path / "last.pt"

    def make() -> Trainer:
        return make_trainer(
            epochs=6,
            evaluate_every_steps=3,
            checkpoint_every_seconds=1e-9,  # after every step
            patience=4,
            clip_gradient_norm=1.0,
            optimizer=OPTIMIZERS[name],
            schedule=Cosine(0.1),
            temperature=Linear(30.0, 1.0, epochs=3),
        )

    whole = make()
    rows, improvements = fit(whole)
    assert 1 <= sum(improvements) < len(improvements)
    for step in [*random.Random(0).sample(range(2, whole.step), 5), whole.step]:
        stopped = make()

        def keep(*_: object, trainer: Trainer = stopped, step: int = step) -> None:
            if trainer.step == step - 1:
                save_checkpoint(trainer.state_dict(), path)

        def stop(done: int, step: int = step) -> None:
            if done == step:
                raise Stop

        with pytest.raises(Stop):
            stopped.fit(keep, keep, stop)
        torch.manual_seed(random.randrange(2**31))  # whatever else the new process draws
        resumed = make()
        resumed.train_step()  # nothing of before may survive in the object either
        resumed.load_state_dict(load_checkpoint(path))
        assert resumed.step == step - 1
        later, _ = fit(resumed)
        assert without_times(later) == without_times(rows)[(step - 1) // 3 :]
        assert_same_state(resumed.state_dict(), whole.state_dict())


class NoisyNet(TinyNet):
    """Draws in evaluation too, as model=published_noise_resnet8 does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = super().forward(x)
        return scores + torch.randn_like(scores)


def test_an_evaluation_that_was_stopped_draws_the_same_when_it_is_begun_again(
    make_trainer: Callable[..., Trainer],
) -> None:
    def make() -> Trainer:
        torch.manual_seed(0)
        return make_trainer(epochs=1, eval_batch_size=2, model=NoisyNet(num_classes=4, dropout=0.2))

    rows, _ = fit(make())
    stopped = make()
    asked = iter([False] * (stopped.total_steps + 2))  # after each step, and by the evaluation's first batches
    with pytest.raises(Stopped):
        stopped.fit(lambda *_: None, lambda: None, lambda _: None, lambda: next(asked, True))
    assert stopped.evaluation_due
    resumed = make()
    resumed.load_state_dict(stopped.state_dict())
    assert without_times(fit(resumed)[0]) == without_times(rows)


def test_a_run_depends_on_its_seed_and_on_nothing_drawn_before(make_trainer: Callable[..., Trainer]) -> None:
    def train(seed: int, drawn: int) -> dict[str, Any]:
        trainer = make_trainer(seed=seed)
        torch.manual_seed(drawn)
        fit(trainer)
        return trainer.state_dict()

    first = train(0, 1)
    assert_same_state(first, train(0, 2))
    assert not torch.equal(first["model"]["fc.weight"], train(3, 1)["model"]["fc.weight"])


def test_the_config_decides_on_the_optimizer_also_after_a_resume(make_trainer: Callable[..., Trainer]) -> None:
    old = make_trainer(optimizer=lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.0))
    fit(old)
    new = make_trainer(optimizer=lambda p: torch.optim.SGD(p, lr=0.02, weight_decay=0.3), epochs=3)
    new.load_state_dict(old.state_dict())
    new.train_step()
    assert new.optimizer.param_groups[0]["lr"] == 0.02
    assert new.optimizer.param_groups[0]["weight_decay"] == 0.3


def test_the_config_decides_where_the_optimizer_keeps_its_state(make_trainer: Callable[..., Trainer]) -> None:
    old = make_trainer(optimizer=lambda p: torch.optim.Adam(p, lr=0.1))
    fit(old)
    new = make_trainer(optimizer=lambda p: torch.optim.Adam(p, lr=0.1, fused=True), epochs=3)
    seen: list[dict] = []
    new.optimizer.register_load_state_dict_pre_hook(lambda _, state: seen.extend(state["param_groups"]))
    new.load_state_dict(old.state_dict())
    assert [group["fused"] for group in seen] == [True]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_on_cuda_deterministic_algorithms_give_the_same_bits(make_trainer: Callable[..., Trainer]) -> None:
    def rows() -> Rows:
        with global_settings_kept():
            trainer = make_trainer(epochs=3, device="cuda:0", deterministic=True)
            trainer.settings.set_arithmetic(trainer.device)
            return without_times(fit(trainer))

    assert rows() == rows()
