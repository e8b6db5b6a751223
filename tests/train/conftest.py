"""Trainers of a tiny network, built without configs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dynfilt.schedules import Constant
from dynfilt.train.settings import TrainerSettings
from dynfilt.train.trainer import Trainer
from tests.tiny_run import TinyNet, tiny_data

DEFAULTS = Path(__file__).parents[2] / "conf" / "trainer" / "default.yaml"
CHANGES = {"epochs": 2, "batch_size": 16, "eval_batch_size": 7, "device": "cpu", "checkpoint_every_seconds": 1000.0}
Rows = list[dict[str, Any]]


@pytest.fixture
def settings() -> Callable[..., TrainerSettings]:
    """settings(epochs=3) are the settings of a tiny run but for what is named."""
    defaults = yaml.safe_load(DEFAULTS.read_text())
    defaults.pop("_target_")
    return lambda **changes: TrainerSettings(**{**defaults, **CHANGES, **changes})


@pytest.fixture
def make_trainer(settings: Callable[..., TrainerSettings]) -> Callable[..., Trainer]:
    """make_trainer(epochs=3, seed=1): 60 augmented images in batches of 16, 16, 16 and 12."""

    def make(
        *,
        seed: int = 0,
        schedule: Callable = Constant(1.0),  # noqa: B008
        temperature: Callable = Constant(2.0),  # noqa: B008
        buffers: dict[str, Callable] | None = None,
        optimizer: Callable = lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        model: torch.nn.Module | None = None,
        device: str = "cpu",
        **changes: Any,
    ) -> Trainer:
        torch.manual_seed(seed)
        model = (TinyNet(num_classes=4, dropout=0.2) if model is None else model).to(device)
        return Trainer(
            model=model,
            data=tiny_data(num_classes=4, split_seed=0, flip=True, pad=2).to(torch.device(device)),
            optimizer=optimizer(model.parameters()),
            schedule=schedule,
            temperature=temperature,
            buffers=buffers or {},
            settings=settings(**changes),
            device=torch.device(device),
            seed=seed,
        )

    return make


def fit(trainer: Trainer, on_step: Callable[[int], None] = lambda step: None) -> tuple[Rows, list[bool]]:
    rows: Rows = []
    improvements: list[bool] = []

    def on_evaluation(row: dict[str, Any], improved: bool) -> None:
        rows.append(row)
        improvements.append(improved)

    trainer.fit(on_evaluation, lambda: None, on_step)
    return rows, improvements
