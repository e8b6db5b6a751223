"""The generated filter and its twins against float64 loops written from their definition."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.choice import check_dynamic_layer
from dynfilt.layers.formulation import force_formulation
from dynfilt.layers.generated import FilterGenerator, GeneratedConv2d, GeneratorHead, SharedConv2d

CHANNELS, SIZE = 4, 5
FORMULATIONS = ("auto", "grouped", "taps")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def layer_of(**changes: Any) -> GeneratedConv2d:
    arguments: dict[str, Any] = {
        "in_channels": CHANNELS,
        "out_channels": 1,
        "kernel_size": 3,
        "padding": 1,
        "condition_features": CHANNELS * SIZE * SIZE,
        "normalisation": "per_image",
        "gradient": "full",
    }
    return GeneratedConv2d(**(arguments | changes)).double()


def images(batch: int = 3) -> Tensor:
    return torch.randn(batch, CHANNELS, SIZE, SIZE, dtype=torch.float64) + 0.3


def convolve(image: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """One image (C, H, W), one filter (C, k, k): every position's window times the filter, summed."""
    size = kernel.shape[-1]
    padded = F.pad(image, (padding,) * 4)
    rows = [
        torch.stack([(padded[:, r : r + size, c : c + size] * kernel).sum() for c in range(padded.shape[2] - size + 1)])
        for r in range(padded.shape[1] - size + 1)
    ]
    return torch.stack(rows)


def generated_vectors(generator: FilterGenerator, x: Tensor) -> list[Tensor]:
    weight, bias = generator.linear.weight, generator.linear.bias
    reduce = torch.eye(weight.shape[1]).double() if generator.reduce is None else generator.reduce.weight
    vectors = [image.mean((1, 2)) if generator.pooled else image.reshape(-1) for image in x]
    return [torch.tanh(weight @ (reduce @ vector) + bias) for vector in vectors]


def oracle(layer: GeneratedConv2d, x: Tensor) -> Tensor:
    """Specification of dynamic_3x3: w_i = tanh(FC(flatten(v_i))), divided by its length, applied to image i."""
    outputs, channels, size, _ = layer.filter_shape
    maps = []
    for image, w in zip(x, generated_vectors(layer.generator, x), strict=True):
        kernels = (w / w.square().sum().sqrt()).reshape(outputs, channels, size, size)
        maps.append(torch.stack([convolve(image, kernel, layer.padding) for kernel in kernels]))
    return torch.stack(maps)


def output_and_gradients(y: Tensor, *inputs: Tensor) -> list[Tensor]:
    cotangent = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad(y, inputs, cotangent)]


def assert_all_close(ours: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("changes", [{}, {"out_channels": 2, "padding": 0}, {"kernel_size": 1, "padding": 0}])
def test_outputs_and_gradients_equal_the_loop(changes: dict[str, int], batch: int, formulation: str) -> None:
    layer, x = layer_of(**changes), images(batch).requires_grad_()
    parameters = (layer.generator.linear.weight, layer.generator.linear.bias)
    with force_formulation(formulation):
        ours = output_and_gradients(layer(x), x, *parameters)
    assert_all_close(ours, output_and_gradients(oracle(layer, x), x, *parameters))


def test_gradients_are_those_of_finite_differences() -> None:
    layer, x = layer_of(), images(2).requires_grad_()
    parameters = dict(layer.named_parameters())

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters.values()), fast_mode=True)


@pytest.mark.parametrize("gradient", ["full", "cut"])
def test_each_image_has_its_own_filter_of_unit_length(gradient: str) -> None:
    filters = layer_of(out_channels=2, gradient=gradient).filters(images(5))
    assert filters.shape == (5, 2, CHANNELS, 3, 3)
    torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(5).double(), rtol=1e-14, atol=0)
    assert torch.pdist(filters.flatten(1)).min() > 0.1


def test_an_output_ignores_the_other_images() -> None:
    layer = layer_of().eval()
    x = images(4).requires_grad_()
    y = layer(x)
    others = images(4)
    others[2] = x[2].detach()
    torch.testing.assert_close(layer(others)[2], y[2], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x[2:3])[0], y[2], rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(y[2].square().sum(), x)
    assert gradient[2].abs().min() > 0
    assert gradient[[0, 1, 3]].abs().max() == 0
    assert not layer.mixes_batch


