"""What every dynamic layer owes as a drop-in for nn.Conv2d, whatever it computes."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dynfilt.cost import count_flops
from dynfilt.layers.attention import set_temperature, temperature_buffers
from dynfilt.layers.choice import check_dynamic_layer, dynamic_layers, image_filters
from dynfilt.layers.initialisation import draw_kernels
from dynfilt.layers.per_sample import conv2d_per_sample
from dynfilt.models.resnet import he_normal
from tests.layers.drop_ins import CHANNELS, DROP_INS, GEOMETRIES, cases, images, lively, outputs_and_gradients

ALL = pytest.mark.parametrize("name", DROP_INS)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def layer_of(name: str, **changes: Any) -> Any:
    return lively(DROP_INS[name].build(**changes))


def static_of(name: str, geometry: dict[str, Any]) -> nn.Conv2d:
    arguments = {"in_channels": CHANNELS, "out_channels": 12, "kernel_size": 3, **geometry}
    return nn.Conv2d(**arguments).double()


@pytest.mark.parametrize(("name", "geometry"), cases())
def test_it_takes_the_arguments_of_conv2d_and_gives_its_shape(name: str, geometry: str) -> None:
    layer, x = layer_of(name, **GEOMETRIES[geometry]), images()
    assert layer(x).shape == static_of(name, GEOMETRIES[geometry])(x).shape
    assert (getattr(layer, "bias", None) is not None) == GEOMETRIES[geometry].get("bias", True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "geometry"), cases())
def test_no_images_give_no_outputs_and_zero_gradients(name: str, geometry: str) -> None:
    for training in (False, True):
        layer = layer_of(name, **GEOMETRIES[geometry]).train(training)
        expected = static_of(name, GEOMETRIES[geometry])(images()).shape[1:]
        y, _, *gradients = outputs_and_gradients(layer, layer, images(0))
        assert y.shape == (0, *expected)
        assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize(("name", "geometry"), cases())
def test_the_choice_is_the_whole_of_what_the_input_decides(name: str, geometry: str) -> None:
    layer, x = layer_of(name, **GEOMETRIES[geometry]), images()
    named = check_dynamic_layer(layer, x)
    assert tuple(named) == layer.choice_names
    # Everything but the choice is linear in x: with one choice for all, sums of images give sums of outputs.
    choice = layer.choice(x)
    at_zero = layer.apply_choice(torch.zeros_like(x), choice)
    y = layer.apply_choice(x + 2 * x.flip(0), choice) - at_zero
    parts = layer.apply_choice(x, choice) - at_zero, layer.apply_choice(x.flip(0), choice) - at_zero
    torch.testing.assert_close(y, parts[0] + 2 * parts[1], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "geometry"), cases())
def test_whole_filters_do_what_the_layer_does(name: str, geometry: str) -> None:
    layer, x = layer_of(name, **GEOMETRIES[geometry]), images()
    choice = layer.choice(x)
    filters = image_filters(layer, x, choice)
    if filters is None:
        pytest.skip("has no whole filter an image")
    options = {key: value for key, value in GEOMETRIES[geometry].items() if key in ("stride", "padding", "dilation")}
    y = conv2d_per_sample(x, filters, groups=layer.groups, **options)
    torch.testing.assert_close(y, layer(x) - layer.apply_choice(torch.zeros_like(x), choice), rtol=1e-9, atol=1e-9)


@ALL
def test_every_image_decides_for_itself_and_not_for_others(name: str) -> None:
    layer, x = layer_of(name, padding=1), images()
    y, choices = layer(x), check_dynamic_layer(layer, x)
    others = images(seed=5)
    others[2] = x[2]
    torch.testing.assert_close(layer(others)[2], y[2], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(layer(x[2:3])[0], y[2], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(layer(x.flip(0)).flip(0), y, rtol=1e-10, atol=1e-11)
    for part, choice in choices.items():
        assert choice.flatten(1).std(0).max() > 1e-3, f"{part} is the same for all images"
    assert list(dynamic_layers(nn.Sequential(layer))) == ["0"]


@ALL
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    layer, x = layer_of(name, padding=1), images(2, height=4, width=5).requires_grad_()
    parameters = dict(layer.named_parameters())

    def run(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters.values()), fast_mode=True)


@ALL
def test_every_parameter_moves_in_one_step(name: str) -> None:
    layer = DROP_INS[name].build(padding=1)
    before = copy.deepcopy(dict(layer.named_parameters()))
    x = images(16).float()
    target = torch.randn(layer(x).shape)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    (layer(x) - target).square().mean().backward()
    optimizer.step()
    for parameter_name, parameter in layer.named_parameters():
        assert not torch.equal(parameter, before[parameter_name]), parameter_name


@ALL
def test_one_image_trains_and_odd_sizes_and_layouts_give_the_same_numbers(name: str) -> None:
    layer = layer_of(name, padding=1)
    x = images(3, height=7, width=5)
    y = layer(x)
    for same in (x.contiguous(memory_format=torch.channels_last), x.transpose(2, 3).contiguous().transpose(2, 3)):
        torch.testing.assert_close(layer(same), y, rtol=1e-10, atol=1e-11)
    layer.to(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(x), y, rtol=1e-10, atol=1e-11)
    layer.train()
    assert torch.isfinite(layer(x[:1])).all()
    assert torch.isfinite(layer(images(1, height=1, width=1))).all()


@ALL
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_layer_as_a_whole_in_low_precision(name: str, dtype: torch.dtype) -> None:
    layer, x = layer_of(name, padding=1).float(), images(6).float()
    expected = layer(x)
    y = layer.to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    assert (y.float() - expected).norm() < 0.05 * expected.norm()
    if DROP_INS[name].choice_in_float32:
        assert {choice.dtype for choice in check_dynamic_layer(layer, x.to(dtype)).values()} == {torch.float32}
    layer.train()(x.to(dtype)).float().square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())


@ALL
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_choice_stays_in_float32_under_autocast(name: str, dtype: torch.dtype) -> None:
    layer, x = layer_of(name, padding=1).float(), images(6).float()
    expected, plain = check_dynamic_layer(layer, x), layer(x)
    with torch.autocast("cpu", dtype=dtype):
        low = layer.choice(x)
        y = layer(x)
        also_low = layer(x.to(dtype))
    for part, choice in zip(expected, low if isinstance(low, tuple) else (low,), strict=True):
        if not DROP_INS[name].choice_in_float32:
            continue
        assert choice.dtype == torch.float32
        torch.testing.assert_close(choice, expected[part], rtol=1e-5, atol=1e-6)
    for outputs in (y, also_low):
        assert outputs.dtype == dtype
        assert (outputs.float() - plain).norm() < 0.05 * plain.norm()


@ALL
def test_parameters_have_the_default_dtype(name: str) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        layer = DROP_INS[name].build(padding=1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.float64}
    assert layer(images()).dtype == torch.float64


@ALL
def test_a_copy_a_state_dict_and_a_pickle_give_the_same_output(name: str) -> None:
    layer, x = layer_of(name, padding=1), images()
    set_temperature(layer, 0.7)
    y = layer(x)
    fresh = DROP_INS[name].build(padding=1).double().eval()
    assert not torch.equal(fresh(x), y)
    fresh.load_state_dict(layer.state_dict(), strict=True)
    memory = io.BytesIO()
    torch.save(layer, memory)
    memory.seek(0)
    for same in (fresh, copy.deepcopy(layer), torch.load(memory, weights_only=False), layer):
        assert torch.equal(same(x), y)


@ALL
def test_a_temperature_lives_in_a_buffer_and_reaches_the_choice(name: str) -> None:
    layer, x = layer_of(name, padding=1), images()
    if not temperature_buffers(layer):
        pytest.skip("has no temperature")
    before = layer(x)
    set_temperature(layer, 0.3)
    assert not torch.allclose(layer(x), before)
    assert layer.state_dict()["temperature"].item() == pytest.approx(0.3)


@pytest.mark.slow
@ALL
def test_it_is_compiled_whole(name: str) -> None:
    layer, x = layer_of(name, padding=1), images().requires_grad_()
    inputs = [x, *layer.parameters()]
    torch.compiler.reset()
    expected, y = layer(x), torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(*(torch.autograd.grad(out.square().sum(), inputs) for out in (y, expected)))


def he_normal_of_exact_size(kernel: Tensor) -> None:
    """He's rule without the chance in the kernel's size, which a test would have to average out."""
    he_normal(kernel)
    kernel.mul_((2 / kernel[:, 0].numel()) ** 0.5 / kernel.square().mean().sqrt())


@pytest.mark.slow
@ALL
@pytest.mark.parametrize("kernel_size", [3, 1])
@pytest.mark.parametrize("rule", ["as conv2d", "He"])
def test_it_starts_with_the_output_variance_of_its_static_twin(name: str, kernel_size: int, rule: str) -> None:
    drop_in = DROP_INS[name]
    geometry: dict[str, Any] = {"kernel_size": kernel_size, "padding": "same"}
    geometry |= {"in_channels": 64, "out_channels": 128}
    variances: dict[str, list[float]] = {"static": [], "dynamic": []}
    for _ in range(24):
        x = torch.randn(8, 64, 8, 8)
        for arm, layer in (
            ("static", nn.Conv2d(**geometry)),
            ("dynamic", drop_in.build(**geometry, **drop_in.starts_as_static)),
        ):
            if rule == "He":
                assert draw_kernels(layer, he_normal_of_exact_size)
            with torch.no_grad():
                variances[arm].append(layer(x).var().item())
    static, dynamic = (sum(values) for values in variances.values())
    assert dynamic / static == pytest.approx(1, abs=0.02)


@ALL
def test_its_cost_is_counted_without_computing(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, CHANNELS, 1), DROP_INS[name].build(padding=1))
    assert count_flops(network, (3, 8, 8)) > 0


@ALL
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": 3}, "groups=3: must divide in_channels=8 and out_channels=12"),
        ({"groups": 0}, "groups=0"),
        ({"kernel_size": 0}, "kernel_size=0"),
        ({"stride": (1, 0)}, r"stride=\(1, 0\)"),
        ({"padding": -1}, "padding=-1"),
        ({"padding": "full"}, "padding='full'.*'same' or 'valid'"),
        ({"padding": "same", "stride": 2}, "padding='same' needs stride=1"),
        ({"dilation": (1, 1, 1)}, "dilation="),
        ({"out_channels": 0}, "out_channels=0"),
    ],
)
def test_wrong_arguments(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        DROP_INS[name].build(**changes)
    assert "\n" not in str(error.value)


@ALL
@pytest.mark.parametrize("shape", [(2, CHANNELS + 1, 4, 4), (CHANNELS, 4, 4)])
def test_images_of_another_shape(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"expected input \(B, {CHANNELS}, H, W\)"):
        layer_of(name)(torch.zeros(shape, dtype=torch.float64))


@ALL
def test_it_is_built_without_memory_and_loaded(name: str) -> None:
    layer = layer_of(name)
    for materialised in (True, False):
        with torch.device("meta"):
            other = DROP_INS[name].build().double().eval()
        if materialised:
            other.to_empty(device="cpu")
        other.load_state_dict(layer.state_dict(), assign=not materialised)
        if materialised and (reset := getattr(other, "reset_parameters", None)):
            reset()
            other.load_state_dict(layer.state_dict())
        assert torch.equal(other(images()), layer(images()))


@ALL
def test_shapes_are_known_without_numbers(name: str) -> None:
    layer = layer_of(name)
    expected = layer(images()).shape
    assert layer.to("meta")(images().to("meta")).shape == expected


@ALL
def test_an_average_of_equal_networks_is_that_network(name: str) -> None:
    layer = layer_of(name)
    average = AveragedModel(layer, use_buffers=True, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(5):
        average.update_parameters(layer)
    torch.testing.assert_close(average(images()), layer(images()))
