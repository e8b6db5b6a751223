"""A data set of torchvision as list files, which give its images back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image

from dynfilt.data.export_lists import export
from dynfilt.data.image_list import image_list


def picture(number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (5, 5, 3), dtype=np.uint8))


class ByTrain:
    """Three training and two test images."""

    classes = ("a cat", "dog")

    def __init__(self, root: str, train: bool = True) -> None:
        self.images = [(picture(number), number % 2) for number in ((0, 1, 2) if train else (3, 4))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Any:
        return self.images[number]


class BySplit(ByTrain):
    def __init__(self, root: str, split: str = "train") -> None:
        super().__init__(root, split == "train")
        if (split, root) in {("val", "without"), ("valid", "without"), ("val", "valid")}:
            raise ValueError(f"Unknown value '{split}' for argument split")
        if root == "nowhere" or (split, root) == ("val", "half"):
            raise RuntimeError("Dataset not found.\nYou can use download=True")


class Kinds(ByTrain):
    """Its split is a kind of images, as EMNIST's is."""

    def __init__(self, root: str, split: str, **kwargs: Any) -> None:
        if split != "letters":
            raise ValueError(f"Unknown value '{split}' for argument split. Valid values are ('letters',)")
        super().__init__(root, **kwargs)


class Whole(ByTrain):
    """Twelve images, of which nobody said what they are for; two of three are cats."""

    def __init__(self, root: str) -> None:
        if root == "nowhere":
            raise RuntimeError("Dataset not found")
        self.images = [(picture(number), int(number % 3 == 2)) for number in range(12)]


class Boxes(ByTrain):
    def __getitem__(self, number: int) -> Any:
        return self.images[number][0], {"boxes": []}, 0


@pytest.fixture(autouse=True)
def in_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (ByTrain, BySplit, Kinds, Whole, Boxes):
        monkeypatch.setattr(torchvision.datasets, each.__name__, each, raising=False)


@pytest.mark.parametrize(
    ("name", "root", "validation"),
    [("ByTrain", "x", 0), ("BySplit", "x", 2), ("BySplit", "without", 0), ("BySplit", "valid", 2)],
)
def test_the_lists_give_the_images_back(name: str, root: str, validation: int, tmp_path: Path) -> None:
    out = tmp_path / "new" / "lists"
    assert export(name, root, out) == {"train": 3, "test": 2} | ({"val": 2} if validation else {})
    held_out = 0 if validation else 1
    data = image_list(
        **{
            "root": str(out),
            "name": "x",
            "image_size": 5,
            "fit": "stretch",
            "denoise": 0,
            "min_max": False,
            "cache": None,
        },
        **{
            "num_classes": 2,
            "validation_size": held_out,
            "split_seed": 0,
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "flip": False,
            "pad": 0,
        },
    )
    assert data.class_names == ("a cat", "dog") and len(data.train) == 3 - held_out
    for image, number in zip(data.test.images, (3, 4), strict=True):
        assert (image.permute(1, 2, 0).numpy() == np.asarray(picture(number))).all()
    assert data.test.labels.tolist() == [1, 0]
    assert [path.name for path in out.parent.iterdir()] == ["lists"]


@pytest.mark.parametrize(
    ("name", "root", "message"),
    [
        ("Nothing", "x", "Nothing: is no data set of torchvision.datasets"),
        ("wrap_dataset_for_transforms_v2", "x", "is no data set of torchvision.datasets"),
        (
            "Kinds",
            "x",
            "Kinds: its split train is not to be had from x: Unknown value 'train' for argument split. Valid",
        ),
        ("Whole", "nowhere", "Whole: is not to be had from nowhere: Dataset not found"),
        ("FakeData", "x", "FakeData: is not to be had from x"),
        ("BySplit", "nowhere", "BySplit: its split train is not to be had from nowhere: Dataset not found"),
        ("BySplit", "half", "BySplit: its split val is not to be had from half: Dataset not found"),
        ("Boxes", "x", "item 0 of train is no pair of image and label"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(name: str, root: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        export(name, root, tmp_path / "lists")
    assert not list(tmp_path.iterdir())


def test_a_data_set_whose_split_is_a_kind_of_images_is_split_by_train(tmp_path: Path) -> None:
    assert export("Kinds", "x", tmp_path / "lists", {"split": "letters"}) == {"train": 3, "test": 2}


def test_of_a_data_set_without_splits_every_fifth_image_of_a_class_is_for_the_test(tmp_path: Path) -> None:
    assert export("Whole", "x", tmp_path / "lists") == {"train": 11, "test": 1}  # 8 cats, 4 dogs
    (tested,) = (tmp_path / "lists" / "test.txt").read_text().split("\n")[:-1]
    file, label = tested.rsplit(" ", 1)
    assert label == "0"  # the fifth cat is the seventh image
    assert (np.asarray(Image.open(tmp_path / "lists" / file)) == np.asarray(picture(6))).all()


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exists already"):
        export("ByTrain", "x", tmp_path)
