"""Entropy and means of attention, against distributions whose answer is known."""

import math
from collections.abc import Callable

import pytest
import scipy
import torch
from torch import Tensor

from analysis.filters.choices import (
    NUMBERS,
    Attention,
    Choice,
    attentions_of,
    choice_sheet,
    choices_of,
    class_means,
    class_sheet,
    entropy,
    layer_sheet,
)
from dynfilt.layers.choice import FILTER, KERNEL_ATTENTION


def test_entropy_is_a_part_of_log_k(noise: Callable[..., Tensor]) -> None:
    known = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    torch.testing.assert_close(entropy(known), torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64))
    shares = noise(20, 5).softmax(1)
    expected = scipy.stats.entropy(shares.double().numpy(), axis=1, base=5)
    assert entropy(shares).tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert entropy(torch.ones(3, 1)).tolist() == [0, 0, 0]


def test_sigmoid_attention_is_divided_by_its_sum() -> None:
    choice = Attention("layer", torch.tensor([[0.9, 0.9], [0.2, 0.2]]), 1.0)
    assert choice.entropies.tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(("pi", "told"), [(torch.eye(4).repeat(3, 1), 1.0), (torch.full((12, 4), 0.25), 0.0)])
def test_what_the_image_tells(pi: Tensor, told: float) -> None:
    labels = torch.arange(12) % 4
    sheet = layer_sheet([Attention("layer", pi, 1.0)], labels)
    row = {column.key: column.values[column.key](sheet.entries[0]) for column in sheet.columns}
    assert row["information"] == pytest.approx(told) and row["entropy"] == pytest.approx(1 - told)
    # Every class has its own kernel, or there is nothing to explain.
    assert row["class_share"] == pytest.approx(1) if told else math.isnan(row["class_share"])


def test_means_of_classes(noise: Callable[..., Tensor]) -> None:
    pi, labels = noise(6, 2).softmax(1), torch.tensor([0, 2, 2, 0, 0, 2])
    found = class_means(pi, labels, 3)
    torch.testing.assert_close(found[2], (pi[1] + pi[2] + pi[5]) / 3)
    assert found[1].isnan().all()
    rows = class_sheet([Attention("layer", pi, 1.0)], labels, ("a", "b", "c")).entries
    assert [row[:3] for row in rows[:2]] == [("layer", "a", 0), ("layer", "a", 1)]
    assert rows[4][3] == pytest.approx(found[2, 0].item())


@pytest.mark.slow
def test_a_choice_is_recorded_in_the_splits_order_though_its_batches_are_mixed(opened: Callable) -> None:
    run = opened("published_bug_3x3")
    split = run.data.test.subset(torch.arange(0, 500, 5))
    (found,) = choices_of(run, split)
    assert (found.layer, found.name, found.size) == ("filter", FILTER, 576) and found.values.shape == (100, NUMBERS)
    every = torch.linspace(0, 575, NUMBERS, dtype=torch.float64).round().long()
    for positions, images, _ in run.batches(split):
        filters = run.model.filter.filters(run.model.backbone(images)).detach().flatten(1)
        torch.testing.assert_close(found.values[positions], filters[:, every])


def test_how_much_of_a_choice_the_image_decides(noise: Callable[..., Tensor]) -> None:
    of_class, labels = noise(3, 6), torch.arange(30) % 3
    table = choice_sheet(
        [Choice("a", "gate", 6, of_class[labels]), Choice("b", "gate", 6, of_class[:1].expand(30, 6))], labels
    )
    found = [{column.key: column.values[column.key](row) for column in table.columns} for row in table.entries]
    centred = of_class - of_class.mean(0)
    assert found[0]["input_share"] == pytest.approx((centred.square().sum() / of_class.square().sum()).item(), rel=1e-5)
    assert found[0]["class_share"] == pytest.approx(1) and found[0]["numbers"] == 6
    assert found[1]["input_share"] == 0 and math.isnan(found[1]["class_share"])


@pytest.mark.slow
def test_the_attention_of_a_run_is_the_layers_own(opened: Callable) -> None:
    run = opened("dyconv_resnet18")
    split = run.data.test.subset(torch.arange(0, 500, 40))
    caught = []
    first = run.model.layer1[0].conv1
    hook = first.register_forward_pre_hook(lambda layer, arguments: caught.append(arguments[0]))
    choices = choices_of(run, split)
    hook.remove()
    assert [(choice.layer, choice.name, choice.size) for choice in choices] == [
        ("layer1.0.conv1", KERNEL_ATTENTION, 4),
        ("layer1.0.conv2", KERNEL_ATTENTION, 4),
    ]
    found = attentions_of(run, choices)
    assert [choice.layer for choice in found] == ["layer1.0.conv1", "layer1.0.conv2"]
    torch.testing.assert_close(found[0].pi, first.choice(torch.cat(caught)).detach())
    assert found[0].temperature == first.temperature.item()
