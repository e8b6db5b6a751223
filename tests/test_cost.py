"""What a model costs, against arithmetic written out."""

import importlib.util
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from dynfilt import cost
from dynfilt.cost import (
    FLOP_BATCH,
    count_flops,
    count_parameters,
    measure_latency_ms,
    peak_memory_mb,
    reset_peak_memory,
)
from dynfilt.layers.class_filters import ClassResponses, GeneratedClassFilters
from dynfilt.layers.ddf import DDFConv2d
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.layers.fdconv import FDConv2d
from dynfilt.layers.formulation import FORMULATIONS, force_formulation
from dynfilt.layers.generated import GeneratedConv2d, GeneratorHead, SharedConv2d
from dynfilt.layers.involution import InvolutionConv2d
from dynfilt.layers.weightnet import WeightNetConv2d
from dynfilt.models.cnn_5x5 import Cnn5x5
from dynfilt.models.lab_net import LabNet
from dynfilt.models.label_net import LabelNet
from dynfilt.models.resnet import dyconv_resnet18, resnet18
from tests.own_layers import Windowed

CPU = torch.device("cpu")
# Multiply-accumulates of conv1, 7x7 at 16x16, and of one block of layer1, two 3x3 convolutions at 8x8.
STEM = 16 * 16 * 64 * 3 * 49
BLOCK = 2 * 8 * 8 * 64 * 64 * 9


@pytest.fixture(params=FORMULATIONS)
def forced(request: pytest.FixtureRequest) -> Iterator[str]:
    with force_formulation(request.param):
        yield request.param


def lab_net(name: str) -> LabNet:
    shared = SharedConv2d(64, 1, 3, 1)
    if name == "static":
        return LabNet(10, 1, "none", shared, None)
    if name == "bypass":
        return LabNet(10, 1, "none", shared, GeneratorHead(4096, 576, 10))
    return LabNet(10, 1, "none", GeneratedConv2d(64, 1, 3, 1, 4096, "per_image", "full"), None)


def test_parameters_are_those_that_train() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    assert count_parameters(model) == (4 * 27 + 4) + 8 + (8 + 2)
    model[0].requires_grad_(False)
    assert count_parameters(model) == 8 + (8 + 2)
    assert count_parameters(nn.ReLU()) == 0


def test_a_tensor_used_twice_counts_once() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight = model[0].weight
    assert count_parameters(model) == 25 + 5 + 5


@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), 12 * 10 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, stride=2, bias=False), 5 * 4 * 8 * 3 * 9),
        (nn.Conv2d(3, 6, (1, 5), groups=3), 12 * 6 * 6 * 5),
        (nn.Sequential(nn.Flatten(), nn.Linear(360, 7)), 360 * 7),
    ],
    ids=["padded", "stride", "groups", "linear"],
)
def test_flops_are_twice_the_multiply_accumulates(layer: nn.Module, macs: int) -> None:
    assert count_flops(layer, (3, 12, 10)) == 2 * macs


@pytest.mark.parametrize("outputs", [1, 5])
def test_flops_of_a_filter_for_each_image(outputs: int, forced: str) -> None:
    assert count_flops(SharedConv2d(6, outputs, 3, 1), (6, 8, 7)) == 2 * 8 * 7 * outputs * 6 * 9


@pytest.mark.parametrize("name", ["static", "dynamic", "bypass"])
def test_flops_of_the_lab_net(name: str) -> None:
    macs = STEM + BLOCK
    macs += 8 * 8 * 64 * 9  # one 3x3 filter, 64 -> 1
    macs += 64 * 10  # the classifier
    if name != "static":
        macs += 4096 * 576  # the generator
    if name == "bypass":
        macs += 576 * 10  # its head
    assert count_flops(lab_net(name), (3, 32, 32)) == 2 * macs


def test_flops_of_the_label_net_share_its_filters_among_the_images_of_a_batch() -> None:
    responses = ClassResponses(GeneratedClassFilters(10, 64, 128, 256), 64, "divide")
    macs = STEM + 2 * BLOCK + 10 * 8 * 8 * 64 + 10 * (64 * 64 + 64)
    filters = 10 * (128 * 256 + 256 * 64)  # made once for a batch of 64
    assert count_flops(LabelNet(2, "none", responses, 64, 1), (3, 32, 32)) == 2 * (macs + filters / 64)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 2)])
