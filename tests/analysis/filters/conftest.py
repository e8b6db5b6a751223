"""Tiny trained runs, one of each kind of network, and networks made by hand in a run's place."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from analysis.__main__ import PROGRAM, parser
from analysis.drawing import style
from analysis.filters.trained import TrainedRun, open_runs
from dynfilt import experiment
from dynfilt.config.compose import Job
from dynfilt.data.bundle import ImageData, Split
from tests.conftest import ROOT

SMOKE = ("data=cifar10_sample", "trainer=smoke", "trainer.device=cpu", "tracking=off")
MODELS = {
    "dyconv_resnet18": ("model.stem=imagenet", "model.dynamic_layers=[layer1.0]", "trainer.batch_size=16"),
    "dynamic_3x3": ("trainer.max_steps=8",),
    "resnet8": ("model/conv=kernel_warehouse", "model.stem=stride2"),  # its layers share parameters
}
TRAINER = yaml.safe_load((ROOT / "conf" / "trainer" / "default.yaml").read_text())
Trained = Callable[[str], Path]
Opened = Callable[..., TrainedRun]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def coarse_pictures() -> Iterator[None]:
    before, style.PICTURE_STYLE["savefig.dpi"] = style.PICTURE_STYLE["savefig.dpi"], 50
    yield
    style.PICTURE_STYLE["savefig.dpi"] = before


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, compose: Callable[..., list[Job]]) -> Trained:
    """trained("static_3x3") is the folder of a smoke run of that model; not to be written to."""
    root = tmp_path_factory.mktemp("runs")
    folders: dict[str, Path] = {}

    def train(model: str) -> Path:
        if model not in folders:
            (job,) = compose(f"model={model}", *SMOKE, *MODELS.get(model, ()), f"output_root={root}", "study=small")
            experiment.run(job)
            (result,) = (root / "small").glob(f"{model},*/seed0/result.json")
            folders[model] = result.parent
        return folders[model]

    return train


@pytest.fixture
def options() -> Callable[..., argparse.Namespace]:
    """options("kernels", "RUN", ...) are the arguments of a command line."""
    return lambda command, *words: parser(command, PROGRAM).parse_args([command, *map(str, words)])


@pytest.fixture
def opened(trained: Trained, options: Callable[..., argparse.Namespace]) -> Opened:
    """opened("static_3x3") is that smoke run, opened."""
    return lambda model, *words: open_runs(options("architecture", trained(model), *words))[0]


@pytest.fixture
def by_hand(tmp_path: Path) -> Opened:
    """by_hand(model, images, labels) is a run that holds this network; all its splits are the same images."""

    def make(model: nn.Module, images: Tensor, labels: Tensor) -> TrainedRun:
        run = TrainedRun(tmp_path, "by hand", "network", 0, "best", None, torch.device("cpu"))
        split = Split(images, labels)
        names = tuple(f"class {i}" for i in range(int(labels.max()) + 1))
        run.model = model.eval()
        run.data = ImageData("by hand", split, split, split, names, (0.5,) * 3, (0.5,) * 3, False, 0)
        run.config = {"trainer": {**TRAINER, "batch_size": 8}}
        return run

    return make


@pytest.fixture
def noise() -> Callable[..., Tensor]:
    """noise(5, 3, 8, 8) are normally distributed numbers, the same every time."""
    return lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(0))