def test_the_generator_trains() -> None:
    layer = layer_of()
    assert set(dict(layer.named_parameters())) == {"generator.linear.weight", "generator.linear.bias"}
    layer(images()).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().min() > 0, name


@pytest.mark.parametrize("normalisation", ["per_image", "over_batch"])
def test_a_cut_gradient_leaves_the_generator_and_the_output_as_they_are(normalisation: str) -> None:
    layer = layer_of(normalisation=normalisation)
    x = images().requires_grad_()
    full = layer(x)
    layer.gradient = "cut"
    cut = layer(x)
    assert torch.equal(cut, full)
    cut.square().sum().backward()
    assert all(parameter.grad is None for parameter in layer.parameters())
    fixed = F.conv2d(x[1:2], layer.filters(x)[1].detach(), padding=1)
    expected = torch.autograd.grad(fixed.square().sum(), x)[0][1]
    assert x.grad is not None
    torch.testing.assert_close(x.grad[1], expected, rtol=1e-12, atol=1e-12)


def test_cut_is_set_by_the_constructor() -> None:
    layer = layer_of(gradient="cut")
    layer(images().requires_grad_()).sum().backward()
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_the_published_fault_is_one_filter_for_the_batch_its_norm_over_the_images() -> None:
    layer, x = layer_of(normalisation="over_batch"), images(3)
    vectors = generated_vectors(layer.generator, x)
    shared = torch.stack([sum((w[k] ** 2 for w in vectors), torch.zeros(())).sqrt() for k in range(len(vectors[0]))])
    filters = layer.filters(x)
    for filter_ in filters:
        torch.testing.assert_close(filter_, shared.double().view(layer.filter_shape), rtol=1e-12, atol=1e-12)
    expected = torch.stack([convolve(image, shared.double().view(CHANNELS, 3, 3), 1)[None] for image in x])
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)
    assert layer.mixes_batch
    assert (layer(x[:2]) - layer(x)[:2]).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_norm_stays_in_float32_under_autocast(dtype: torch.dtype) -> None:
    layer, x = layer_of().float(), images(8).float()
    plain = layer.filters(x)
    with torch.autocast("cpu", dtype=dtype):
        filters = layer.filters(x)
        y = layer(x)
    assert filters.dtype == torch.float32
    torch.testing.assert_close(filters.flatten(1).norm(dim=1), torch.ones(8), rtol=0, atol=1e-6)
    torch.testing.assert_close(filters, plain, rtol=0, atol=5e-3)
    torch.testing.assert_close(y.float(), layer(x), rtol=0, atol=0.05)
    layer = layer_of(normalisation="over_batch").float()
    with torch.autocast("cpu", dtype=dtype):
        assert layer.filters(x).dtype == torch.float32


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_layer_as_a_whole_in_another_precision(dtype: torch.dtype, formulation: str) -> None:
    layer, x = layer_of().float(), images(8).float()
    expected = layer(x)
    with force_formulation(formulation):
        y = layer.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert layer.choice(x.to(dtype)).dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(y.float(), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("padding", [1, "same"])
def test_no_images_give_no_outputs_and_a_zero_gradient(padding: Any) -> None:
    layer, x = layer_of(padding=padding), images(0).requires_grad_()
    y = layer(x)
    assert y.shape == (0, 1, SIZE, SIZE)
    for gradient in torch.autograd.grad(y.sum(), [x, *layer.parameters()]):
        assert not gradient.any()


def test_the_filters_are_the_choice_and_can_be_replaced() -> None:
    layer, x = layer_of(padding="same"), images(3)
    filters = layer.choice(x)
    assert torch.equal(check_dynamic_layer(layer, x)["filter"], filters)
    moved = layer.apply_choice(x, filters.roll(1, 0))
    torch.testing.assert_close(moved[1], layer.apply_choice(x[1:2], filters[:1])[0], rtol=1e-12, atol=1e-12)
    assert torch.equal(layer.filters(x, filters), layer.filters(x))


@pytest.mark.parametrize("formulation", FORMULATIONS)
@pytest.mark.parametrize(("outputs", "size", "padding"), [(1, 3, 1), (5, 3, 0), (2, 1, 0), (1, 3, 3), (2, 2, "same")])
def test_the_shared_filter_is_conv2d(outputs: int, size: int, padding: Any, formulation: str) -> None:
    layer, x = SharedConv2d(CHANNELS, outputs, size, padding).double(), images().requires_grad_()
    with force_formulation(formulation):
        ours = output_and_gradients(layer(x), x, layer.weight)
    expected = F.conv2d(x, layer.weight, padding=padding)
    assert_all_close(ours, output_and_gradients(expected, x, layer.weight))
    assert torch.equal(layer.filters(x), torch.stack([layer.weight] * len(x)))


def test_the_shared_filter_starts_as_conv2d_does() -> None:
    torch.manual_seed(5)
    theirs = nn.Conv2d(64, 1, 3, padding=1, bias=False)
    torch.manual_seed(5)
    layer = SharedConv2d(64, 1, 3, 1)
    assert torch.equal(layer.weight, theirs.weight)
    assert list(dict(layer.named_parameters())) == ["weight"]


@pytest.mark.parametrize("options", [{}, {"rank": 2}, {"condition_features": CHANNELS, "pooled": True}])
def test_the_generator_head_scores_the_generated_vector(options: dict[str, Any]) -> None:
    options = {"condition_features": CHANNELS * SIZE * SIZE, **options}
    head, x = GeneratorHead(filter_features=7, num_classes=3, **options).double(), images().requires_grad_()
    parameters = [x, *head.parameters()]
    expected = torch.stack([head.scores.weight @ w + head.scores.bias for w in generated_vectors(head.generator, x)])
    assert_all_close(output_and_gradients(head(x), *parameters), output_and_gradients(expected, *parameters))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalisation": "batch"}, "normalisation='batch'.*per_image, over_batch"),
        ({"gradient": "none"}, "gradient='none'.*full, cut"),
    ],
)
def test_unknown_choices(changes: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_of(**changes)


def test_the_options_of_the_generator_are_their_definitions() -> None:
    """Low rank, pooled features and no tanh, with each normalisation, written out."""
    size = CHANNELS * 9
    for normalisation in ("per_image", "per_kernel", "none"):
        options = {"rank": 2, "pooled": True, "activation": "none", "condition_features": CHANNELS}
        layer, x = layer_of(**options, out_channels=2, normalisation=normalisation), images()
        generator = layer.generator
        assert generator.reduce is not None and generator.reduce.weight.shape == (2, CHANNELS)
        for image, filters in zip(x, layer.choice(x), strict=True):
            w = generator.linear.weight @ (generator.reduce.weight @ image.mean((1, 2))) + generator.linear.bias
            kernels = w.reshape(2, CHANNELS, 3, 3).clone()
            if normalisation == "per_image":
                kernels /= w.norm()
            if normalisation == "per_kernel":
                kernels /= kernels.norm(dim=(2, 3), keepdim=True) * (2 * CHANNELS) ** 0.5
            torch.testing.assert_close(filters, kernels, rtol=1e-10, atol=1e-12)
            assert normalisation == "none" or filters.norm().item() == pytest.approx(1)
        assert not layer.saturated(1000 * x).any()
    full, low = FilterGenerator(100, size), FilterGenerator(100, size, rank=4)
    parameters = [sum(p.numel() for p in generator.parameters()) for generator in (full, low)]
    assert parameters == [101 * size, 400 + 5 * size]


def test_a_normalised_shared_filter_has_length_one_whatever_its_weight() -> None:
    layer, x = SharedConv2d(CHANNELS, 1, 3, 1, normalised=True).double(), images()
    y, length = layer(x), layer.weight.norm().item()
    torch.testing.assert_close(y, F.conv2d(x, layer.weight / length, padding=1), rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        layer.weight.mul_(7)
    torch.testing.assert_close(layer(x), y, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"activation": "relu"}, "activation='relu': choose one of tanh, none"), ({"rank": 0}, "rank=0: at least 1")],
)
def test_options_that_are_none(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        layer_of(**changes)
