"""The label-guided network as its configs compose it, against ten separate passes, one for each class."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.config import checks, compose
from dynfilt.cost import count_parameters
from dynfilt.models.label_net import LabelNet

NAMES = ("label_guided_1x1", "static_1x1", "static_1x1_shared", "label_concat_1x1")
BACKBONE = (64 * 147 + 128) + 4 * (64 * 576 + 128)
PREDICTOR = 64 * 64 + 64


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def models() -> dict[str, LabelNet]:
    """The network of every config, in float64 and training mode."""
    torch.manual_seed(0)
    return {name: checks.make(compose.compose([f"model={name}"])["model"], "model").double() for name in NAMES}


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 32, 32, dtype=torch.float64)


def guided_map(model: LabelNet, v: Tensor, label: int) -> Tensor:
    """Response map (B, 8, 8) of one class: its embedding's filter, of unit length, and 1 / sqrt(64)."""
    filters: Any = model.get_submodule("responses.filters")
    hidden = F.relu(filters.hidden(filters.embedding.weight[label]))
    w = torch.tanh(filters.output(hidden))
    return F.conv2d(v, (w / w.square().sum().sqrt()).reshape(1, 64, 1, 1))[:, 0] / 8


def trainable_map(model: LabelNet, v: Tensor, label: int) -> Tensor:
    weight = model.get_parameter("responses.filters.weight")
    return F.conv2d(v, weight[label].reshape(1, 64, 1, 1))[:, 0] / 8


def concatenated_map(model: LabelNet, v: Tensor, label: int) -> Tensor:
    responses: Any = model.responses
    expanded = responses.embedding.weight[label].reshape(1, 128, 1, 1).expand(len(v), 128, 8, 8)
    return responses.response(F.relu(responses.concatenated(torch.cat([v, expanded], dim=1))))[:, 0]


def predict(model: LabelNet, response: Tensor) -> Tensor:
    """The shared predictor, FC, ReLU, FC, on one response map (B, 8, 8)."""
    first, second = model.predictor[0], model.predictor[-1]
    assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
    hidden = (response.reshape(len(response), 64) @ first.weight.T + first.bias).clamp(min=0)
    return hidden @ second.weight.T + second.bias


MAPS = {"label_guided_1x1": guided_map, "static_1x1": trainable_map, "label_concat_1x1": concatenated_map}


@pytest.mark.parametrize("name", MAPS)
def test_scores_and_gradients_are_those_of_ten_separate_passes(name: str, models: dict[str, LabelNet]) -> None:
    model, x, labels = models[name], images(), torch.tensor([3, 0, 9])
    scores = model(x)
    # The backbone runs anew for each class, as in the lab's drawing; in training mode, on the same batch statistics.
    passes = [predict(model, MAPS[name](model, model.backbone(x), label)) for label in range(10)]
    separate = torch.cat(passes, dim=1)
    assert scores.shape == (3, 10)
    torch.testing.assert_close(scores, separate, rtol=1e-10, atol=1e-12)
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = [torch.autograd.grad(F.cross_entropy(s, labels), parameters) for s in (scores, separate)]
    for parameter, a, b in zip(names, *gradients, strict=True):
        # One score bias serves all classes: softmax takes its gradient away.
        assert b.abs().max() > 1e-9 or parameter == "predictor.2.bias", parameter
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-11, msg=lambda text: f"{parameter}: {text}")


def test_the_shared_twin_has_one_filter_and_a_score_a_class(models: dict[str, LabelNet]) -> None:
    model, x = models["static_1x1_shared"], images()
    assert model.get_parameter("responses.filters.weight").shape == (1, 64)
    response = trainable_map(model, model.backbone(x), 0)
    expected = predict(model, response)
    assert expected.shape == (3, 10)
    torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-12)


def test_parameters(models: dict[str, LabelNet]) -> None:
    expected = {
        "label_guided_1x1": 10 * 128 + (128 * 256 + 256) + (256 * 64 + 64) + PREDICTOR + 65,
        "static_1x1": 10 * 64 + PREDICTOR + 65,
        "static_1x1_shared": 64 + PREDICTOR + 650,
        "label_concat_1x1": 10 * 128 + ((64 + 128) * 64 + 64) + (64 + 1) + PREDICTOR + 65,
    }
    assert {name: count_parameters(model) - BACKBONE for name, model in models.items()} == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_trains(name: str, models: dict[str, LabelNet]) -> None:
    model = models[name]
    model.zero_grad(set_to_none=True)
    model(images(4)).square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert without == []
    model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_ignores_the_other_images(name: str, models: dict[str, LabelNet]) -> None:
    model, x, others = models[name].eval(), images(), images()
    others[1] = x[1]
    with torch.no_grad():
        torch.testing.assert_close(model(others)[1], model(x)[1], rtol=1e-10, atol=1e-12)
    model.train()


def test_at_test_time_the_guided_network_is_a_static_convolution(models: dict[str, LabelNet]) -> None:
    model, x = models["label_guided_1x1"].eval(), images()
    filters = model.get_submodule("responses.filters")
    static = nn.Conv2d(64, 10, 1, bias=False).double()
    with torch.no_grad():
        static.weight.copy_(filters()[:, :, None, None] / 8)
        expected = model.predictor(static(model.backbone(x)).flatten(2)).squeeze(2)
        torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-12)
    model.train()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_as_a_whole_in_low_precision_gives_scores_in_it(name: str, dtype: torch.dtype) -> None:
    model: LabelNet = checks.make(compose.compose([f"model={name}"])["model"], "model").eval()
    x = images().float()
    expected = model(x)
    scores = model.to(dtype)(x.to(dtype))
    assert scores.dtype == dtype
    torch.testing.assert_close(scores.float(), expected, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("frozen", ["nothing", "backbone", "weights", "all_but_batch_norm"])
def test_a_step_changes_what_is_not_frozen(frozen: str) -> None:
    words = ["model=label_guided_1x1", f"model.frozen={frozen}", "model.adapter=true"]
    model: LabelNet = checks.make(compose.compose(words)["model"], "model").train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    v = model.backbone(images().float())
    assert model.adapter is not None and torch.equal(v + model.adapter(v), v)  # it starts as nothing
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    F.cross_entropy(model(images().float()), torch.arange(len(images()))).backward()
    optimizer.step()
    changed = {name for name, value in model.backbone.state_dict().items() if not torch.equal(value, before[name])}
    if frozen == "backbone":
        assert not changed and model.adapter.weight.any()
    else:
        assert any("running_mean" in name for name in changed)
        assert ("bn1.weight" in changed) == (frozen != "weights")
        assert ("conv1.weight" in changed) == (frozen == "nothing")
