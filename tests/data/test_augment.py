from collections import Counter

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision_functional

from dynfilt.data.augment import flip_and_crop, normalise, rotate
from dynfilt.seeding import seeded_generator

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def pictures(count: int, height: int, width: int) -> Tensor:
    """Random images without zeros, so that a zero is border."""
    return torch.randint(1, 256, (count, 3, height, width), generator=seeded_generator("cpu", "pictures")).to(
        torch.uint8
    )


def candidates(image: Tensor, pad: int) -> dict[tuple[bool, int, int], Tensor]:
    """Every flip and crop of one image by slicing: torchvision's order of first mirror, then pad and crop."""
    found = {}
    _, height, width = image.shape
    for mirrored in (False, True):
        source = image.flip(2) if mirrored else image
        canvas = torch.zeros(3, height + 2 * pad, width + 2 * pad, dtype=torch.uint8)
        canvas[:, pad : pad + height, pad : pad + width] = source
        for top in range(2 * pad + 1):
            for left in range(2 * pad + 1):
                found[mirrored, top, left] = canvas[:, top : top + height, left : left + width]
    return found


def recognised(images: Tensor, out: Tensor, pad: int) -> list[tuple[bool, int, int]]:
    """Which flip and crop each output image is; fails if it is none."""
    choices = []
    for image, result in zip(images, out, strict=True):
        matches = [key for key, picture in candidates(image, pad).items() if torch.equal(picture, result)]
        assert len(matches) == 1
        choices.append(matches[0])
    return choices


def test_normalise_is_pixel_over_255_less_mean_over_std() -> None:
    images = torch.arange(256).repeat(3, 1).view(1, 3, 16, 16).to(torch.uint8)
    expected = torch.empty(1, 3, 16, 16, dtype=torch.float64)
    for channel in range(3):
        expected[:, channel] = (images[:, channel].double() / 255 - MEAN[channel]) / STD[channel]
    result = normalise(images, MEAN, STD)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-6)


def test_normalise_leaves_its_input_alone() -> None:
    images = pictures(2, 4, 4)
    before = images.clone()
    normalise(images, MEAN, STD)
    assert torch.equal(images, before)


def test_normalised_images_can_be_trained_on_after_an_evaluation() -> None:
    mean = (0.123, 0.2, 0.3)  # not seen before, so the constants are made in inference mode
    with torch.inference_mode():
        normalise(pictures(1, 4, 4), mean, STD)
    weight = torch.ones(1, 3, 1, 1, requires_grad=True)
    torch.nn.functional.conv2d(normalise(pictures(1, 4, 4), mean, STD), weight).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 8)])
def test_every_flip_and_offset_is_drawn_equally_often(height: int, width: int) -> None:
    images = pictures(1800, height, width)
    out = flip_and_crop(images, True, 1, seeded_generator("cpu", "test"))
    counts = Counter(recognised(images, out, 1))
    assert len(counts) == 18
    assert all(50 <= count <= 150 for count in counts.values())  # 100 expected, SD 9.7


def test_only_what_is_asked_for_happens() -> None:
    images = pictures(60, 6, 6)
    cropped = recognised(images, flip_and_crop(images, False, 2, seeded_generator("cpu", "test")), 2)
    assert not any(mirrored for mirrored, _, _ in cropped)
    assert len(set(cropped)) > 15
    flipped = recognised(images, flip_and_crop(images, True, 0, seeded_generator("cpu", "test")), 0)
    assert 15 < sum(mirrored for mirrored, _, _ in flipped) < 45
    assert torch.equal(flip_and_crop(images, False, 0, seeded_generator("cpu", "test")), images)


def test_rows_and_columns_have_their_own_offset() -> None:
    images = pictures(100, 6, 6)
    drawn = recognised(images, flip_and_crop(images, False, 2, seeded_generator("cpu", "test")), 2)
    assert 5 < sum(top == left for _, top, left in drawn) < 40


def test_augmentation_depends_on_the_generator_alone() -> None:
    images = pictures(16, 8, 8)
    first = flip_and_crop(images, True, 2, seeded_generator("cpu", 0, "augment", 5))
    torch.rand(1)
    assert torch.equal(first, flip_and_crop(images, True, 2, seeded_generator("cpu", 0, "augment", 5)))
    assert not torch.equal(first, flip_and_crop(images, True, 2, seeded_generator("cpu", 0, "augment", 6)))
    assert first.dtype == torch.uint8
    assert first.is_contiguous()


def test_the_border_is_a_black_pixel_after_normalisation() -> None:
    images = torch.full((40, 3, 6, 6), 255, dtype=torch.uint8)
    out = normalise(flip_and_crop(images, False, 1, seeded_generator("cpu", "test")), MEAN, STD)
    black = normalise(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), MEAN, STD)
    assert torch.equal(out.amin(dim=(0, 2, 3), keepdim=True), black)


@pytest.mark.parametrize(("height", "width"), [(9, 9), (6, 11)])
def test_each_image_is_turned_as_torchvision_turns_it(height: int, width: int) -> None:
    images = pictures(5, height, width)
    angles = torch.tensor([0.0, 90.0, -7.5, 33.0, 180.0])
    turned = rotate(images, angles)
    assert turned.dtype == torch.uint8 and turned.is_contiguous() and torch.equal(turned[0], images[0])
    for image, angle, result in zip(images, angles, turned, strict=True):
        expected = torchvision_functional.rotate(image, angle.item(), InterpolationMode.BILINEAR)
        assert (result.int() - expected.int()).abs().max() <= 1  # a half may round to either side
    if height == width:
        assert torch.equal(turned[1], images[1].rot90(1, (1, 2)))
