"""A network asked about some channels of an image: what it sees of them, in training and in the test."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dynfilt.config import checks, compose
from dynfilt.cost import count_parameters
from dynfilt.layers.varchannel import VarChannelConv2d
from dynfilt.models.channel_subsets import ChannelSubsetNet
from tests.conftest import Command
from tests.run_folders import read_result

VIEWS = ["R", "G", "B", "RG", "RB", "GB"]
MEAN, STD = [0.1, 0.5, 0.8], [0.5, 0.25, 0.2]


def network(model: str, *overrides: str) -> ChannelSubsetNet:
    torch.manual_seed(0)
    words = [f"model={model}", f"data.mean={MEAN}", f"data.std={STD}", *overrides]
    return checks.make(compose.compose(words)["model"], "model")


def seen_by_first(model: ChannelSubsetNet, x: Tensor) -> list[Any]:
    """What the first convolution is called with."""
    calls: list[Any] = []
    model.network = nn.Flatten()  # type: ignore[assignment]
    handle = model.first.register_forward_pre_hook(lambda module, inputs: calls.append(inputs))
    model(x)
    handle.remove()
    return calls[0]


@pytest.mark.parametrize("missing", ["zero", "mean"])
def test_a_missing_channel_is_filled_before_normalisation(missing: str) -> None:
    model = network("zero_filled_resnet8", f"model.missing={missing}").eval()
    pixels = torch.rand(2, 3, 8, 8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    for view in model.partial_views():
        filled = pixels.clone()
        for number, channel in enumerate("RGB"):
            if channel not in view:
                filled[:, number] = 0.0 if missing == "zero" else MEAN[number]
        [seen] = seen_by_first(model, (pixels - mean) / std)
        torch.testing.assert_close(seen, (filled - mean) / std, rtol=1e-5, atol=1e-5)


def test_a_convolution_of_any_count_gets_the_channels_that_are_there() -> None:
    model, x = network("varchannel_resnet8").eval(), torch.randn(2, 3, 8, 8)
    views = []
    for view in model.partial_views():
        seen, channels = seen_by_first(model, x)
        assert "".join("RGB"[channel] for channel in channels) == view
        assert torch.equal(seen, x[:, list(channels)])
        views.append(view)
    assert views == VIEWS and model.present == (0, 1, 2)
    assert torch.equal(seen_by_first(model, x)[0], x)


@pytest.mark.slow
def test_training_draws_all_seven_subsets_and_evaluation_none() -> None:
    model, x = network("varchannel_resnet8"), torch.randn(2, 3, 4, 4)
    torch.manual_seed(1)
    drawn = [seen_by_first(model, x)[1:] for _ in range(70)]
    assert len(set(drawn)) == 7 and () in drawn  # all channels go without numbers
    torch.manual_seed(1)
    assert [seen_by_first(model, x)[1:] for _ in range(3)] == drawn[:3]  # a step's subset is the step's
    assert {seen_by_first(model.eval(), x)[1:] for _ in range(9)} == {()}
    assert {seen_by_first(network("zero_filled_resnet8"), x)[1:] for _ in range(9)} == {()}


def test_mean_filling_is_slicing_the_kernel() -> None:
    """CHAMMI's SliceParam: of the kernel, the slices of the channels that are there."""
    model, x = network("zero_filled_resnet8", "model.missing=mean").eval(), torch.randn(2, 3, 8, 8)
    assert isinstance(model.first, nn.Conv2d)
    kernel = model.first.weight
    for _ in model.partial_views():
        expected = model.network(torch.conv2d(x[:, list(model.present)], kernel[:, list(model.present)], padding=1))
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_a_stride_of_the_convolution_that_gives_way_is_refused() -> None:
    with pytest.raises(ValueError, match=r"network\.stem=stride2: .* set first\.stride=2"):
        network("zero_filled_resnet8", "model.network.stem=stride2")
    model = network("zero_filled_resnet8", "model.first.stride=2")
    assert model.first(torch.randn(1, 3, 8, 8)).shape[2:] == (4, 4)


def test_the_published_sizes() -> None:
    variable = network("varchannel_resnet18", "data.num_classes=50")
    assert isinstance(variable.first, VarChannelConv2d)
    assert count_parameters(variable) - count_parameters(variable.first) == 11_192_754  # without its first layer
    assert count_parameters(variable.first) - 3 * 64 * 9 < 300
    assert variable.eval()(torch.randn(1, 3, 40, 33)).shape == (1, 50)


@pytest.mark.slow
def test_a_run_is_tested_on_every_subset(command: Command, tmp_path: Any) -> None:
    small = ("trainer.max_steps=1", "trainer.batch_size=4", "trainer.max_eval_images=8", "tracking=off")
    outcome = command("model=varchannel_resnet8", "data=cifar10_sample", "model.first.stride=2", *small)
    assert outcome.code == 0, outcome.err
    [folder] = (tmp_path / "outputs" / "default").glob("*/seed0")
    of_views = {key: value for key, value in read_result(folder).items() if key[-1] in "RGB"}
    assert [f"test_accuracy_{view}" for view in VIEWS] == list(of_views)
    assert command("mode=test", f"run={folder}").code == 0
    assert json.loads((folder / "test.json").read_text()).items() >= of_views.items()
