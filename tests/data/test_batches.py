import dataclasses
from typing import Any

import pytest
import torch

from dynfilt.data.augment import flip_and_crop, normalise, rotate
from dynfilt.data.batches import TrainingBatches, evaluation_batches
from dynfilt.data.bundle import ImageData, Split
from dynfilt.seeding import seeded_generator

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


def split(count: int) -> Split:
    """Image i is noise and has the label i, by which a test knows it again."""
    images = torch.randint(256, (count, 3, 8, 8), generator=seeded_generator("cpu", "images", count))
    return Split(images.to(torch.uint8), torch.arange(count))


@pytest.fixture
def data() -> ImageData:
    names = tuple(str(number) for number in range(50))
    return ImageData("tiny", split(50), split(10), split(12), names, MEAN, STD, flip=False, pad=0)


@pytest.fixture
def augmented(data: ImageData) -> ImageData:
    return dataclasses.replace(data, flip=True, pad=2, rotate_degrees=20.0)


def epoch_labels(batches: TrainingBatches, epoch: int) -> list[int]:
    steps = range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)
    return torch.cat([batches.batch(step)[1] for step in steps]).tolist()


def test_an_epoch_shows_every_image_once_and_keeps_the_partial_batch(data: ImageData) -> None:
    batches = TrainingBatches(data, 16, 0)
    assert batches.steps_per_epoch == 4
    assert [len(batches.batch(step)[0]) for step in range(8)] == [16, 16, 16, 2] * 2
    for epoch in range(3):
        assert sorted(epoch_labels(batches, epoch)) == list(range(50))


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 50), (25, 2), (50, 1)])
def test_steps_per_epoch(data: ImageData, batch_size: int, steps: int) -> None:
    assert TrainingBatches(data, batch_size, 0).steps_per_epoch == steps


def test_epochs_and_seeds_have_their_own_order(data: ImageData) -> None:
    orders = [epoch_labels(TrainingBatches(data, 16, seed), epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert list(range(50)) not in orders


def test_a_batch_is_a_function_of_seed_and_step_in_any_order_of_calls(augmented: ImageData) -> None:
    steps = torch.randperm(12).tolist()
    forward, jumping = TrainingBatches(augmented, 16, 3), TrainingBatches(augmented, 16, 3)
    expected = [forward.batch(step) for step in range(12)]
    for step in steps:
        torch.rand(step)
        images, labels = jumping.batch(step)
        assert torch.equal(images, expected[step][0])
        assert torch.equal(labels, expected[step][1])


def test_the_global_stream_is_neither_read_nor_moved(augmented: ImageData) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    TrainingBatches(augmented, 16, 0).batch(5)
    assert torch.equal(torch.rand(3), expected)


def test_without_augmentation_images_are_the_normalised_originals(data: ImageData) -> None:
    images, labels = TrainingBatches(data, 16, 0).batch(6)
    assert torch.equal(images, normalise(data.train.images[labels], MEAN, STD))


def test_augmentation_is_the_one_of_seed_and_step(augmented: ImageData) -> None:
    images, labels = TrainingBatches(augmented, 16, 9).batch(6)
    generator = seeded_generator("cpu", 9, "augment", 6)
    drawn = flip_and_crop(augmented.train.images[labels], True, 2, generator)
    unturned = TrainingBatches(dataclasses.replace(augmented, rotate_degrees=0.0), 16, 9).batch(6)[0]
    assert torch.equal(unturned, normalise(drawn, MEAN, STD))
    angles = 20 * (2 * torch.rand(16, generator=generator, dtype=torch.float64) - 1)
    assert torch.equal(images, normalise(rotate(drawn, angles), MEAN, STD)) and not torch.equal(images, unturned)


@pytest.mark.parametrize("change", [{"flip": True}, {"pad": 1}, {"rotate_degrees": 5.0}])
def test_any_augmentation_works_alone(data: ImageData, change: dict[str, Any]) -> None:
    plain = TrainingBatches(data, 50, 0).batch(0)[0]
    assert not torch.equal(TrainingBatches(dataclasses.replace(data, **change), 50, 0).batch(0)[0], plain)


@pytest.mark.parametrize("size", [0, -3, 51])
def test_a_batch_size_that_does_not_fit_names_its_key_and_the_images(data: ImageData, size: int) -> None:
    message = rf"trainer.batch_size must be between 1 and 50, the number of training images of tiny, got {size}"
    with pytest.raises(ValueError, match=message):
        TrainingBatches(data, size, 0)


def test_evaluation_shows_every_image_once_in_the_stored_order(data: ImageData) -> None:
    batches = list(evaluation_batches(data.test, MEAN, STD, 5, None))
    assert [len(labels) for _, _, labels in batches] == [5, 5, 2]
    assert torch.cat([indices for indices, _, _ in batches]).tolist() == list(range(12))
    images = torch.cat([images for _, images, _ in batches])
    assert torch.equal(images, normalise(data.test.images, MEAN, STD))


def test_evaluation_follows_the_order_given(data: ImageData) -> None:
    order = torch.randperm(12)
    for position, (indices, images, labels) in enumerate(evaluation_batches(data.test, MEAN, STD, 5, order)):
        assert torch.equal(indices, order[5 * position : 5 * position + 5])
        assert torch.equal(labels, indices)
        assert torch.equal(images, normalise(data.test.images[indices], MEAN, STD))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cpu_and_gpu_train_on_the_same_batches(augmented: ImageData) -> None:
    on_cpu, on_gpu = TrainingBatches(augmented, 16, 0), TrainingBatches(augmented.to("cuda"), 16, 0)
    for step in range(6):
        images, labels = on_gpu.batch(step)
        assert images.is_cuda
        assert torch.equal(images.cpu(), on_cpu.batch(step)[0])
        assert torch.equal(labels.cpu(), on_cpu.batch(step)[1])
