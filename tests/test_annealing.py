"""The temperature of a network in a loop of one's own."""

import pytest
import torch
from torch import nn

from dynfilt.annealing import anneal
from dynfilt.layers import DYConv2d, get_temperature


def test_it_goes_in_a_straight_line_and_stays() -> None:
    network = nn.Sequential(DYConv2d(3, 4, 1), nn.Sequential(DYConv2d(4, 4, 1)))
    for step, expected in ((0, 30.0), (5, 15.5), (10, 1.0), (11, 1.0), (10**6, 1.0)):
        assert anneal(network, step, steps=10, initial=30.0, final=1.0) == pytest.approx(expected)
        assert get_temperature(network) == pytest.approx(expected)


def test_it_reaches_any_layer_that_has_the_buffer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    network[0].register_buffer("blend", torch.tensor(0.0))
    anneal(network, 3, steps=4, initial=1.0, final=0.2, buffer="blend")
    assert network[0].blend.item() == pytest.approx(0.4)
    with pytest.raises(ValueError, match="no layer has a buffer 'temperature' to anneal; single numbers here: blend"):
        anneal(network, 3, steps=4, initial=1.0, final=0.2)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"initial": 0.0}, {"final": -1.0}])
def test_numbers_that_are_not_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be > 0"):
        anneal(DYConv2d(3, 4, 1), 0, **{"steps": 5, "initial": 30.0, "final": 1.0, **wrong})


@pytest.mark.parametrize(("step", "steps"), [(-1, 5), (0, 0)])
def test_numbers_of_steps_are_refused_by_their_own_names(step: int, steps: int) -> None:
    network = DYConv2d(3, 4, 1)
    with pytest.raises(ValueError, match=f"step={step}, steps={steps}: "):
        anneal(network, step, steps=steps, initial=30.0, final=1.0)
    assert get_temperature(network) == 30


def test_an_average_of_weights_has_an_average_temperature_until_it_is_annealed_too() -> None:
    network = DYConv2d(3, 4, 1)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
    )
    for step in range(10):
        anneal(network, step, steps=10, initial=30.0, final=1.0)
        average.update_parameters(network)
    assert get_temperature(average) > 2 * get_temperature(network)
    anneal(average, 10, steps=10, initial=30.0, final=1.0)
    assert get_temperature(average) == 1.0
