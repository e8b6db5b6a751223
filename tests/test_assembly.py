"""A trainer put together from a config: which parameters weight decay falls on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dynfilt.assembly import build_trainer
from dynfilt.config.compose import Job

RATE, DECAY = 0.1, 0.5
WORDS = (
    *("model=resnet8", "model/conv=dyconv", "model.stem=stride2", "data=cifar10_sample", "optimizer=sgd"),
    *(f"optimizer.lr={RATE}", "optimizer.momentum=0", f"optimizer.weight_decay={DECAY}", "trainer.batch_size=8"),
)
Compose = Callable[..., list[Job]]


def parameters_after_a_step(compose: Compose, *changes: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Before and after."""
    [job] = compose(*WORDS, *changes)
    trainer = build_trainer(job.config, torch.device("cpu"))
    before = {name: each.detach().clone() for name, each in trainer.model.named_parameters()}
    trainer.train_step()
    return before, dict(trainer.model.named_parameters())


@pytest.mark.slow
def test_what_decides_is_decayed_or_not(compose: Compose) -> None:
    before, decayed = parameters_after_a_step(compose)
    _, spared = parameters_after_a_step(compose, "trainer.decay_choice=false")
    attention = {name for name in before if ".attention." in name}
    assert len(attention) == 3 * 8
    for name, start in before.items():
        expected = RATE * DECAY * start if name in attention else torch.zeros_like(start)
        torch.testing.assert_close(spared[name] - decayed[name], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_a_static_network_trains_the_same_either_way(compose: Compose) -> None:
    either: list[Any] = [
        parameters_after_a_step(compose, "model/conv=static", f"trainer.decay_choice={value}")[1]
        for value in ("true", "false")
    ]
    assert all(torch.equal(a, b) for a, b in zip(*(each.values() for each in either), strict=True))


def test_an_optimizer_without_weight_decay_has_none_to_leave_out(compose: Compose) -> None:
    [job] = compose(*WORDS[:5], "trainer.decay_choice=false")
    config = {**job.config, "optimizer": {"_target_": "torch.optim.Rprop", "_partial_": True, "lr": RATE}}
    with pytest.raises(ValueError, match="decay_choice=false: Rprop has no weight decay to leave out"):
        build_trainer(config, torch.device("cpu"))
