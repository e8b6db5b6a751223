"""ResNets against torchvision's and published counts, and the dynamic network against its static twin."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from torch import Tensor, nn

from dynfilt.config.checks import make
from dynfilt.config.compose import compose
from dynfilt.cost import count_flops
from dynfilt.layers.attention import get_temperature, set_temperature
from dynfilt.layers.choice import dynamic_layers
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.models.resnet import ResNet, dyconv_resnet18
from dynfilt.models.resnet import resnet18 as any_resnet18

ALL = ["layer1", "layer2", "layer3", "layer4"]
NOTHING_DRAWN = torch.device("meta")
CONF = Path(__file__).resolve().parents[2] / "conf" / "model"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def resnet18(classes: int, stem: Any, dropout: float, weights: str) -> ResNet:
    return any_resnet18(classes, stem, 1.0, nn.Conv2d, "all", dropout, weights)


def network(name: str, *overrides: str) -> ResNet:
    """The network of a config."""
    return make(compose([f"model={name}", *overrides])["model"], "model")


def small(conv: Any, layers: Any = "all", weights: str = "none", width: float = 1.0) -> ResNet:
    return ResNet(10, [(8, 1), (16, 2)], "cifar", width, conv, layers, 0.0, weights)


def dynamic(num_kernels: int = 2, layers: list[str] = ALL, stem: Any = "cifar", weights: str = "none") -> ResNet:
    return dyconv_resnet18(10, stem, num_kernels, 0.25, "softmax", layers, 0.1, weights)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def dynamic_names(model: nn.Module) -> set[str]:
    return {name for name, layer in model.named_modules() if isinstance(layer, DYConv2d)}


def randomise_batch_norm(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)


def output_shapes(model: nn.Module, x: Tensor) -> dict[str, tuple[int, ...]]:
    """Shape of every convolution's, BatchNorm's and linear layer's output, attention left out."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | DYConv2d | nn.BatchNorm2d | nn.Linear) and "attention" not in name:
            layer.register_forward_hook(lambda _, __, y, name=name: shapes.update({name: tuple(y.shape)}))
    model.eval()(x)
    return shapes


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_equals_torchvision(name):
    theirs = getattr(torchvision.models, name)(weights=None)
    randomise_batch_norm(theirs)
    ours = network(name, "model.num_classes=1000", "model.stem=imagenet")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 48)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "classes", "stem", "count", "millions"),
    [
        ("resnet18", 1000, "imagenet", 11_689_512, None),  # torchvision's, as the next
        ("resnet34", 1000, "imagenet", 21_797_672, None),
        ("resnet18", 10, "cifar", 11_173_962, 555.4),
        ("resnet34", 50, "imagenet", 21_310_322, None),
        ("resnet8", 10, "cifar", 78_042, 12.5),  # MLPerf Tiny's rules
        ("resnet8", 10, "stride2", 78_042, 3.1),
        ("resnet20", 10, "cifar", 272_474, 40.8),  # "0.27 M"; chenyaofo/pytorch-cifar-models has these shortcuts too
    ],
)
def test_parameters_and_multiply_accumulates_are_the_published_ones(name, classes, stem, count, millions):
    with NOTHING_DRAWN:
        model = network(name, f"model.num_classes={classes}", f"model.stem={stem}")
    assert parameters(model) == count
    assert millions is None or count_flops(model, (3, 32, 32)) / 2e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stem", "size"),
    [("resnet8", "cifar", 32), ("resnet20", "stride2", 16), ("resnet18", "imagenet", 8), ("resnet34", "stride2", 16)],
)
def test_each_stem_gives_the_first_stage_its_size(name, stem, size):
    model = network(name, f"model.stem={stem}")
    seen: list[int] = []
    model.layer1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1]))
    assert model.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert seen == [size]
    assert isinstance(model.conv1, nn.Conv2d)


@pytest.mark.parametrize(("width", "channels"), [(0.5, (4, 8)), (1.25, (10, 20)), (3, (24, 48))])
def test_width_is_a_factor_on_all_channels(width, channels):
    model = small(DYConv2d, width=width)
    assert model.conv1.out_channels == model.layer1[0].conv2.out_channels == channels[0]
    assert model.layer2[1].conv1.in_channels == model.fc.in_features == channels[1]


@pytest.mark.parametrize(
    ("width", "message"),
    [
        (0.3, r"width=0.3 gives no whole channels of \[8, 16\]; the nearest that does: 0.25 and 0.375"),
        (0.01, "the nearest that does: 0.125$"),
        (0, "width=0: must be a positive factor"),
        (-1, "width=-1: must be"),
        (float("nan"), "width=nan: must be"),
        (float("inf"), "width=inf: must be"),
    ],
)
def test_a_width_without_whole_channels(width, message):
    with pytest.raises(ValueError, match=message):
        small(nn.Conv2d, width=width)


