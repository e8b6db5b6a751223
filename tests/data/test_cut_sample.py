import hashlib
import os

import pytest
import torch

from dynfilt.data import sample
from dynfilt.data.bundle import Split
from dynfilt.data.cifar import read_published
from dynfilt.data.cut_sample import INEXACT_TEST_IMAGES, cut, first_by_hash
from dynfilt.data.published import CIFAR10

DATA_ROOT = os.environ.get("DYNFILT_DATA_ROOT")


def split(per_class: int) -> Split:
    images = torch.randint(256, (10 * per_class, 3, 32, 32)).to(torch.uint8)
    return Split(images, torch.arange(10 * per_class) % 10)


def test_the_smallest_hashes_of_each_class_are_taken_class_after_class() -> None:
    full = split(7)
    chosen = first_by_hash(full, 3).view(10, 3, 3072)
    for label in range(10):
        hashes = sorted(hashlib.sha256(image.numpy().tobytes()).digest() for image in full.images[full.labels == label])
        assert [hashlib.sha256(image.numpy().tobytes()).digest() for image in chosen[label]] == hashes[:3]


def test_the_choice_does_not_depend_on_the_order_of_the_files() -> None:
    full = split(7)
    assert torch.equal(first_by_hash(full, 3), first_by_hash(full.subset(torch.randperm(70)), 3))


def test_inexact_test_images_are_never_taken() -> None:
    """Class 8 has the 20 inexact images, which are darker than 20 here, and just the 50 others it needs."""
    inexact = list(INEXACT_TEST_IMAGES)
    images = torch.randint(20, 256, (10_000, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    images[inexact] = torch.arange(20).view(20, 1, 1, 1)
    labels = torch.arange(10_000) % 10
    labels[labels == 8] = 9
    labels[inexact] = 8
    labels[:50] = 8
    taken = cut(split(200), Split(images.to(torch.uint8), labels))[2000:]
    assert len(taken) == 500
    assert taken.min() >= 20


@pytest.mark.skipif(DATA_ROOT is None, reason="set DYNFILT_DATA_ROOT to a folder with the real data")
@pytest.mark.filterwarnings("ignore:.*test_batch.bin")
def test_the_bundled_sample_is_cut_from_the_real_data() -> None:
    assert sample.pixels_sha256(cut(*read_published(CIFAR10, DATA_ROOT))) == sample.PIXELS_SHA256
