from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dynfilt.data import sample
from dynfilt.data.bundle import ImageData
from dynfilt.data.cut_sample import mosaic


def load() -> ImageData:
    lab = {"mean": [0.5] * 3, "std": [0.5] * 3, "flip": False, "pad": 0}
    return sample.cifar10_sample(num_classes=10, validation_size=200, split_seed=0, **lab)  # type: ignore[arg-type]


def test_it_has_1800_training_200_validation_and_500_test_images_equal_per_class() -> None:
    data = load()
    for split, per_class in ((data.train, 180), (data.val, 20), (data.test, 50)):
        assert split.images.shape == (10 * per_class, 3, 32, 32)
        assert torch.bincount(split.labels).tolist() == [per_class] * 10


def test_no_image_is_there_twice() -> None:
    data = load()
    images = torch.cat([data.train.images, data.val.images, data.test.images])
    assert len({image.numpy().tobytes() for image in images}) == 2500


def test_labels_belong_to_their_images() -> None:
    """Ships and airplanes are bluer than any other class, in training and in test images."""
    data = load()
    for split in (data.train, data.test):
        colour = split.images.double().mean(dim=(2, 3))
        blueness = colour[:, 2] - colour[:, 0]
        order = torch.stack([blueness[split.labels == k].mean() for k in range(10)]).argsort(descending=True)
        assert {data.class_names[int(k)] for k in order[:2]} == {"airplane", "ship"}


def test_it_fits_the_repository() -> None:
    assert sample.ASSET.stat().st_size < 6e6


def test_the_picture_can_be_made_again_from_its_images() -> None:
    images = torch.randint(256, (2500, 3, 32, 32)).to(torch.uint8)
    picture = mosaic(images)
    tile = torch.from_numpy(np.array(picture.crop((32 * 7, 32 * 3, 32 * 8, 32 * 4))))
    assert torch.equal(tile.permute(2, 0, 1), images[3 * 50 + 7])


def test_an_altered_pixel_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Image.open(sample.ASSET) as picture:
        altered = picture.convert("RGB")
    altered.putpixel((0, 0), tuple(value ^ 1 for value in altered.getpixel((0, 0))))
    altered.save(tmp_path / "altered.png", compress_level=0)
    monkeypatch.setattr(sample, "ASSET", tmp_path / "altered.png")
    with pytest.raises(ValueError, match=r"altered.png: the bundled sample's pixels do not have the SHA-256"):
        load()


@pytest.mark.parametrize("content", [None, b"no picture", sample.ASSET.read_bytes()[:100_000]])
def test_a_missing_or_damaged_file_is_an_error(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        (tmp_path / "broken.webp").write_bytes(content)
    monkeypatch.setattr(sample, "ASSET", tmp_path / "broken.webp")
    with pytest.raises(ValueError, match=r"broken.webp: the bundled sample is missing or damaged"):
        load()


def test_a_picture_of_another_size_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "small.webp", lossless=True)
    monkeypatch.setattr(sample, "ASSET", tmp_path / "small.webp")
    with pytest.raises(ValueError, match=r"small.webp: the bundled sample is missing or damaged"):
        load()