def test_flops_of_dynamic_convolution(groups: int, stride: int, bias: bool, forced: str) -> None:
    layer = DYConv2d(8, 12, 3, stride=stride, padding=1, groups=groups, bias=bias, num_kernels=4)
    hidden = 8 // 4 + 1
    attention = 8 * hidden + hidden * 4
    kernel = 12 * (8 // groups) * 9
    mixing = 4 * (kernel + (12 if bias else 0))
    convolution = (6 // stride) ** 2 * kernel
    assert count_flops(layer, (8, 6, 6)) == 2 * (attention + mixing + convolution)


def test_flops_of_one_kernel_are_those_of_conv2d() -> None:
    layers = DYConv2d(8, 12, 3, padding=1, num_kernels=1), nn.Conv2d(8, 12, 3, padding=1)
    assert count_flops(layers[0], (8, 6, 6)) == count_flops(layers[1], (8, 6, 6))


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 2)])
def test_flops_of_a_filter_for_each_position_hold_its_application(groups: int, stride: int, forced: str) -> None:
    positions = (6 // stride) * (8 // stride)
    applied = 9 * 8 * positions  # taps, channels
    mixed = 12 * 8 // groups * positions  # the 1x1 convolution after it
    layer = InvolutionConv2d(8, 12, 3, stride=stride, padding=1, groups=groups, group_channels=4)
    generated = (8 * 2 + 2 * 2 * 9) * positions  # 2 hidden units, 2 groups of channels
    assert count_flops(layer, (8, 6, 8)) == 2 * (generated + applied + mixed)
    decoupled = DDFConv2d(8, 12, 3, stride=stride, padding=1, groups=groups, reduction=0.5)
    generated = 8 * 9 * positions + (8 * 4 + 4 * 8 * 9)  # filters of the positions and of the channels
    assert count_flops(decoupled, (8, 6, 8)) == 2 * (generated + applied + mixed)


@pytest.mark.parametrize("size", [3, 12])  # small and large maps are convolved in other ways
@pytest.mark.parametrize("kernels", [1, 3])
def test_flops_of_weightnet_do_not_depend_on_how_it_runs(kernels: int, size: int) -> None:
    layer = WeightNetConv2d(8, 8, 3, padding=1, activations=2 * kernels, generator_groups=2)
    kernel = 8 * 8 * 9
    generator = 8 * 16 + 16 * 2 * kernels * 8
    mixing = kernels * kernel if kernels > 1 else 0  # one kernel is only weighed
    assert count_flops(layer, (8, size, size)) == 2 * (generator + mixing + size**2 * kernel)


def test_flops_of_fdconv_do_not_depend_on_the_batch_that_they_are_counted_on() -> None:
    """It transforms an image's spectrum, or that of each group where there are fewer groups than images."""
    macs = [
        count_flops(FDConv2d(8, 8, 3, padding=1, frequency_groups=groups, band_modulation=False), (8, 6, 6)) / 2
        - 16 * groups  # what generates the gates of the groups
        for groups in (FLOP_BATCH // 4, FLOP_BATCH - 1, FLOP_BATCH)
    ]
    assert len(set(macs)) == 1


@pytest.mark.slow
def test_flops_of_a_dynamic_resnet_exceed_its_twins_by_attention_and_mixing() -> None:
    static, dynamic = (
        resnet18(10, "cifar", 1.0, nn.Conv2d, "all", 0.1, "none"),
        dyconv_resnet18(10, "cifar", 4, 0.25, "softmax", ["layer1", "layer2"], 0.1, "none"),
    )
    extra = 0
    for name, layer in dynamic.named_modules():
        if isinstance(layer, DYConv2d):
            convolution = static.get_submodule(name)
            assert isinstance(convolution, nn.Conv2d)
            channels = convolution.in_channels
            hidden = channels // 4 + 1
            extra += channels * hidden + hidden * 4 + 4 * convolution.weight.numel()
    assert extra > 0
    assert count_flops(dynamic, (3, 32, 32)) - count_flops(static, (3, 32, 32)) == 2 * extra


def test_counting_computes_and_changes_nothing() -> None:
    model = lab_net("dynamic").train()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    identities = [id(parameter) for parameter in model.parameters()]
    generator = torch.get_rng_state()
    count_flops(model, (3, 32, 32))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert [id(parameter) for parameter in model.parameters()] == identities
    assert all(type(parameter) is nn.Parameter and parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored_and_the_measurement_in_eval(training: bool) -> None:
    seen: list[bool] = []
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5)).train(training)
    model[1].register_forward_pre_hook(lambda module, _: seen.append(module.training))
    count_flops(model, (3, 8, 8))
    measure_latency_ms(model, (3, 8, 8), CPU)
    assert model.training == model[1].training == training
    assert len(seen) > 2 and not any(seen)


def test_latency_is_the_time_of_one_image() -> None:
    batches: list[int] = []
    small, large = nn.Conv2d(3, 4, 1), Cnn5x5(10, [64, 64, 64], 5, 64, 64)
    large.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    quick, slow = measure_latency_ms(small, (3, 4, 4), CPU), measure_latency_ms(large, (3, 64, 64), CPU)
    assert 0 < quick < slow < 10_000
    assert set(batches) == {1}


def test_peak_memory_holds_what_was_allocated_since_the_reset() -> None:
    before = peak_memory_mb(CPU)
    held = torch.ones(256 * 2**18)  # 256 MiB: the C library keeps up to 64 of what is freed
    after = peak_memory_mb(CPU)
    assert 20 < before <= after
    assert held.sum() == len(held)
    del held
    if sys.platform == "linux":
        reset_peak_memory(CPU)
        fresh = peak_memory_mb(CPU)
        block = torch.ones(256 * 2**18)
        assert 192 < peak_memory_mb(CPU) - fresh < 320
        assert block.sum() == len(block)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux to forget a peak")
def test_a_system_that_keeps_its_peak_to_itself_stops_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    reset_peak_memory(CPU)
    assert peak_memory_mb(CPU) > 1


def test_models_are_loaded_where_there_is_no_module_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where runs are read but not trained."""
    monkeypatch.setitem(sys.modules, "resource", None)
    spec = importlib.util.spec_from_file_location("cost_elsewhere", cost.__file__)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cost_elsewhere", module)
    spec.loader.exec_module(module)
    assert module.count_parameters(torch.nn.Linear(2, 1)) == 3


class LooksAtNumbers(nn.Module):
    """A 1x1 convolution of images scaled by a tensor that is no buffer, and refused by what their numbers are."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 8, 1)
        self.scale = torch.tensor(2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.abs().max() > 1e9:
            raise ValueError("too large")
        return self.inner(x * self.scale)


def test_a_layer_that_looks_at_numbers_is_counted_too() -> None:
    model = nn.Sequential(LooksAtNumbers()).train()
    assert count_flops(model, (4, 5, 5)) == 2 * 4 * 8 * 25
    assert sum(sum(layer.flops.values()) for layer in cost.count_layer_flops(model, (4, 5, 5))) == 2 * 4 * 8 * 25
    assert cost.name_formulations(model, (4, 5, 5), 3) == "nn.Conv2d"
    assert model.training and not any(module._forward_hooks for module in model.modules())


class GivesTwo(nn.Module):
    """A layer within a network that answers with more than one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.linear(x.flatten(1)), x


class TakesTwo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.two = GivesTwo()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(x)[0]


def test_a_layer_without_parameters_costs_nothing_to_count() -> None:
    assert count_flops(nn.ReLU(), (4, 5, 5)) == 0


def test_counting_leaves_no_fake_number_behind() -> None:
    layer = Windowed(4, 8, 1)
    count_flops(layer, (4, 5, 5))
    assert not layer.windows and type(layer(torch.ones(2, 4, 5, 5))) is torch.Tensor


def test_a_layer_that_gives_no_single_tensor_has_a_cost_and_no_shape() -> None:
    costs = {layer.name: layer for layer in cost.count_layer_flops(TakesTwo(), (6, 1, 1))}
    assert (costs["two"].output_shape, costs[""].output_shape) == ((), (4,))
    assert sum(sum(layer.flops.values()) for layer in costs.values()) == 2 * 6 * 4


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_run_as_a_command_it_names_the_one_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        runpy.run_module("dynfilt.cost", run_name="__main__")
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("error: ") and "python -m dynfilt.cost_twins model=" in captured.err
