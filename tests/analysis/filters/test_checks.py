"""The checks: which there are, the accuracies of networks whose answer is known, and the paired intervals."""

import json
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from analysis.filters import trained
from analysis.filters.checks import checks, score, sheet
from dynfilt.layers.choice import KERNEL_ATTENTION
from dynfilt.layers.dyconv import DYConv2d


class Brightness(nn.Module):
    """Two classes, dark and bright images, told apart by the attention alone: the features are constant."""

    def __init__(self, layer: type[DYConv2d] = DYConv2d) -> None:
        super().__init__()
        self.layer = layer(3, 2, 1, bias=False, num_kernels=2, temperature=1.0)
        with torch.no_grad():
            # Brightness b in 0..2 gives hidden units b and 0, logits 0 and 200 (b - 1).
            self.layer.attention.reduce.weight.copy_(torch.tensor([[1.0, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]])[:2])
            self.layer.attention.score.weight.copy_(torch.tensor([[0.0, 0.0], [200.0, 0.0]]))
            self.layer.attention.score.bias.copy_(torch.tensor([0.0, -300.0]))
            # Kernel 0 scores class 0, kernel 1 class 1.
            self.layer.weight.copy_(
                torch.tensor([[1.0, -1.0], [-1.0, 1.0]])[:, :, None, None, None].expand(2, 2, 3, 1, 1)
            )

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images + 1).mean((2, 3))


@pytest.fixture
def brightness(by_hand: Callable) -> Callable:
    labels = torch.arange(400) % 2
    images = (labels[:, None, None, None] * 150 + 50).to(torch.uint8).expand(400, 3, 2, 2).contiguous()
    return lambda: by_hand(Brightness(), images, labels)


def test_a_network_that_is_all_attention_fails_every_check_but_argmax(brightness: Callable) -> None:
    rows = {row.name: row for row in checks(brightness(), None, 100)}
    accuracy = {name: row.as_trained.accuracy for name, row in rows.items()}
    assert accuracy["untouched"] == accuracy["argmax"] == 1
    assert accuracy["mean over images"] == 0.5
    assert accuracy["shuffled across images"] == pytest.approx(0.5, abs=0.1)
    assert accuracy["shuffled within an image"] == pytest.approx(0.5, abs=0.1)
    assert all(row.reestimated is None for row in rows.values())


def test_constant_attention_passes_every_check(brightness: Callable) -> None:
    run = brightness()
    with torch.no_grad():
        run.model.layer.attention.score.weight.zero_()
        run.model.layer.attention.score.bias.zero_()
    names = ("mean over images", "shuffled within an image", "shuffled across images")
    rows = {row.name: row.as_trained for row in checks(run, None, 100)}
    assert [rows[name].difference for name in names] == [0, 0, 0]


@pytest.mark.parametrize("bright", range(3))
def test_an_image_alone_in_the_last_batch_gets_the_choice_of_another(
    by_hand: Callable, monkeypatch: pytest.MonkeyPatch, bright: int
) -> None:
    monkeypatch.setattr(trained, "BATCH_SIZE", 2)
    labels = (torch.arange(3) == bright).long()
    images = (labels[:, None, None, None] * 150 + 50).to(torch.uint8).expand(3, 3, 2, 2).contiguous()
    rows = {row.name: row.as_trained for row in checks(by_hand(Brightness(), images, labels), None, 100)}
    assert rows["untouched"].accuracy == 1 and rows["shuffled across images"].accuracy < 1


class GatedDYConv2d(DYConv2d):
    """Also multiplies by a number of the image, which changes no decision."""

    choice_names = (KERNEL_ATTENTION, "gate")

    def choice(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().choice(x), x.mean((1, 2, 3), keepdim=True)

    def apply_choice(self, x: Tensor, choice: tuple[Tensor, Tensor]) -> Tensor:
        return super().apply_choice(x, choice[0]) * choice[1]

    def forward(self, x: Tensor) -> Tensor:
        return self.apply_choice(x, self.choice(x))


def test_where_a_choice_has_parts_each_is_replaced_alone(brightness: Callable, by_hand: Callable) -> None:
    plain = brightness()
    rows = {row.name: row.as_trained for row in checks(plain, None, 100)}
    assert "mean kernel attention alone" not in rows  # its one part is the whole
    run = by_hand(Brightness(GatedDYConv2d), plain.data.test.images, plain.data.test.labels)
    rows = {row.name: row.as_trained for row in checks(run, None, 100)}
    assert rows["mean over images"].accuracy == rows["mean kernel attention alone"].accuracy == 0.5
    assert rows["mean gate alone"].accuracy == 1


def test_a_score_has_the_interval_of_the_paired_difference() -> None:
    untouched, correct = torch.tensor([1, 1, 1, 0, 0, 1, 1, 1]).bool(), torch.tensor([1, 0, 0, 1, 0, 1, 1, 0]).bool()
    found = score(correct, untouched)
    differences = [0, -1, -1, 1, 0, 0, 0, -1]
    mean = sum(differences) / 8
    variance = sum((d - mean) ** 2 for d in differences) / 7
    assert found.accuracy == 0.5 and found.difference == mean == -0.25
    assert found.margin == pytest.approx(1.96 * math.sqrt(variance / 8))


@pytest.mark.slow
def test_dynamic_filters_have_two_means_and_one_shuffle(opened: Callable) -> None:
    run = opened("dynamic_3x3")
    rows = checks(run, 60, 100)
    names = ["untouched", "mean over images", "mean, length kept", "shuffled across images"]
    assert [row.name for row in rows] == names
    split = run.data.test.subset(run.sample(run.data.test, 60))
    assert rows[0].as_trained.accuracy == (run.scores(split).argmax(1) == split.labels).double().mean()
    # All its BatchNorm layers come before the filter.
    assert all(row.reestimated is None for row in rows)
    assert len(sheet(rows).columns) == 4


@pytest.mark.slow
@pytest.mark.parametrize("model", ["dynamic_3x3", "dyconv_resnet18"])
def test_a_result_has_the_accuracy_with_the_mean_choice(model: str, opened: Callable, trained: Callable) -> None:
    run, result = opened(model), json.loads((trained(model) / "result.json").read_text())
    rows = checks(run, run.settings.max_eval_images, 100)
    assert rows[1].name == "mean over images"
    assert result["test_accuracy_mean_choice"] == pytest.approx(rows[1].as_trained.accuracy, abs=1e-3)


@pytest.mark.slow
def test_attention_is_checked_again_with_reestimated_statistics(opened: Callable) -> None:
    run = opened("dyconv_resnet18")
    state = {name: value.clone() for name, value in run.model.state_dict().items()}
    rows = checks(run, 50, 100)
    assert [row.name for row in rows] == [
        "untouched",
        "mean over images",
        "argmax",
        "shuffled within an image",
        "shuffled across images",
    ]
    assert all(row.reestimated is not None for row in rows)
    assert math.isnan(rows[0].reestimated.difference) and not math.isnan(rows[1].reestimated.difference)
    assert all(torch.equal(value, state[name]) for name, value in run.model.state_dict().items())
    assert len(sheet(rows).columns) == 7
    with pytest.raises(ValueError, match="--train-images 99: at least 100"):
        checks(run, 50, 99)
