"""The bundled sample of real CIFAR-10: enough for a demonstration and for tests, without a download.

It is one lossless picture of 50 x 50 tiles of 32 x 32 pixels: rows 0-39 are the training images, four rows a
class, rows 40-49 the test images, one row a class, both in the order of the class numbers. So labels need no
file. dynfilt.data.cut_sample makes it; assets/NOTICE.md says where it comes from.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dynfilt.data.bundle import DataSet, Split, image_data
from dynfilt.data.published import CIFAR10

ASSET = Path(__file__).parent / "assets" / "cifar10_sample.webp"
# Of the pixels, not of the file: encoders differ between versions, the images must not.
PIXELS_SHA256 = "e24b1fb01e757c7efa4c1e5b25513dd711c4ebca327a7da7adf720399ecfc765"
TILES = 50
SIDE = 32
TRAIN_PER_CLASS = 200
TEST_PER_CLASS = 50


@image_data
def cifar10_sample() -> DataSet:
    """2,000 training images (200 a class, of which validation_size are held out) and 500 test images.

    Raises ValueError when the bundled picture is missing or altered.
    """
    images = _read_asset(ASSET)
    cut = TRAIN_PER_CLASS * len(CIFAR10.class_names)
    training, test = Split(images[:cut], _labels(TRAIN_PER_CLASS)), Split(images[cut:], _labels(TEST_PER_CLASS))
    return DataSet(training, test, CIFAR10.class_names)


def pixels_sha256(images: Tensor) -> str:
    """SHA-256, in hexadecimal digits, of uint8 images (N, 3, H, W) in memory order."""
    return hashlib.sha256(images.contiguous().numpy().tobytes()).hexdigest()


def _labels(per_class: int) -> Tensor:
    return torch.arange(len(CIFAR10.class_names)).repeat_interleave(per_class)


def _read_asset(path: Path) -> Tensor:
    remedy = "reinstall dynfilt, or cut it anew with python -m dynfilt.data.cut_sample"
    try:
        with Image.open(path) as picture:
            pixels = np.array(picture.convert("RGB"))
        tiles = pixels.reshape(TILES, SIDE, TILES, SIDE, 3)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: the bundled sample is missing or damaged ({error}); {remedy}") from error
    images = torch.from_numpy(tiles).permute(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE).contiguous()
    if pixels_sha256(images) != PIXELS_SHA256:
        raise ValueError(f"{path}: the bundled sample's pixels do not have the SHA-256 {PIXELS_SHA256}; {remedy}")
    return images
