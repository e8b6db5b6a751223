"""A data set of one's own, a loader and no more: images of another size reach the models that can take them."""

import pytest
import torch

from dynfilt.data.bundle import DataSet, Split, image_data
from tests.conftest import Command

SIDE = 40


def noise(count: int, channels: int) -> Split:
    images = torch.randint(256, (count, channels, SIDE, SIDE), generator=torch.Generator().manual_seed(count))
    return Split(images.to(torch.uint8), torch.arange(count) % 10)


@image_data
def large(channels: int) -> DataSet:
    """Noise of 40x40 pixels."""
    return DataSet(noise(40, channels), noise(10, channels), tuple("abcdefghij"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["model=resnet8"], ""),
        (["model=cnn_5x5", f"model.image_size={SIDE}"], ""),
        (["model=cnn_5x5"], "set model.image_size to the size of the data"),
        (["model=static_3x3"], "images are (3, 40, 40), must be (3, 32, 32); for other sizes choose a ResNet"),
        (["model=resnet8", "+data.channels=1"], "model: cannot take the images of large, (1, 40, 40) ("),
        (["model=resnet8", "data.flip=1"], "data.flip=1: must be a valid boolean"),
    ],
)
def test_a_loader_is_all_that_a_data_set_needs(words: list[str], problem: str, command: Command) -> None:
    own = ["data=cifar10_sample", f"data._target_={__name__}.large", "data.validation_size=10", "data.flip=true"]
    grey = ["data.mean=[0.5]", "data.std=[0.5]"] if "+data.channels=1" in words else ["+data.channels=3"]
    outcome = command(
        *own, *grey, *words, "trainer=smoke", "trainer.max_steps=1", "trainer.batch_size=2", "tracking=off"
    )
    assert outcome.code == bool(problem), outcome.err
    if problem:
        assert len(outcome.err.splitlines()) == 1 and problem in outcome.err
