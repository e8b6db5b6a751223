"""Class filters against ten separate 1x1 convolutions, and the concatenation against itself written out."""

import math

import pytest
import torch
from torch import Tensor, nn

from dynfilt.layers.class_filters import (
    ClassConcatenation,
    ClassResponses,
    GeneratedClassFilters,
    TrainableClassFilters,
)

CLASSES, CHANNELS, EMBEDDING, HIDDEN = 10, 6, 5, 7
SCALES = {"divide": 1 / math.sqrt(CHANNELS), "multiply": math.sqrt(CHANNELS), "none": 1.0}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def generated() -> GeneratedClassFilters:
    return GeneratedClassFilters(CLASSES, CHANNELS, EMBEDDING, HIDDEN).double()


def concatenation() -> ClassConcatenation:
    return ClassConcatenation(CLASSES, CHANNELS, EMBEDDING, HIDDEN).double()


def features(batch: int = 3) -> Tensor:
    return torch.randn(batch, CHANNELS, 4, 3, dtype=torch.float64)


def filter_of_class(filters: GeneratedClassFilters, label: int) -> Tensor:
    """Specification of label_guided_1x1: embedding, FC, ReLU, FC, tanh, divided by its length."""
    embedded = filters.embedding.weight[label]
    hidden = (filters.hidden.weight @ embedded + filters.hidden.bias).clamp(min=0)
    w = torch.tanh(filters.output.weight @ hidden + filters.output.bias)
    return w / w.square().sum().sqrt()


def separate_responses(v: Tensor, filters: list[Tensor], scale: float) -> Tensor:
    """One 1x1 convolution after the other: r_c(p) = scale * sum_k w_ck v_k(p)."""
    return torch.stack([(v * w[None, :, None, None]).sum(dim=1) * scale for w in filters], dim=1)


def assert_same_outputs_and_gradients(ours: Tensor, expected: Tensor, inputs: list[Tensor]) -> None:
    assert ours.shape == expected.shape
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-12)
    cotangent = torch.randn(expected.shape, dtype=expected.dtype)
    pairs = zip(*(torch.autograd.grad(y, inputs, cotangent) for y in (ours, expected)), strict=True)
    for a, b in pairs:
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("response_scale", SCALES)
@pytest.mark.parametrize("batch", [1, 3])
def test_generated_filters_are_ten_separate_convolutions(response_scale: str, batch: int) -> None:
    filters = generated()
    layer = ClassResponses(filters, CHANNELS, response_scale)  # type: ignore[arg-type]
    v = features(batch).requires_grad_()
    expected = separate_responses(v, [filter_of_class(filters, c) for c in range(CLASSES)], SCALES[response_scale])
    parameters = list(layer.parameters())
    assert len(parameters) == 5
    assert_same_outputs_and_gradients(layer(v), expected, [v, *parameters])


@pytest.mark.parametrize("response_scale", SCALES)
@pytest.mark.parametrize("count", [1, CLASSES])
def test_trainable_filters_are_separate_convolutions(response_scale: str, count: int) -> None:
    filters = TrainableClassFilters(count, CHANNELS).double()
    layer = ClassResponses(filters, CHANNELS, response_scale)  # type: ignore[arg-type]
    v = features().requires_grad_()
    expected = separate_responses(v, list(filters.weight), SCALES[response_scale])
    assert_same_outputs_and_gradients(layer(v), expected, [v, filters.weight])


def test_a_class_has_one_filter_of_unit_length_whatever_the_image() -> None:
    filters = generated()
    assert filters().shape == (CLASSES, CHANNELS)
    torch.testing.assert_close(filters().norm(dim=1), torch.ones(CLASSES).double(), rtol=1e-14, atol=0)
    assert torch.pdist(filters()).min() > 1e-3
    layer = ClassResponses(filters, CHANNELS, "divide")
    v = features(4)
    torch.testing.assert_close(layer(v[2:3])[0], layer(v)[2], rtol=1e-12, atol=1e-12)


def test_embedding_and_both_layers_train() -> None:
    layer = ClassResponses(generated(), CHANNELS, "divide")
    layer(features()).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    embedding = layer.get_parameter("filters.embedding.weight").grad
    assert embedding is not None and embedding.abs().amax(dim=1).min() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_norm_stays_in_float32_under_autocast(dtype: torch.dtype) -> None:
    filters = GeneratedClassFilters(CLASSES, 64, 128, 256)
    with torch.autocast("cpu", dtype=dtype):
        w = filters()
    assert w.dtype == torch.float32
    torch.testing.assert_close(w.norm(dim=1), torch.ones(CLASSES), rtol=0, atol=1e-6)
    torch.testing.assert_close(w, filters(), rtol=0, atol=0.01)


def test_trainable_filters_start_as_conv2d_does() -> None:
    torch.manual_seed(5)
    theirs = nn.Conv2d(64, CLASSES, 1, bias=False)
    torch.manual_seed(5)
    assert torch.equal(TrainableClassFilters(CLASSES, 64).weight, theirs.weight[:, :, 0, 0])


@pytest.mark.parametrize("batch", [1, 3])
def test_concatenation_is_the_literal_one(batch: int) -> None:
    layer = concatenation()
    v = features(batch).requires_grad_()
    scores = []
    for label in range(CLASSES):
        expanded = layer.embedding.weight[label][None, :, None, None].expand(batch, -1, *v.shape[-2:])
        hidden = layer.concatenated(torch.cat([v, expanded], dim=1)).clamp(min=0)
        scores.append(layer.response(hidden)[:, 0])
    parameters = list(layer.parameters())
    assert len(parameters) == 5
    assert_same_outputs_and_gradients(layer(v), torch.stack(scores, dim=1), [v, *parameters])


@pytest.mark.parametrize("layout", ["channels_last", "cut"])
def test_features_that_are_not_contiguous(layout: str) -> None:
    wide = torch.randn(3, CHANNELS, 5, 4, dtype=torch.float64)
    v = wide.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else wide[:, :, 1:, ::2]
    for layer in (ClassResponses(generated(), CHANNELS, "divide"), concatenation()):
        torch.testing.assert_close(layer(v), layer(v.contiguous()), rtol=1e-12, atol=1e-12)


def test_unknown_response_scale() -> None:
    with pytest.raises(ValueError, match=r"response_scale='sqrt'.*divide, multiply, none"):
        ClassResponses(generated(), CHANNELS, "sqrt")  # type: ignore[arg-type]
