"""The lab's network as its configs compose it: parameters, the forward pass written out, and who sees whom."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.config import checks, compose
from dynfilt.cost import count_parameters
from dynfilt.layers.generated import GeneratedConv2d, SharedConv2d
from dynfilt.models.lab_net import LabNet

NAMES = ("dynamic_3x3", "static_3x3", "detached_3x3", "published_bug_3x3", "bypass_3x3")
GENERATOR = 4096 * 576 + 576
# Normalisation and gradient of each generated filter.
FAULTS = {
    "dynamic_3x3": ("per_image", "full"),
    "detached_3x3": ("per_image", "cut"),
    "published_bug_3x3": ("over_batch", "cut"),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def nodes() -> dict[str, dict[str, Any]]:
    """The `model` node of every config, as a run composes it."""
    return {name: compose.compose([f"model={name}"])["model"] for name in NAMES}


@pytest.fixture(scope="module")
def models(nodes: dict[str, dict[str, Any]]) -> dict[str, LabNet]:
    torch.manual_seed(0)
    return {name: checks.make(node, "model").double().eval() for name, node in nodes.items()}


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, 3, 32, 32, dtype=torch.float64)


def without_gradients(model: nn.Module) -> set[str]:
    return {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0}


def test_the_configs_differ_in_their_parameters_by_the_filter(models: dict[str, LabNet]) -> None:
    parameters = {name: count_parameters(model) for name, model in models.items()}
    static = parameters["static_3x3"]
    # conv1 and one block of layer1 with their BatchNorms, the filter, the classifier.
    assert static == (64 * 147 + 128) + 2 * (64 * 576 + 128) + 576 + 650
    assert parameters["dynamic_3x3"] - static == 2_359_872 - 576 == GENERATOR - 576
    assert parameters["detached_3x3"] == parameters["published_bug_3x3"] == parameters["dynamic_3x3"]
    assert parameters["bypass_3x3"] - static == GENERATOR + 5_770


def test_the_configs_differ_in_nothing_else(nodes: dict[str, dict[str, Any]]) -> None:
    question = {"filter", "second_head"}
    common = [{key: value for key, value in node.items() if key not in question} for node in nodes.values()]
    assert all(rest == common[0] for rest in common)
    geometry = {"in_channels": 64, "out_channels": 1, "kernel_size": 3, "padding": 1}
    assert all(geometry.items() <= node["filter"].items() for node in nodes.values())
    faults = {name: (nodes[name]["filter"]["normalisation"], nodes[name]["filter"]["gradient"]) for name in FAULTS}
    assert faults == FAULTS
    assert nodes["bypass_3x3"]["filter"] == nodes["static_3x3"]["filter"]


def test_the_best_filter_is_a_row_of_its_study(nodes: dict[str, dict[str, Any]]) -> None:
    row = compose.compose(["model=dynamic_3x3", "model.filter.activation=none", "model.filter.rank=16"])["model"]
    best = compose.compose(["model=dynamic_3x3_best"])["model"]
    assert best == row != nodes["dynamic_3x3"]
    parameters = count_parameters(checks.make(best, "model"))
    # Through 16 numbers: 4096 x 16, then 16 x 576 with their biases, in place of 576 weights.
    assert parameters == count_parameters(checks.make(nodes["static_3x3"], "model")) - 576 + 16 * 4096 + 17 * 576


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_backbone_reads_layer1_in_either_way(nodes: dict[str, dict[str, Any]], blocks: int) -> None:
    model = checks.make(nodes["static_3x3"] | {"backbone_blocks": blocks, "weights": "none"}, "model")
    assert len(model.backbone.layer1) == blocks
    assert model(images(2).float()).shape == (2, 10)


def test_dynamic_scores_and_gradients_are_the_specifications(models: dict[str, LabNet]) -> None:
    model, x = models["dynamic_3x3"], images()
    assert isinstance(model.filter, GeneratedConv2d)
    linear = model.filter.generator.linear
    scores = []
    for v in model.backbone(x):
        w = torch.tanh(linear.weight @ v.reshape(4096) + linear.bias)
        response = F.conv2d(v[None], (w / w.square().sum().sqrt()).reshape(1, 64, 3, 3), padding=1)
        scores.append(model.classifier.weight @ response.reshape(64) + model.classifier.bias)
    assert_same_scores_and_gradients(model, x, torch.stack(scores))


@pytest.mark.parametrize("name", ["static_3x3", "bypass_3x3"])
def test_static_scores_and_gradients_are_the_specifications(name: str, models: dict[str, LabNet]) -> None:
    model, x = models[name], images()
    assert isinstance(model.filter, SharedConv2d)
    v = model.backbone(x)
    scores = F.linear(
        F.conv2d(v, model.filter.weight, padding=1).flatten(1), model.classifier.weight, model.classifier.bias
    )
    if name == "bypass_3x3":
        generator, head = model.get_submodule("second_head.generator.linear"), model.get_submodule("second_head.scores")
        vector = torch.tanh(F.linear(v.flatten(1), *generator.parameters()))
        scores = scores + F.linear(vector, *head.parameters())
    else:
        assert model.second_head is None
    assert_same_scores_and_gradients(model, x, scores)


def assert_same_scores_and_gradients(model: LabNet, x: Tensor, expected: Tensor) -> None:
    ours = model(x)
    assert ours.shape == (len(x), 10)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
    cotangent = torch.randn_like(expected)
    parameters = list(model.parameters())
    gradients = [torch.autograd.grad(y, parameters, cotangent, retain_graph=True) for y in (ours, expected)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_what_trains(name: str, models: dict[str, LabNet]) -> None:
    model = models[name]
    model.zero_grad(set_to_none=True)
    F.cross_entropy(model(images(4)), torch.arange(4)).backward()
    generator = {"filter.generator.linear.weight", "filter.generator.linear.bias"}
    cut = name in ("detached_3x3", "published_bug_3x3")
    assert without_gradients(model) == (generator if cut else set())
    model.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_ignores_the_other_images_except_in_the_published_fault(name: str, models: dict[str, LabNet]) -> None:
    model, x, others = models[name], images(3), images(3)
    others[1] = x[1]
    with torch.no_grad():
        change = (model(others)[1] - model(x)[1]).abs().max().item()
    assert model.mixes_batch == (name == "published_bug_3x3")
    assert (change > 1e-3) if model.mixes_batch else (change < 1e-11)


def test_the_number_of_classes_is_the_datas(nodes: dict[str, dict[str, Any]]) -> None:
    assert nodes["bypass_3x3"]["num_classes"] == nodes["bypass_3x3"]["second_head"]["num_classes"] == 10
    node = compose.compose(["model=bypass_3x3", "data=cifar100"])["model"]
    assert node["num_classes"] == node["second_head"]["num_classes"] == 100


def test_a_map_of_another_size_is_refused_with_the_way_out(nodes: dict[str, dict[str, Any]]) -> None:
    node = {**nodes["static_3x3"], "filter": {**nodes["static_3x3"]["filter"], "padding": 0}}
    with pytest.raises(ValueError, match=r"gives maps of \(1, 6, 6\).*reads \(1, 8, 8\): padding must be"):
        checks.make(node, "model")(images().float())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_as_a_whole_in_low_precision_gives_scores_in_it(name: str, dtype: torch.dtype, nodes: Any) -> None:
    model = checks.make(nodes[name], "model").eval()
    x = images().float()
    expected = model(x)
    scores = model.to(dtype)(x.to(dtype))
    assert scores.dtype == dtype
    torch.testing.assert_close(scores.float(), expected, rtol=0.1, atol=0.1)


def test_more_filters_give_the_classifier_more_maps() -> None:
    for name in ("dynamic_3x3", "static_3x3"):
        node = compose.compose([f"model={name}", "model.num_filters=3", "model.dropout=0.5"])["model"]
        model = checks.make(node | {"weights": "none"}, "model")
        assert model.classifier.in_features == 192
        x = images(2).float()
        assert torch.equal(model.eval()(x), model(x)) and not torch.equal(model.train()(x), model(x))


def test_the_local_filter_and_its_twin_differ_in_the_filter_alone() -> None:
    local, untied = (compose.compose([f"model={name}"])["model"] for name in ("local_3x3", "untied_3x3"))
    assert {**local, "filter": None} == {**untied, "filter": None}
    sizes = [count_parameters(checks.make(node, "model").filter) for node in (local, untied)]
    assert sizes == [64 * 576 + 576, 64 * 576]
    assert checks.make(local | {"weights": "none"}, "model")(images(2).float()).shape == (2, 10)
