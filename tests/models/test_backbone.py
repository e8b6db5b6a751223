"""The backbone against torchvision's ResNet-18, outputs and gradients."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet, resnet18

from dynfilt.models.backbone import Backbone

FIRST = ("conv1", "bn1", "layer1")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResNet, str]:
    """torchvision's network with lively BatchNorm statistics, and a file of its first layers."""
    torch.manual_seed(0)
    model = resnet18(weights=None)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_mean, layer.weight, layer.bias):
                assert tensor is not None
                nn.init.normal_(tensor, mean=0.3, std=0.3)
            assert layer.running_var is not None
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save({k: v for k, v in model.state_dict().items() if k.startswith(FIRST)}, path)
    return model, str(path)


def first_layers(model: ResNet, blocks: int) -> nn.Sequential:
    return nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool, *list(model.layer1)[:blocks])


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("training", [True, False])
def test_equals_torchvisions_first_layers(published: tuple[ResNet, str], blocks: int, training: bool) -> None:
    model, path = published
    theirs = copy.deepcopy(first_layers(model, blocks)).double().train(training)
    ours = Backbone(blocks, path).double().train(training)
    images = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    y, expected = ours(images), theirs(images)
    assert y.shape == (3, 64, 8, 8)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-12)
    cotangent = torch.randn_like(expected)
    own, other = list(ours.parameters()), list(theirs.parameters())
    assert len(own) == len(other) == 3 + 6 * blocks
    gradients: list[tuple[Tensor, ...]] = [
        torch.autograd.grad(out, tensors, cotangent) for out, tensors in ((y, own), (expected, other))
    ]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_two_blocks_are_whole_layer1(published: tuple[ResNet, str]) -> None:
    model, _ = published
    assert list(Backbone(2, "none").state_dict()) == [name for name in model.state_dict() if name.startswith(FIRST)]


@pytest.mark.parametrize("weights", ["bundled", "none"])
def test_nothing_is_frozen(weights: str) -> None:
    backbone = Backbone(1, weights)
    backbone(torch.randn(4, 3, 32, 32)).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("blocks", [0, 3, -1])
def test_layer1_has_two_blocks(blocks: int) -> None:
    with pytest.raises(ValueError, match=rf"backbone_blocks={blocks}: .*allowed: 1, 2"):
        Backbone(blocks, "none")


@pytest.mark.parametrize("size", [(64, 64), (28, 28), (32, 64), (31, 31)])
def test_images_of_another_size(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"must be \(3, 32, 32\)"):
        Backbone(1, "none")(torch.zeros(2, 3, *size))
