"""A layer from a folder outside the repository is trained, compared, drawn and checked by its protocol alone."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main
from dynfilt import experiment
from dynfilt.config.compose import Job

LAYERS = """\
import torch
from torch import nn

class Gated(nn.Module):
    choice_names = ("output gate",)

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, bias):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.gate = nn.Linear(in_channels, out_channels)

    def choice(self, x):
        return 2 * self.gate(x.mean((2, 3))).sigmoid()

    def apply_choice(self, x, choice):
        return self.conv(x) * choice[:, :, None, None]

    def filters(self, x, choice=None):
        return (self.choice(x) if choice is None else choice)[:, :, None, None, None] * self.conv.weight

    def forward(self, x):
        return self.apply_choice(x, self.choice(x))

class OfTheBatch(Gated):
    def choice(self, x):
        return super().choice(x).mean(0, keepdim=True)

class Static(nn.Conv2d):
    pass
"""
SMOKE = ("data=cifar10_sample", "trainer=smoke", "trainer.max_steps=2", "trainer.device=cpu", "tracking=off")
MODEL = ("model=resnet8", "model.stem=stride2", "model.width=0.25", "study=strange")


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compose: Callable[..., list[Job]]) -> Callable[..., str]:
    """train("Gated") is the folder of a run of resnet8 with that layer of the stranger's."""
    (tmp_path / "strange_layers.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DYNFILT_TRUST", "strange_layers")
    monkeypatch.chdir(tmp_path)

    def run(layer: str, *words: str) -> str:
        known = set(Path("outputs").glob("*/*/seed0"))
        (job,) = compose(*MODEL, *SMOKE, f"model.conv._target_=strange_layers.{layer}", *words)
        experiment.run(job)
        (folder,) = set(Path("outputs").glob("*/*/seed0")) - known
        return str(folder)

    return run


@pytest.mark.slow
def test_it_is_trained_compared_drawn_and_checked(
    train: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    gated, static = train("Gated"), train("Static")
    assert main(["table", "outputs/strange", "--baseline", Path(static).parent.name]) == 0
    assert "strange_layers.Gated" in capsys.readouterr().out
    few = ["--images", "40", "--out", "drawn", "--device", "cpu"]
    assert main(["attention", gated, *few, "--train-images", "100"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"\| layer1\.0\.conv1 +\| output gate \|", printed) and "argmax" not in printed
    assert "mean over images" in printed and "shuffled across images" in printed
    assert main(["kernels", gated, "--device", "cpu", "--out", "drawn", "--layer", "layer3.0.conv1"]) == 0
    assert "64 of the filter's 128 kernels, evenly spread" in capsys.readouterr().out
    assert sorted(path.name for path in Path("drawn").rglob("*.png")) == [
        *("attention-checks.png", "attention-choices.png", "kernels-differences.png", "kernels.png")
    ]
    (written,) = Path("drawn").rglob("attention-choices.csv")
    rows = list(csv.DictReader(written.open()))
    assert len(rows) == 8 and all(float(row["input_share"]) > 0 for row in rows)


@pytest.mark.slow
def test_without_the_protocol_there_are_the_pictures_that_need_none_and_a_line_that_says_why(
    train: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("Static")
    capsys.readouterr()
    assert main(["filters", run, "--device", "cpu", "--out", "drawn"]) == 0
    assert main(["architecture", run, "--device", "cpu"]) == 0
    assert "Static" in capsys.readouterr().out and list(Path("drawn").rglob("filters.png"))
    for command, words in (
        ("attention", "networks with a dynamic layer, one that has the methods of dynfilt/layers/choice.py"),
        ("kernels", "networks with a layer that gives each image's whole filter"),
    ):
        assert main([command, run, "--device", "cpu", "--out", "drawn"]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


@pytest.mark.slow
def test_a_choice_of_the_wrong_shape_is_one_clear_line(
    train: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("OfTheBatch", "trainer.check_layer=false")
    for command in ("attention", "kernels"):
        capsys.readouterr()
        assert main([command, run, "--device", "cpu"]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err == (
            f"error: {run}: layer layer1.0.conv1: OfTheBatch: choice(x) has the shape (1, 4) for 2 images; "
            "the batch must be first\n"
        )
