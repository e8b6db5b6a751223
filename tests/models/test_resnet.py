"""ResNet-18 against torchvision's, and the dynamic network against its static twin."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from dynfilt.layers.attention import get_temperature, set_temperature
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.models.resnet import ResNet18, dyconv_resnet18, resnet18

ALL = ["layer1", "layer2", "layer3", "layer4"]
CONF = Path(__file__).resolve().parents[2] / "conf" / "model"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def dynamic(num_kernels: int = 2, layers: list[str] = ALL, stem: str = "cifar", weights: str = "none") -> ResNet18:
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


def test_equals_torchvision():
    from torchvision.models import resnet18 as published

    theirs = published(weights=None)
    randomise_batch_norm(theirs)
    ours = resnet18(1000, "imagenet", 0.1, "none")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 48)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("classes", "stem", "count"), [(1000, "imagenet", 11_689_512), (10, "cifar", 11_173_962)])
def test_parameters_of_the_static_network(classes, stem, count):
    assert parameters(resnet18(classes, stem, 0.1, "none")) == count


def test_parameters_of_the_dynamic_network():
    static, model = resnet18(10, "cifar", 0.1, "none"), dynamic(num_kernels=4)
    expected = parameters(static)
    for name in dynamic_names(model):
        convolution = static.get_submodule(name)
        channels = convolution.in_channels
        hidden = channels // 4 + 1
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
    static = resnet18(10, "cifar", 0.1, "none")
    convolutions = {name for name, layer in static.named_modules() if isinstance(layer, nn.Conv2d)}
    assert dynamic_names(dynamic()) == convolutions - {"conv1"}
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
    assert dynamic_names(dynamic(layers=layers)) == expected


@pytest.mark.parametrize("name", ["layer5", "layer", "conv1", "layer1.2", "layer1.0.downsample", "fc", ""])
def test_unknown_dynamic_layer(name):
    with pytest.raises(ValueError, match="allowed are layer1, layer2"):
        dynamic(layers=["layer1", name])


def test_unknown_stem():
    with pytest.raises(ValueError, match=r"stem='mnist'.*imagenet, cifar"):
        resnet18(10, "mnist", 0.1, "none")


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
    filters = {"num_kernels", "reduction", "attention", "dynamic_layers"}
    del static["_target_"], dynamic_config["_target_"]
    assert {k: v for k, v in dynamic_config.items() if k not in filters} == static
