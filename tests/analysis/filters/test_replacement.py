"""Replaced attention and filters: what the layers then compute, and what the shuffles keep."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.filters.replacement import argmax, require_sound_layers, shuffled_across, shuffled_within
from dynfilt.layers.choice import FILTER, KERNEL_ATTENTION, dynamic_layers, replaced
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.generated import GeneratedConv2d, SharedConv2d

Noise = Callable[..., Tensor]


def to_each(change: Callable[[Tensor], Tensor]) -> Callable[[str, str, Tensor], Tensor]:
    return lambda layer, name, choice: change(choice)


@pytest.fixture
def dyconv() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        DYConv2d(4, 6, 3, padding=1, bias=False, num_kernels=3, temperature=0.05),
        DYConv2d(6, 2, 1, num_kernels=1),
    )


@pytest.fixture
def generated() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(GeneratedConv2d(4, 2, 3, 1, 4 * 5 * 5, "per_image", "full"), SharedConv2d(2, 1, 3, 1))


def test_layers_with_a_choice_are_found(dyconv: nn.Sequential, generated: nn.Sequential) -> None:
    assert list(dynamic_layers(nn.ModuleList([dyconv, generated]))) == ["0.0", "1.0"]


def test_a_layer_that_runs_twice_has_no_one_choice(by_hand: Callable, noise: Noise) -> None:
    first, again = nn.Conv2d(3, 4, 3), DYConv2d(4, 4, 1)
    rest = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    images, labels = noise(10, 3, 8, 8).mul(50).to(torch.uint8), torch.arange(10) % 2
    require_sound_layers(by_hand(nn.Sequential(first, again, *rest), images, labels))
    with pytest.raises(ValueError, match="layer 1: runs more than once"):
        require_sound_layers(by_hand(nn.Sequential(first, again, again, *rest), images, labels))
    assert not again._forward_pre_hooks


def test_recording_changes_nothing_and_ends(dyconv: nn.Sequential, noise: Noise) -> None:
    x = noise(5, 4, 5, 5)
    before = dyconv(x)
    seen = []

    def record(layer: str, name: str, choice: Tensor) -> Tensor:
        seen.append((layer, name, choice))
        return choice

    with replaced(dyconv, record):
        assert torch.equal(dyconv(x), before)
        dyconv(x[:2])
    dyconv(x)
    pi = dyconv[0].choice(x)
    assert [each[:2] for each in seen] == [("0", KERNEL_ATTENTION)] * 2
    assert torch.equal(torch.cat([choice for *_, choice in seen]), torch.cat([pi, pi[:2]]))


def test_the_mean_attention_is_one_ordinary_convolution(dyconv: nn.Sequential, noise: Noise) -> None:
    x, mean = noise(5, 4, 5, 5), torch.tensor([0.2, 0.5, 0.3])
    kernel = sum(share * weight for share, weight in zip(mean.tolist(), dyconv[0].weight, strict=True))
    with replaced(dyconv, to_each(lambda pi: mean.expand_as(pi))):
        found = dyconv(x)
    torch.testing.assert_close(found, dyconv[1](F.conv2d(x, kernel, padding=1)))
    assert not torch.allclose(dyconv(x), found)


def test_argmax_leaves_each_image_one_kernel(dyconv: nn.Sequential, noise: Noise) -> None:
    x = 3 * noise(40, 4, 2, 2)
    chosen = dyconv[0].choice(x).argmax(1).tolist()
    assert len(set(chosen)) > 1
    with replaced(dyconv, to_each(argmax)):
        found = dyconv(x)
    for image, kernel, output in zip(x, chosen, found, strict=True):
        alone = dyconv[1](F.conv2d(image[None], dyconv[0].weight[kernel], padding=1))[0]
        torch.testing.assert_close(output, alone)


def test_argmax_keeps_the_sum_of_sigmoid_attention() -> None:
    pi = torch.tensor([[0.2, 0.9, 0.4], [0.7, 0.1, 0.1]])
    torch.testing.assert_close(argmax(pi), torch.tensor([[0.0, 1.5, 0.0], [0.9, 0.0, 0.0]]))


def test_a_shuffle_within_an_image_keeps_its_numbers_and_moves_them_evenly(noise: Noise) -> None:
    pi = noise(6000, 3).softmax(1)
    found = shuffled_within(torch.Generator().manual_seed(0))(pi)
    assert torch.equal(found.sort(1).values, pi.sort(1).values)
    came_from = (found[:, :, None] == pi[:, None, :]).float().mean(0)
    torch.testing.assert_close(came_from, torch.full((3, 3), 1 / 3), atol=0.03, rtol=0)


def test_a_shuffle_across_images_keeps_whole_choices_and_leaves_nobody_his_own(noise: Noise) -> None:
    choice = noise(7, 2, 3, 3, 3)
    found = shuffled_across(choice)
    assert sorted(map(str, found.tolist())) == sorted(map(str, choice.tolist()))
    assert not any(torch.equal(a, b) for a, b in zip(found, choice, strict=True))


def test_a_mean_filter_is_one_ordinary_convolution(generated: nn.Sequential, noise: Noise) -> None:
    x, mean = noise(5, 4, 5, 5), noise(2, 4, 3, 3)
    with replaced(generated, to_each(lambda filters: mean.expand_as(filters))):
        found = generated(x)
    torch.testing.assert_close(found, generated[1](F.conv2d(x, mean, padding=1)))
    assert not torch.allclose(generated(x), found)


def test_filters_shuffled_across_images_belong_to_the_image_before(generated: nn.Sequential, noise: Noise) -> None:
    x = noise(4, 4, 5, 5)
    filters = generated[0].filters(x)
    with replaced(generated, to_each(shuffled_across)):
        found = generated(x)
    for i in range(4):
        torch.testing.assert_close(found[i], generated[1](F.conv2d(x[i][None], filters[i - 1], padding=1))[0])


class Gates(nn.Module):
    """A stranger's layer, whose forward is code of its own: one gate on the inputs, one on the outputs."""

    choice_names = ("input gate", FILTER)

    def choice(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((2, 3)), x.amax((2, 3))

    def apply_choice(self, x: Tensor, choice: tuple[Tensor, Tensor]) -> Tensor:
        return x * choice[0][:, :, None, None] + choice[1][:, :, None, None]

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True) + x.amax((2, 3), keepdim=True)


def test_one_tensor_of_a_strangers_choice_is_replaced_though_its_forward_never_asks_for_it(noise: Noise) -> None:
    network, x = nn.Sequential(nn.Identity(), Gates()), noise(4, 3, 5, 5)
    with replaced(network, lambda layer, name, choice: choice.roll(1, 0) if name == FILTER else choice):
        found = network(x)
    first, second = network[1].choice(x)
    assert torch.equal(found, network[1].apply_choice(x, (first, second.roll(1, 0))))
    torch.testing.assert_close(network(x), network[1].apply_choice(x, (first, second)))


def test_hooks_go_away_after_an_error(dyconv: nn.Sequential, noise: Noise) -> None:
    x = noise(2, 4, 5, 5)
    before = dyconv(x)
    with pytest.raises(RuntimeError), replaced(dyconv, to_each(argmax)):
        raise RuntimeError
    assert torch.equal(dyconv(x), before)
