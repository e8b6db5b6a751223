"""The training loop: what a step does, when it evaluates, keeps a checkpoint and stops, and what its rows say."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.attention import get_temperature
from dynfilt.schedules import Cosine, Linear
from dynfilt.train import trainer as trainer_module
from dynfilt.train.evaluation import Evaluation, Stopped
from dynfilt.train.trainer import Trainer
from tests.tiny_run import TinyNet
from tests.train.conftest import fit


def test_one_step_of_sgd_is_minus_lr_times_the_gradient(make_trainer: Callable[..., Trainer]) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)).double()
    trainer = make_trainer(model=net.float(), optimizer=lambda p: torch.optim.SGD(p, lr=0.5), schedule=lambda _: 0.2)
    images, labels = trainer.batches.batch(0)
    weight = net[1].weight.detach().double()
    x = images.double().flatten(1)
    shares = (x @ weight.T + net[1].bias.detach().double()).softmax(1)
    gradient = (shares - F.one_hot(labels, 4)).T @ x / len(labels)
    trainer.train_step()
    torch.testing.assert_close(net[1].weight.detach().double(), weight - 0.5 * 0.2 * gradient, rtol=1e-5, atol=1e-7)


def test_gradients_are_clipped_to_a_norm(make_trainer: Callable[..., Trainer]) -> None:
    def moved(clip: float | None) -> float:
        trainer = make_trainer(clip_gradient_norm=clip, optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
        before = [p.detach().clone() for p in trainer.model.parameters()]
        trainer.train_step()
        after = trainer.model.parameters()
        return float(torch.sqrt(sum(((a - b).detach() ** 2).sum() for a, b in zip(after, before, strict=True))))

    free = moved(None)
    assert moved(free / 3) == pytest.approx(free / 3, rel=1e-4)
    assert moved(free * 3) == pytest.approx(free, rel=1e-6)


def test_any_buffer_follows_its_schedule(make_trainer: Callable[..., Trainer]) -> None:
    network = TinyNet(num_classes=4, dropout=0.2)
    for layer in (network.dynamic, network.fc):
        layer.register_buffer("blend", torch.tensor(-1.0))
    trainer = make_trainer(model=network, epochs=2, buffers={"blend": lambda progress: 1 - progress.step / 8})
    seen = []
    rows, _ = fit(trainer, lambda step: seen.append((network.dynamic.blend.item(), network.fc.blend.item())))
    assert seen == [(1 - step / 8,) * 2 for step in range(8)]
    assert [row["buffers.blend"] for row in rows] == [1 - 3 / 8, 1 - 7 / 8]
    with pytest.raises(
        ValueError, match="no layer has a buffer 'blnd' to anneal; single numbers here: blend, temperature"
    ):
        make_trainer(model=network, buffers={"blnd": Cosine(0.0)})


def test_learning_rate_and_temperature_follow_their_schedules(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(epochs=3, schedule=Cosine(0.0), temperature=Linear(30.0, 1.0, epochs=2))
    seen = []

    def watch(step: int) -> None:
        seen.append((trainer.optimizer.param_groups[0]["lr"], get_temperature(trainer.model)))

    rows, _ = fit(trainer, watch)
    lrs = [
        0.01 * (1 + torch.cos(torch.tensor(torch.pi * step / 12, dtype=torch.float64)).item()) / 2 for step in range(12)
    ]
    temperatures = [30 - 29 * min(1, step / 8) for step in range(12)]
    assert [lr for lr, _ in seen] == pytest.approx(lrs)
    assert [temperature for _, temperature in seen] == pytest.approx(temperatures)
    assert [(row["lr"], row["temperature"]) for row in rows] == [seen[3], seen[7], seen[11]]


def test_an_evaluation_that_was_interrupted_tells_the_same_when_it_is_begun_again(
    make_trainer: Callable[..., Trainer],
) -> None:
    schedules = {"schedule": Cosine(0.0), "temperature": Linear(30.0, 1.0, epochs=2)}
    states: list[dict[str, Any]] = []
    stopped = make_trainer(**schedules)
    with pytest.raises(Stopped):
        stopped.fit(
            lambda row, _: None, lambda: states.append(stopped.state_dict()), lambda _: None, lambda: stopped.step == 4
        )
    assert states[-1]["evaluation_due"]
    resumed = make_trainer(**schedules)
    resumed.load_state_dict(states[-1])
    told = [{key: row[key] for key in row if "second" not in key} for row in fit(resumed)[0]]
    assert told == [{key: row[key] for key in row if "second" not in key} for row in fit(make_trainer(**schedules))[0]]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"epochs": 3}, [4, 8, 12]),
        ({"epochs": 2, "evaluate_every_epochs": 0.5}, [2, 4, 6, 8]),
        ({"epochs": 2, "evaluate_every_epochs": 5}, [8]),
        ({"epochs": 3, "evaluate_every_epochs": 1 / 3}, [2, 3, 4, 6, 7, 8, 10, 11, 12]),
        ({"epochs": 2, "evaluate_every_epochs": 0.01}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"epochs": 2, "evaluate_every_steps": 3}, [3, 6, 8]),
        ({"epochs": 1.5}, [4, 6]),
        ({"epochs": 0.01}, [1]),
        ({"epochs": 5, "max_steps": 6}, [4, 6]),
        ({"epochs": 1, "max_steps": 6}, [4]),
    ],
)
def test_it_evaluates_when_it_should_and_after_the_last_step(
    changes: dict[str, Any], steps: list[int], make_trainer: Callable[..., Trainer]
) -> None:
    rows, _ = fit(make_trainer(**changes))
    assert [row["step"] for row in rows] == steps
    # Four batches an epoch, the last one of 12 images instead of 16.
    assert [row["epoch"] for row in rows] == [step // 4 + step % 4 * 16 / 60 for step in steps]


@pytest.mark.parametrize(
    ("steps_per_epoch", "every", "steps"),
    [
        (29, 0.5, [15, 29, 44, 58, 73, 87]),
        (10, 0.7, [7, 14, 21, 28, 30]),
        (704, 1.0, [704, 1408, 2112]),  # CIFAR-10 by 64, as ever
        (704, 0.5, list(range(352, 2113, 352))),
        (704, 2.0, [1408, 2112]),
    ],
)
def test_evaluations_of_a_part_of_an_epoch_do_not_drift(
    steps_per_epoch: int, every: float, steps: list[int], make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer(epochs=3, evaluate_every_epochs=every)
    trainer.batches.steps_per_epoch = steps_per_epoch
    told: list[int] = []

    def step() -> None:
        assert trainer.evaluations_so_far == len(told)
        trainer.step += 1

    def evaluate(stop: object) -> tuple[dict[str, Any], bool]:
        assert trainer.evaluations_so_far == len(told)
        told.append(trainer.step)
        return {}, False

    trainer.train_step, trainer._evaluate = step, evaluate  # type: ignore[method-assign]
    fit(trainer)
    assert told == steps
    assert trainer.evaluations_so_far == len(told)


def test_a_row_covers_the_images_since_the_row_before(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(epochs=2, evaluate_every_steps=3, max_steps=7)
    seen: list[tuple[Tensor, Tensor]] = []
    step = trainer.step_function

    def watch(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss, scores = step(images, labels)
        seen.append((scores, labels))
        return loss, scores

    trainer.step_function = watch  # type: ignore[method-assign]
    rows, _ = fit(trainer)
    for row, batches in zip(rows, (seen[0:3], seen[3:6], seen[6:7]), strict=True):
        scores = torch.cat([scores for scores, _ in batches]).double()
        labels = torch.cat([labels for _, labels in batches])
        assert row["train_loss"] == pytest.approx(F.cross_entropy(scores, labels).item(), rel=1e-6)
        assert row["train_accuracy"] == (scores.argmax(1) == labels).double().mean().item()
    assert [len(labels) for _, labels in seen] == [16, 16, 16, 12, 16, 16, 16]
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert rows[1]["images_per_second"] == pytest.approx((12 + 16 + 16) / (seconds[1] - seconds[0]))


@dataclass
class Scripted:
    """An evaluator whose accuracies are known beforehand."""

    accuracies: Any

    def evaluate(self, model: nn.Module, split: object, stop: object = None) -> Evaluation:
        return Evaluation(1.0, next(self.accuracies), *(torch.empty(0) for _ in range(4)))


@pytest.mark.parametrize(
    ("patience", "accuracies", "improvements", "best_epoch"),
    [
        (2, [0.3, 0.4, 0.4, 0.35], [True, True, False, False], 2),
        (1, [0.0, 0.0], [True, False], 1),
        (2, [0.3, 0.2, 0.4, 0.1, 0.1], [True, False, True, False, False], 3),
        (None, [0.5, 0.4, 0.3, 0.2, 0.1, 0.6], [True, False, False, False, False, True], 6),
    ],
)
def test_it_stops_when_patience_runs_out(
    patience: int | None,
    accuracies: list[float],
    improvements: list[bool],
    best_epoch: float,
    make_trainer: Callable[..., Trainer],
) -> None:
    trainer = make_trainer(epochs=6, patience=patience)
    trainer.evaluator = Scripted(itertools.chain(accuracies, itertools.repeat(9.0)))  # type: ignore[assignment]
    rows, found = fit(trainer)
    assert [row["val_accuracy"] for row in rows] == accuracies
    assert found == improvements
    assert trainer.best_epoch == best_epoch
    assert trainer.finished


def test_checkpoints_come_between_evaluations_when_their_time_has_come(
    make_trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "STEPS_BETWEEN_LOSS_CHECKS", 1)
    for seconds, wanted in ((1e-9, [1, 2, 3, 5, 6, 7]), (1e9, [])):
        trainer = make_trainer(epochs=2, checkpoint_every_seconds=seconds)
        kept: list[int] = []
        trainer.fit(
            lambda row, improved: None, lambda trainer=trainer, kept=kept: kept.append(trainer.step), lambda _: None
        )
        assert kept == wanted


class Exploding(nn.Module):
    """Gives NaN from its n-th training batch on."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.left = batch

    def forward(self, x: Tensor) -> Tensor:
        self.left -= self.training
        return self.fc(x.mean(dim=(2, 3))) * (float("nan") if self.training and self.left < 0 else 1.0)