@pytest.mark.parametrize("stages", [[], [(16, 0)], [(0, 1)], [(16, 1), (32, -1)]])
def test_stages_without_channels_or_blocks(stages):
    with pytest.raises(ValueError, match=r"stages=.*one or more stages, all at least 1"):
        ResNet(10, stages, "cifar", 1.0, nn.Conv2d, "all", 0.0, "none")


def test_parameters_of_the_dynamic_network():
    with NOTHING_DRAWN:
        static, model = resnet18(10, "cifar", 0.1, "none"), dynamic(num_kernels=4)
    expected = parameters(static)
    for name in dynamic_names(model):
        convolution = static.get_submodule(name)
        channels, hidden = convolution.in_channels, convolution.in_channels // 4 + 1
        expected += 3 * convolution.weight.numel() + channels * hidden + hidden * 4 + 4
    assert parameters(model) == expected == 44_959_458


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_twins_have_the_same_layers(stem):
    x = torch.randn(2, 3, 16, 16)
    static = output_shapes(resnet18(10, stem, 0.1, "none"), x)
    assert output_shapes(dynamic(stem=stem), x) == static
    assert static["conv1"] == (2, 64, 16, 16) if stem == "cifar" else (2, 64, 8, 8)
    assert static["layer4.1.conv2"] == ((2, 512, 2, 2) if stem == "cifar" else (2, 512, 1, 1))


def test_one_kernel_is_the_static_twin():
    torch.manual_seed(3)
    static = resnet18(10, "cifar", 0.1, "none").eval()
    torch.manual_seed(3)
    model = dynamic(num_kernels=1).eval()
    x = torch.randn(2, 3, 16, 16)
    assert parameters(model) == parameters(static)
    assert torch.equal(model(x), static(x))


def test_every_convolution_but_the_first_is_dynamic():
    with NOTHING_DRAWN:
        static, model = resnet18(10, "cifar", 0.1, "none"), dynamic()
    convolutions = {name for name, layer in static.named_modules() if isinstance(layer, nn.Conv2d)}
    assert dynamic_names(model) == convolutions - {"conv1"}
    assert len(convolutions) == 20
    assert dynamic_names(static) == set()


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([], set()),
        (["layer1"], {f"layer1.{b}.{c}" for b in (0, 1) for c in ("conv1", "conv2")}),
        (["layer4.0"], {"layer4.0.conv1", "layer4.0.conv2", "layer4.0.downsample.0"}),
        (["layer4.1", "layer2.0.downsample"], {"layer4.1.conv1", "layer4.1.conv2", "layer2.0.downsample.0"}),
        (["layer3.0.conv1", "layer3.0.downsample.0"], {"layer3.0.conv1", "layer3.0.downsample.0"}),
    ],
)
def test_which_layers_are_dynamic(layers, expected):
    with NOTHING_DRAWN:
        assert dynamic_names(dynamic(layers=layers)) == expected


@pytest.mark.parametrize("name", ["layer5", "layer", "conv1", "layer1.2", "layer1.0.downsample", "fc", ""])
def test_unknown_dynamic_layer(name):
    with pytest.raises(ValueError, match="allowed are layer1, layer2"):
        dynamic(layers=["layer1", name])


def test_unknown_stem():
    with pytest.raises(ValueError, match=r"stem='mnist'.*imagenet, cifar, stride2"):
        resnet18(10, "mnist", 0.1, "none")


def test_all_layers_are_those_of_all_stages():
    named = dynamic_layers(small(DYConv2d, ["layer1", "layer2"]))
    assert list(dynamic_layers(small(DYConv2d))) == list(named)
    assert len(named) == 7 and "layer2.0.downsample.0" in named
    assert not dynamic_layers(small(DYConv2d, []))


