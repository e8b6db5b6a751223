"""The command `filters`: the activations against a convolution done by hand, photographs, wrong options."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from analysis.__main__ import main
from analysis.filters.first_layer import activations_of, read_photograph, resized
from dynfilt.models.deform_cbam_cnn import DeformCbamCnn


def test_activations_are_the_filters_answers_to_the_photograph(opened: Callable) -> None:
    run = opened("static_3x3")
    picture = read_photograph(run, None, 7)
    assert torch.equal(picture, run.data.test.images[7])
    found = activations_of(run, picture, (49, 3))
    assert found.photograph.shape == (3, 224, 224) and torch.equal(found.taken, picture)
    x = (found.photograph[None] / 255 - 0.5) / 0.5
    weight = run.model.backbone.conv1.weight[[49, 3]].detach()
    assert torch.equal(found.filters, weight)
    torch.testing.assert_close(found.first, F.conv2d(x, weight, stride=2, padding=3)[0])
    assert found.names == ("backbone.conv1", "backbone.layer1.0.conv2") and found.last.shape == (10, 8, 8)


@pytest.mark.slow
def test_the_last_convolution_sees_the_image_at_the_datas_size(opened: Callable) -> None:
    run = opened("cnn_5x5")
    found = activations_of(run, read_photograph(run, None, 0), None)
    assert found.numbers == (14, 26)  # of the usual five, those that 32 filters have
    caught = []
    hook = run.model.convolutions[2].register_forward_hook(lambda layer, arguments, output: caught.append(output))
    _, image, _ = next(run.batches(run.data.test.subset(torch.tensor([0]))))
    run.model(image)
    hook.remove()
    torch.testing.assert_close(found.last, caught[0][0, :10].detach())
    with pytest.raises(ValueError, match=r"--filters 32: convolutions\.0 has 32 filters, from 0"):
        activations_of(run, read_photograph(run, None, 0), (32,))


def test_a_deformable_convolution_shows_what_it_puts_out_not_where_it_looks(by_hand: Callable, noise: Callable) -> None:
    network = DeformCbamCnn(2, "channel", None, attention_first=False, deformable=True, cbam=True, dropout=0.0)
    run = by_hand(network, noise(2, 3, 16, 16).byte(), torch.tensor([0, 1]))
    caught = []
    hook = network.conv4.register_forward_hook(lambda layer, arguments, output: caught.append(output[0]))
    found = activations_of(run, read_photograph(run, None, 0), None)
    hook.remove()
    assert found.names == ("conv1", "conv4") and torch.equal(found.last, caught[0][:10])


def test_a_photograph_is_cut_to_its_middle(opened: Callable, tmp_path: Path) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[:, 5:25] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    picture = read_photograph(opened("static_3x3"), str(tmp_path / "wide.png"), 0)
    assert picture.shape == (3, 20, 20) and (picture == 200).all()
    assert (resized(picture, 224) == 200).all() and resized(picture, 20) is picture


@pytest.mark.slow
def test_a_photograph_is_drawn(trained: Callable[[str], Path], tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(tmp_path / "grey.jpg")
    arguments = ["--image", str(tmp_path / "grey.jpg"), "--filters", "1,2", "--out", str(tmp_path), "--device", "cpu"]
    assert main(["filters", str(trained("dyconv_resnet18")), *arguments, "--format", "svg"]) == 0
    (picture,) = tmp_path.rglob("filters.svg")
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--filters", "1;2"], "must be whole numbers with commas"),
        (["--index", "500"], "the test split has the images 0 to 499"),
        (["--image", "nowhere.jpg"], "cannot be read as a picture"),
        (["--image", __file__], "cannot be read as a picture"),
    ],
)
def test_a_wrong_option_is_one_line(
    words: list[str], message: str, trained: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["filters", str(trained("static_3x3")), "--device", "cpu", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