def test_a_bad_training_loss_stops_the_run_naming_the_step(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(model=Exploding(batch=6), epochs=5, checkpoint_every_seconds=1e-9)
    events: list[int] = []
    with pytest.raises(FloatingPointError, match=r"the training loss is not finite at step 6 \(counted from 0\)"):
        trainer.fit(lambda *_: events.append(trainer.step), lambda: events.append(trainer.step), lambda _: None)
    assert events == [4]  # nothing is evaluated or kept after the bad step


def test_a_bad_evaluation_loss_stops_the_run_naming_the_step(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(epochs=5)
    with torch.no_grad():
        trainer.model.norm.running_mean.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the evaluation loss is nan after step 4"):
        fit(trainer)


def test_a_bad_loss_is_noticed_soon_where_evaluations_are_rare(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(model=Exploding(batch=6), epochs=100, evaluate_every_epochs=100)
    with pytest.raises(FloatingPointError, match="at step 6"):
        fit(trainer)
    assert trainer.step <= 50


def test_under_autocast_the_weights_stay_float32(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(precision="bfloat16", epochs=1)
    dtypes: set[torch.dtype] = set()
    trainer.model.fc.register_forward_hook(lambda layer, x, y: dtypes.add(y.dtype))
    [row], _ = fit(trainer)
    assert dtypes == {torch.bfloat16}  # in training and in evaluation
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    [exact], _ = fit(make_trainer(epochs=1))
    assert row["train_loss"] == pytest.approx(exact["train_loss"], rel=0.05)
    assert row["train_loss"] != exact["train_loss"]


def test_a_batch_larger_than_the_data_is_refused(make_trainer: Callable[..., Trainer]) -> None:
    with pytest.raises(ValueError, match=r"trainer\.batch_size must be between 1 and 60.*got 61"):
        make_trainer(batch_size=61)
