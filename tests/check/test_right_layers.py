"""Right layers of somebody else's that a check is easily wrong about, and what they hide all the same."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from dynfilt.check.layer import CHEAP, check_layer
from dynfilt.check.subject import FLOAT32, FLOAT64, make_subject
from dynfilt.layers import DYConv2d

SHAPE = (6, 5, 5)


class Attention(nn.Module):
    """A bank of two kernels, mixed by `attend`, which turns logits (B, 2) into shares."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0) -> None:
        super().__init__()
        self.kernels = nn.ModuleList(nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding) for _ in "ab")
        self.logits = nn.Linear(in_channels, 2)

    def attend(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.attend(self.logits(x.mean((2, 3)))).to(x.dtype)
        outputs = torch.stack([kernel(x) for kernel in self.kernels], dim=1)
        return (outputs * shares[:, :, None, None, None]).sum(1)


class SoftmaxInFloat32(Attention):
    def attend(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits, 1, dtype=torch.float32)


class Float32(Attention):
    def attend(self, logits: Tensor) -> Tensor:
        return logits.float().softmax(1)


class FunctionalDropout(Attention):
    def attend(self, logits: Tensor) -> Tensor:
        return F.dropout(logits, 0.5, self.training).softmax(1)


class Lambda(Attention):
    def __init__(self, *sizes: int, **options: int) -> None:
        super().__init__(*sizes, **options)
        self.attend = lambda logits: logits.softmax(1)


class WeightNormed(Attention):
    def __init__(self, *sizes: int, **options: int) -> None:
        super().__init__(*sizes, **options)
        weight_norm(self.logits)


class NoParameters(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int = 0) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(kernel_size, 1, padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x) * x.mean((1, 2, 3), keepdim=True)


class CutInFloat32(Attention):
    def attend(self, logits: Tensor) -> Tensor:
        return logits.float().detach().softmax(1)


class OthersInFloat32(Attention):
    def attend(self, logits: Tensor) -> Tensor:
        return (logits - logits.mean(0)).float().softmax(1)


class Complex(Attention):
    def __init__(self, *sizes: int, **options: int) -> None:
        super().__init__(*sizes, **options)
        self.spectrum = nn.Parameter(torch.ones(3, dtype=torch.complex64))


RIGHT: list[Callable[..., nn.Module]] = [
    Attention,
    SoftmaxInFloat32,
    Float32,
    FunctionalDropout,
    Lambda,
    WeightNormed,
    NoParameters,
]


@pytest.mark.parametrize("layer", RIGHT)
def test_a_right_layer_passes_before_training(layer: Callable[..., nn.Module]) -> None:
    report = check_layer(layer, SHAPE, only=CHEAP)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (FunctionalDropout, "draws in training, so that evaluation is not compared with it"),
        (Lambda, "state dict and deep copy give the same output to 0; it cannot be pickled: "),
        (WeightNormed, "it cannot be pickled: "),
        (NoParameters, "no parameter trains"),
    ],
)
def test_what_is_not_compared_is_noted(layer: Callable[..., nn.Module], says: str) -> None:
    noted = [finding.words for finding in check_layer(layer, SHAPE, only=CHEAP).findings if finding.status == "note"]
    assert any(says in words for words in noted), noted


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (CutInFloat32, {"gradients": "logits.weight gets no gradient, though the output depends on it"}),
        (OthersInFloat32, {"own image": "an image's output depends on other images"}),
        (Complex, {"construction": "spectrum: is complex, which the check cannot take"}),
    ],
)
def test_what_is_wrong_is_found_all_the_same(layer: Callable[..., nn.Module], found: dict[str, Any]) -> None:
    failed = {
        finding.property: finding.words
        for finding in check_layer(layer, SHAPE, only=CHEAP).findings
        if finding.status == "FAIL"
    }
    for name, words in found.items():
        assert words in failed[name]


def test_the_rounding_is_that_of_the_least_precise_number() -> None:
    assert make_subject(DYConv2d, SHAPE, {}).rounding == FLOAT64
    assert make_subject(SoftmaxInFloat32, SHAPE, {}).rounding == FLOAT32