class Stranger(nn.Module):
    """Somebody's layer with its own start, in which two convolutions are nested."""

    def __init__(self, inp: int, oup: int, kernel_size: int, stride: int, padding: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inp, oup, kernel_size, stride, padding, bias=bias)
        self.gate = nn.Conv2d(inp, oup, 1, stride)
        nn.init.constant_(self.gate.weight, 0.5)
        nn.init.zeros_(self.conv1.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(x) * self.gate(x).sigmoid()


class StrangersBank(Stranger):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.weight = nn.Parameter(torch.stack([self.conv1.weight.detach()] * 3))


class StrangersReset(Stranger):
    def reset_kernels(self, draw: Any) -> None:
        draw(self.conv1.weight)


def test_a_strangers_layer_starts_as_its_author_wrote_unless_it_shows_its_kernels():
    own, bank, reset = (small(kind).layer2[1].conv1 for kind in (Stranger, StrangersBank, StrangersReset))
    expected = (2 / (16 * 9)) ** 0.5
    assert own.conv1.weight.abs().max() == 0 and bank.conv1.weight.abs().max() == 0
    for layer in (own, bank, reset):
        assert torch.equal(layer.gate.weight, torch.full_like(layer.gate.weight, 0.5))
    for kernel in (*bank.weight, reset.conv1.weight):
        assert kernel.std().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("conv", "message"),
    [
        (nn.ReLU, r"conv: ReLU cannot be called as conv\(in_channels, out_channels, kernel_size=, stride=, padding="),
        (partial(DYConv2d, kernels=3), "conv: DYConv2d cannot be called as .*'kernels'"),
        (partial(nn.Conv2d, padding=0), "conv.padding: is set by the network"),
        (lambda *_, **__: 3, "conv builds an object of type int, which is no torch.nn.Module"),
    ],
)
def test_what_is_no_convolution(conv, message):
    with pytest.raises(ValueError, match=message):
        small(conv)


def test_a_layer_that_cannot_start_from_a_static_kernel_is_named(tmp_path):
    torch.save(small(nn.Conv2d).state_dict(), tmp_path / "small.pth")
    with pytest.raises(ValueError, match=r"weights: layer1.0.conv1 is a Stranger, which starts from no kernel"):
        small(Stranger, weights=str(tmp_path / "small.pth"))
    x = torch.randn(2, 3, 8, 8)
    model, static = (small(conv, weights=str(tmp_path / "small.pth")).eval() for conv in (DYConv2d, nn.Conv2d))
    model.fc = static.fc
    torch.testing.assert_close(model(x), static(x), rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient():
    model = dynamic()
    model(torch.randn(2, 3, 16, 16)).square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert without == []


def test_temperature_reaches_every_layer_and_the_state_dict():
    model = dynamic()
    set_temperature(model, 5.0)
    assert get_temperature(model) == 5.0
    saved = [value for name, value in model.state_dict().items() if name.endswith(".temperature")]
    assert len(saved) == 19 and all(value == 5.0 for value in saved)
    assert get_temperature(resnet18(10, "cifar", 0.1, "none")) is None


def test_both_twins_draw_their_kernels_from_one_distribution():
    expected = (2 / (256 * 9)) ** 0.5
    static = resnet18(10, "cifar", 0.1, "none").layer3[1].conv1.weight
    kernels = dynamic(num_kernels=3).layer3[1].conv1.weight
    for kernel in (static, *kernels):
        assert kernel.std().item() == pytest.approx(expected, rel=0.01)
    assert not torch.equal(kernels[0], kernels[1])


def test_dropout_acts_before_the_last_layer_in_training_only():
    model = resnet18(10, "cifar", 0.9, "none")
    seen: list[Tensor] = []
    model.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(2, 3, 16, 16)
    model(x)
    model.eval()(x)
    assert (seen[0] == 0).float().mean() > 0.8
    assert (seen[1] == 0).float().mean() < 0.5


@pytest.mark.slow
def test_weights_of_a_static_network_start_a_dynamic_one(tmp_path):
    static = resnet18(10, "cifar", 0.1, "none").eval()
    randomise_batch_norm(static)
    torch.save(static.state_dict(), tmp_path / "static.pth")
    for model in (
        resnet18(7, "cifar", 0.1, str(tmp_path / "static.pth")),
        dynamic(weights=str(tmp_path / "static.pth")),
    ):
        model.fc = static.fc
        x = torch.randn(2, 3, 16, 16)
        torch.testing.assert_close(model.eval()(x), static(x), rtol=1e-4, atol=1e-4)


def test_weights_that_do_not_reach_to_the_last_stage():
    with pytest.raises(ValueError, match=r"bundled.*lack.*none"):
        resnet18(10, "imagenet", 0.1, "bundled")


def test_the_twins_configs_differ_in_the_filter_only():
    static = yaml.safe_load((CONF / "resnet18.yaml").read_text())
    dynamic_config = yaml.safe_load((CONF / "dyconv_resnet18.yaml").read_text())
    filters = {"_target_", "num_kernels", "reduction", "attention", "dynamic_layers"}
    shared = {k: v for k, v in static.items() if k not in {"_target_", "defaults", "width", "dynamic_layers"}}
    assert {k: v for k, v in dynamic_config.items() if k not in filters} == shared


@pytest.mark.slow
def test_dyconv_resnet18_is_resnet18_with_that_convolution():
    torch.manual_seed(3)
    ours = network("resnet18", "model/conv=dyconv").state_dict()
    torch.manual_seed(3)
    theirs = network("dyconv_resnet18").state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
