import dataclasses
import inspect
import typing
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from dynfilt.data.bundle import DataSet, ImageData, Split, hold_out_validation, image_data

COMMON_TYPES = {"num_classes": int, "validation_size": int, "split_seed": int, "mean": Sequence[float]}
COMMON_TYPES |= {"std": Sequence[float], "flip": bool, "pad": int, "rotate_degrees": float, "return": ImageData}


def split(count: int) -> Split:
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).contiguous()
    return Split(images, torch.arange(count) % 2)


def data(**changes: Any) -> ImageData:
    settings = {"num_classes": 2, "validation_size": 4, "split_seed": 0, "flip": True, "pad": 1}
    settings |= {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], **changes}
    published = DataSet(split(20), split(6), ("cat", "dog"))
    return hold_out_validation("tiny", published, **settings)  # type: ignore[arg-type]


def test_images_keep_their_labels_through_the_split() -> None:
    bundle = data()
    assert (len(bundle.train), len(bundle.val), len(bundle.test)) == (16, 4, 6)
    for part in (bundle.train, bundle.val):
        assert torch.equal(part.images[:, 0, 0, 0].long() % 2, part.labels)
    seen = torch.cat([bundle.train.images, bundle.val.images])[:, 0, 0, 0]
    assert seen.sort().values.tolist() == list(range(20))


def test_settings_are_kept() -> None:
    bundle = data()
    assert (bundle.mean, bundle.std, bundle.flip, bundle.pad) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), True, 1)
    assert (bundle.name, bundle.num_classes) == ("tiny", 2)


def test_moving_moves_all_three_splits() -> None:
    moved = data().to("meta")
    parts = (moved.train, moved.val, moved.test)
    assert {tensor.device.type for part in parts for tensor in (part.images, part.labels)} == {"meta"}
    assert moved.class_names == ("cat", "dog")


def test_the_fingerprint_is_of_the_images_and_labels_of_each_split() -> None:
    one = data()
    assert data(flip=False, pad=0).fingerprint == one.fingerprint
    grown = dataclasses.replace(one, train=split(17))
    labelled = dataclasses.replace(one, test=Split(one.test.images, 1 - one.test.labels))
    pixel = one.val.images.clone()
    pixel[0, 0, 0, 0] ^= 1
    painted = dataclasses.replace(one, val=Split(pixel, one.val.labels))
    assert len({each.fingerprint for each in (one, data(split_seed=1), grown, labelled, painted)}) == 5


def test_subset_keeps_the_order_asked_for() -> None:
    assert split(6).subset(torch.tensor([4, 1, 1])).images[:, 0, 0, 0].tolist() == [4, 1, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 3}, r"data\.num_classes must be 2 for tiny, got 3"),
        ({"mean": [0.5]}, r"data\.mean must be 3 numbers, one a channel, got \[0\.5\]"),
        ({"std": [0.5] * 4}, r"data\.std must be 3 numbers"),
        ({"std": [0.5, 0.0, 0.5]}, r"data\.std must be greater than 0"),
        ({"pad": -1}, r"data\.pad must be 0 .* got -1"),
        ({"rotate_degrees": -1}, r"data\.rotate_degrees must be 0 .* up to 180 degrees, got -1"),
        ({"rotate_degrees": 181}, r"data\.rotate_degrees must be 0"),
        ({"validation_size": 20}, r"data\.validation_size must be between 1 and 19"),
    ],
)
def test_a_bad_setting_names_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data(**changes)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2, 4, 4, 3, dtype=torch.uint8).permute(0, 3, 1, 2), torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_a_split_is_uint8_contiguous_with_a_label_an_image(images: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(AssertionError):
        Split(images, labels)


@image_data
def stripes(count: int) -> DataSet:
    """As many training images as `count`, and 6 of testing."""
    return DataSet(split(count), split(6), ("cat", "dog"))


def test_a_decorated_loader_takes_its_own_arguments_and_then_those_of_a_run() -> None:
    common = {"num_classes": 2, "validation_size": 4, "split_seed": 0, "mean": [0.5] * 3, "std": [0.5] * 3}
    common |= {"flip": False, "pad": 0}
    assert list(inspect.signature(stripes).parameters) == ["count", *common, "rotate_degrees"]
    assert typing.get_type_hints(stripes) == {"count": int, **COMMON_TYPES}
    loaded = stripes(count=10, **common)
    assert (loaded.name, len(loaded.train), len(loaded.val), len(loaded.test)) == ("stripes", 6, 4, 6)
    assert loaded.rotate_degrees == 0 and stripes(count=10, **common, rotate_degrees=5.0).rotate_degrees == 5
    with pytest.raises(TypeError, match="missing a required argument: 'pad'"):
        stripes(count=10, **{key: common[key] for key in common if key != "pad"})


def test_a_validation_split_that_takes_a_class_whole_is_refused() -> None:
    labels = torch.tensor([0] + [1] * 99)
    training = Split(torch.zeros(100, 3, 4, 4, dtype=torch.uint8), labels)
    settings = {"num_classes": 2, "split_seed": 0, "mean": [0.5] * 3, "std": [0.5] * 3, "flip": False, "pad": 0}
    data_set = DataSet(training, training, ("cat", "dog"))
    with pytest.raises(ValueError, match=r"data\.validation_size=50 leaves no training image of the class cat"):
        hold_out_validation("tiny", data_set, validation_size=50, **settings)  # type: ignore[arg-type]
    assert hold_out_validation("tiny", data_set, validation_size=40, **settings).train.labels.min() == 0  # type: ignore[arg-type]
