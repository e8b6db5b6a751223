"""The plain CNN: its published size, and input that does not fit."""

import pytest
import torch

from dynfilt.models.cnn_5x5 import Cnn5x5

DEFAULTS = {
    "num_classes": 10,
    "channels": [32, 64, 128],
    "kernel_size": 5,
    "hidden_features": 64,
    "image_size": 32,
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_published_parameter_count():
    assert sum(p.numel() for p in Cnn5x5(**DEFAULTS).parameters()) == 390_410


@pytest.mark.parametrize(
    "change", [{}, {"num_classes": 100}, {"kernel_size": 3}, {"channels": [8, 16]}, {"image_size": 37}]
)
def test_scores_and_gradients(change):
    arguments = {**DEFAULTS, **change}
    model = Cnn5x5(**arguments)
    scores = model(torch.randn(2, 3, arguments["image_size"], arguments["image_size"]))
    assert scores.shape == (2, arguments["num_classes"])
    scores.square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


def test_the_layers_are_those_of_the_specification():
    model = Cnn5x5(**DEFAULTS).double().eval()
    x = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    hidden, fc = model.hidden, model.fc
    y = x
    for c, side in zip(model.convolutions, (16, 8, 4), strict=True):
        y = torch.conv2d(y, c.weight, c.bias, padding=2).clamp(min=0).unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
        assert y.shape == (3, c.out_channels, side, side)
    expected = (y.flatten(1) @ hidden.weight.T + hidden.bias).clamp(min=0) @ fc.weight.T + fc.bias
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel_size": 4}, "kernel_size=4.*odd"),
        ({"channels": []}, "at least one"),
        ({"image_size": 7}, "image_size=7.*at least 8"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        Cnn5x5(**{**DEFAULTS, **change})


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 32, 32)])
def test_images_of_another_size(shape):
    with pytest.raises(ValueError, match="expected images"):
        Cnn5x5(**DEFAULTS)(torch.randn(shape))
