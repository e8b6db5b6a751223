"""The formulation that a layer takes, as seen from outside."""

import pytest
import torch

from benchmarks.paths import describe_paths, record_paths
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.formulation import force_formulation
from dynfilt.layers.per_sample import conv2d_per_sample


@pytest.mark.parametrize("formulation", ["grouped", "chunked", "outputs", "inputs"])
def test_a_mixture_is_seen_once(formulation: str) -> None:
    layer, x = DYConv2d(4, 4, 3, padding=1), torch.randn(9, 4, 8, 8)
    with force_formulation(formulation), record_paths() as taken:
        layer(x)
        layer(x)
    assert describe_paths(taken) == f"{formulation} x 2"


@pytest.mark.parametrize("formulation", ["grouped", "taps"])
def test_a_filter_an_image_is_seen(formulation: str) -> None:
    with force_formulation(formulation), record_paths() as taken:
        conv2d_per_sample(torch.randn(2, 3, 8, 8), torch.randn(2, 1, 3, 3, 3), padding=1)
    assert describe_paths(taken) == formulation


def test_what_is_chosen_is_seen_and_nothing_after_the_block() -> None:
    with record_paths() as taken:
        conv2d_per_sample(torch.randn(2, 3, 8, 8), torch.randn(2, 1, 3, 3, 3), padding=1)
    conv2d_per_sample(torch.randn(2, 3, 8, 8), torch.randn(2, 9, 3, 3, 3), padding=1)
    assert describe_paths(taken) == "taps"


def test_ordinary_convolutions_are_no_formulation() -> None:
    with record_paths() as taken:
        torch.nn.Conv2d(3, 3, 3)(torch.randn(1, 3, 8, 8))
    assert describe_paths(taken) == "nn.Conv2d"
