"""Cut the bundled sample from the full CIFAR-10: python -m dynfilt.data.cut_sample --root DIR [--out FILE].

An image's turn is the SHA-256 of its pixels, so the choice needs no random numbers and is the same for every
layout of the data and every version of every library.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dynfilt.data.bundle import Split
from dynfilt.data.cifar import read_published
from dynfilt.data.published import CIFAR10
from dynfilt.data.sample import (
    ASSET,
    PIXELS_SHA256,
    SIDE,
    TEST_PER_CLASS,
    TILES,
    TRAIN_PER_CLASS,
    pixels_sha256,
)

# In the test_batch.bin that the sample was cut from, 20 images (19 ships, 1 horse) had gone through JPEG.
# These are the 20: compressed again (quality 75, 4:2:0) their pixels change by less than 0.7 grey levels on
# average, those of every other ship and horse by more than 2. They are left out, whichever copy is read.
INEXACT_TEST_IMAGES = (
    *(1259, 1369, 1422, 2245, 2737, 2935, 3695, 3718, 4085, 4496),
    *(5791, 5896, 6286, 7580, 7707, 7724, 7832, 8117, 8551, 9254),
)


def cut(training: Split, test: Split) -> Tensor:
    """Images uint8 (N, 3, 32, 32) in the order of the bundled picture: training images, then test images."""
    exact = torch.ones(len(test), dtype=torch.bool)
    exact[list(INEXACT_TEST_IMAGES)] = False
    kept = test.subset(exact.nonzero().flatten())
    return torch.cat([first_by_hash(training, TRAIN_PER_CLASS), first_by_hash(kept, TEST_PER_CLASS)])


def first_by_hash(split: Split, per_class: int) -> Tensor:
    """The `per_class` images of every class with the smallest SHA-256, ascending, class after class."""
    chosen = []
    for label in range(len(CIFAR10.class_names)):
        images = split.images[split.labels == label]
        ranks = sorted(range(len(images)), key=lambda i: hashlib.sha256(images[i].numpy().tobytes()).digest())
        chosen.append(images[ranks[:per_class]])
    return torch.cat(chosen)


def mosaic(images: Tensor) -> Image.Image:
    """The picture of TILES x TILES images (TILES * TILES, 3, 32, 32), row after row."""
    tiles = images.view(TILES, TILES, 3, SIDE, SIDE).permute(0, 3, 1, 4, 2)
    return Image.fromarray(np.ascontiguousarray(tiles.reshape(TILES * SIDE, TILES * SIDE, 3).numpy()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", required=True, help="folder that holds the full CIFAR-10")
    parser.add_argument("--out", type=Path, default=ASSET, help="picture to write, default: the bundled one")
    args = parser.parse_args()
    images = cut(*read_published(CIFAR10, args.root))
    digest = pixels_sha256(images)
    if digest != PIXELS_SHA256:
        parser.error(f"the pixels cut from {args.root} have SHA-256 {digest}, expected {PIXELS_SHA256}")
    mosaic(images).save(args.out, "WEBP", lossless=True, quality=80, method=6)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes, SHA-256 of the pixels {digest}")


if __name__ == "__main__":
    main()
