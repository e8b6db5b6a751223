"""Static networks of equal cost: the widths that the sweeps declare are the nearest ones."""

import sys

import pytest
import yaml

from dynfilt.cost_twins import cost_twins, main
from tests.conftest import ROOT


@pytest.mark.slow
def test_the_twins_of_a_sweep_cost_what_it_says() -> None:
    network, static, large, expensive = cost_twins(
        ["model=resnet8", "model.stem=stride2", "model/conv=dyconv"], (3, 32, 32)
    )
    assert (network.parameters, static.parameters) == (309_466, 78_042)
    assert abs(large.parameters / network.parameters - 1) < 0.02
    # Of 16 channels one more or less is 12 % of the FLOPs; 17 are nearest.
    assert abs(expensive.flops / network.flops - 1) < 0.03
    of_warehouse = cost_twins(["model=resnet8", "model.stem=stride2", "model/conv=kernel_warehouse"], (3, 32, 32))
    assert of_warehouse[2].width == of_warehouse[3].width  # as many parameters, as many FLOPs
    # Neither 18 nor 20 channels have as many parameters as FDConv.
    fdconv, _, as_large, as_expensive = cost_twins(
        ["model=resnet8", "model.stem=stride2", "model/conv=fdconv"], (3, 32, 32)
    )
    assert abs(as_large.parameters / fdconv.parameters - 1) < 0.05
    assert abs(as_expensive.flops / fdconv.flops - 1) < 0.02
    variants = yaml.safe_load((ROOT / "sweeps" / "field_small.yaml").read_text())["hydra"]["sweeper"]["variants"]
    widths = [large.width, expensive.width, of_warehouse[2].width, as_large.width, as_expensive.width]
    assert [variant["model.width"] for variant in variants if "model.width" in variant] == widths


@pytest.mark.slow
def test_what_is_set_of_the_layer_is_left_out_of_its_static_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynfilt.cost_twins.measure_latency_ms", lambda *_: 1.0)
    monkeypatch.setattr("dynfilt.cost_twins._nearest_width", lambda *_: 1.0)
    words = ["model=resnet8", "model.stem=stride2", "model/conv=dyconv"]
    two, static, *_ = cost_twins([*words, "model.conv.num_kernels=2", "+model.conv.temperature=10"], (3, 32, 32))
    assert static.parameters == 78_042
    assert 78_042 < two.parameters < 309_466  # of four kernels


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=dynamic_3x3"], "has no conv and width to vary"),
        (["model=resnet8", "model/conv=dyncov"], "did you mean dyconv"),
        (["model=resnet8", "--image", "3,32"], "--image 3,32: must be channels, height and width"),
    ],
)
def test_a_wrong_command_is_one_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cost_twins", *words])
    assert main() == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
