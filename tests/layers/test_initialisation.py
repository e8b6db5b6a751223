"""How kernels start: one rule for one kernel, and a mixture that is as large as one of its kernels."""

import pytest
import torch
from torch import Tensor, nn

from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.initialisation import as_conv2d_does, draw_kernels, rescale_mixture, reset_bias


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


class WithBank(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))


def count_calls(layer: nn.Module) -> tuple[bool, list[tuple[int, ...]]]:
    shapes: list[tuple[int, ...]] = []

    def draw(kernel: Tensor) -> None:
        shapes.append(tuple(kernel.shape))
        kernel.fill_(len(shapes))

    return draw_kernels(layer, draw), shapes


def test_each_kernel_is_drawn_once() -> None:
    static, bank = nn.Conv2d(4, 6, 3), WithBank(3, 6, 4, 1, 2)
    assert count_calls(static) == (True, [(6, 4, 3, 3)])
    assert count_calls(bank) == (True, [(6, 4, 1, 2)] * 3)
    assert static.weight.eq(1).all()
    assert [kernel.unique().item() for kernel in bank.weight] == [1, 2, 3]
    for without in (nn.Linear(3, 4), nn.ReLU(), nn.Sequential(nn.Conv2d(3, 4, 1))):
        assert count_calls(without) == (False, [])


def test_a_static_kernel_and_bias_are_conv2ds() -> None:
    theirs = nn.Conv2d(6, 4, 3, groups=2)
    weight, bias = torch.empty(4, 3, 3, 3), torch.empty(4)
    torch.manual_seed(0)
    as_conv2d_does(weight)
    reset_bias(bias, weight.shape)
    assert torch.equal(weight, theirs.weight) and torch.equal(bias, theirs.bias)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_mixture_is_as_large_as_one_kernel_whether_they_differ_or_not(share: float) -> None:
    different, alike = torch.randn(4, 8, 8, 3, 3), torch.randn(1, 8, 8, 3, 3).repeat(4, 1, 1, 1, 1)
    for kernels in (different, alike):
        before = kernels.clone()
        rescale_mixture(kernels, share)
        size = before.square().mean().sqrt()
        torch.testing.assert_close((share * kernels.sum(0)).square().mean().sqrt(), size)
    torch.testing.assert_close(share * alike.sum(0), before[0])
    nothing = torch.zeros(4, 8)
    rescale_mixture(nothing, share)
    assert not nothing.any()


def test_a_corrected_bank_started_from_one_kernel_computes_what_it_does() -> None:
    static = nn.Conv2d(4, 8, 3, bias=False)
    x = torch.randn(2, 4, 6, 6)
    for attention in ("softmax", "sigmoid"):
        layer = DYConv2d(4, 8, 3, bias=False, attention=attention, temperature=1e4, initial_scale="corrected")
        draw_kernels(layer, lambda kernel: kernel.copy_(static.weight))
        torch.testing.assert_close(layer(x), static(x), rtol=1e-3, atol=1e-4)
    published = DYConv2d(64, 64, 3, num_kernels=4)
    draw_kernels(published, as_conv2d_does)
    one, mixed = published.weight[0].std().item(), published.weight.mean(0).std().item()
    assert mixed / one == pytest.approx(0.5, rel=0.02)
