"""Transfer from ImageNet: what is frozen stays, what is missing starts at random, and images of any size."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dynfilt.models.resnet import resnet18
from dynfilt.models.transfer import TransferResNet18

LAYER4 = [f"layer4.{block}.conv{number}" for block in (0, 1) for number in (1, 2)]


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """A file of ResNet-18's weights without four convolutions, and what it holds."""
    torch.manual_seed(0)
    state = resnet18(10, "imagenet", 1.0, nn.Conv2d, "all", 0.0, "none").state_dict()
    state = {name: value for name, value in state.items() if name.removesuffix(".weight") not in LAYER4}
    path = tmp_path_factory.mktemp("weights") / "partial.pth"
    torch.save(state, path)
    return str(path), state


def network(**changes: Any) -> TransferResNet18:
    defaults = {"num_classes": 5, "image_size": None, "freeze_until": "layer4", "weights": "none", "random_layers": []}
    return TransferResNet18(**{**defaults, **changes})


def test_a_step_changes_layer4_and_the_last_layer_and_nothing_else() -> None:
    torch.manual_seed(0)
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    F.cross_entropy(model(torch.randn(4, 3, 32, 32)), torch.arange(4)).backward()
    optimizer.step()
    changed = {name.split(".")[1] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"layer4", "fc"}  # no BatchNorm statistic of a frozen layer either
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == sum(p.numel() for p in model.network.layer4.parameters()) + 512 * 5 + 5  # type: ignore[operator]
    assert not model.eval().training and not model.network.layer4.training


def test_nothing_is_frozen_from_the_first_layer_on() -> None:
    for freeze_until in (None, "conv1"):
        assert all(p.requires_grad for p in network(freeze_until=freeze_until).parameters())
    assert not any(p.requires_grad for p in network(freeze_until="fc").network.layer4.parameters())  # type: ignore[operator]


def test_a_file_without_some_layers_serves_if_they_are_named(partial: tuple[str, dict[str, Any]]) -> None:
    path, state = partial
    first = r"lack 4 tensors of this network, first 'layer4\.0\.conv1\.weight'"
    with pytest.raises(
        ValueError, match=rf"{first}; model\.random_layers=\[{','.join(LAYER4)}\] starts these at random"
    ):
        network(weights=path)
    with pytest.raises(ValueError, match=rf"lack 3 .*; model\.random_layers=\[{','.join(LAYER4)}\] starts these"):
        network(weights=path, random_layers=LAYER4[:1])
    torch.save({name: value for name, value in state.items() if name != "layer4.1.bn1.weight"}, path)
    with pytest.raises(ValueError, match=r"lack 5 tensors .*'; allowed: "):  # a norm cannot be left out
        network(weights=path)
    torch.save(state, path)
    model = network(weights=path, random_layers=LAYER4)
    own = model.network.state_dict()
    assert all(torch.equal(own[name], value) for name, value in state.items() if not name.startswith("fc."))


def test_images_are_resized_on_the_way() -> None:
    torch.manual_seed(0)
    model, x = network(image_size=48).eval(), torch.randn(2, 3, 20, 30)
    expected = model.network(F.interpolate(x, (48, 48), mode="bilinear", align_corners=False))
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze_until": "layer5"}, "freeze_until: no layer 'layer5'; allowed: conv1, bn1, layer1, .*, layer4, fc"),
        ({"random_layers": ["layer4"]}, r"random_layers: no layer 'layer4'; e\.g\. layer4"),
        ({"image_size": 16}, "image_size=16: ResNet-18 halves an image five times"),
    ],
)
def test_what_is_not_there(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(**changes)
