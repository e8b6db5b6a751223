"""Photographs in list files (`path label` a line) or in ImageFolder's layout, as uint8 images of one size."""

import os
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from dynfilt.data.bundle import DataSet, Split, image_data
from dynfilt.data.image_cache import Fit, ImageFile, Preparation, read_images

SPLITS = ("train", "val", "test")
CLASSES = "classes.txt"
MOST_DIGITS = 40  # of a label; Python refuses to read thousands
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Listing:
    """The images of one split with their labels, and the list file or folder that names them."""

    source: Path
    files: list[ImageFile]
    labels: list[int]


@image_data
def image_list(
    root: str | None, name: str, image_size: int, fit: Fit, denoise: float, min_max: bool, cache: str | None
) -> DataSet:
    """The images that train.txt, test.txt and, if there is one, val.txt under `root` list; or the folders of those
    names, with a folder of images for each class (torchvision's ImageFolder).

    A line is a path, relative to the list, and a label from 0; the path may hold spaces. Class names are the lines of
    classes.txt, the folders' names, or the labels. `name` stands for the images in a run's identity, since a path does
    not. Every image is brought to image_size x image_size once, prepared as dynfilt.data.image_cache.Preparation says,
    and kept under `cache` (None: .image_cache under `root`), which several roots may share. With a validation split of
    its own, validation_size must be 0.
    Raises ValueError, naming file and line, for what is missing or wrong; warns of images that two splits share, or
    that one lists twice.
    """
    if root is None:
        raise ValueError(
            "data.root: must be the folder with train.txt and test.txt, or with the folders train and test"
        )
    folder = Path(root).expanduser()
    if not name:
        raise ValueError("data.name: must not be empty: it tells runs on these images from runs on others")
    if image_size < 1:
        raise ValueError(f"data.image_size={image_size}: must be at least 1 pixel")
    preparation = Preparation(image_size, fit, denoise, min_max)
    listings, class_names = _listings(folder)
    _require_every_class(listings["train"], class_names)
    _warn_of_shared_images(listings)
    place = folder / ".image_cache" if cache is None else Path(cache).expanduser()
    # Images of two folders may share names, lengths and times of change.
    owner = "" if cache is None else str(folder.resolve())
    splits = {
        key: Split(read_images(each.source.name, each.files, preparation, place, owner), torch.tensor(each.labels))
        for key, each in listings.items()
    }
    return DataSet(splits["train"], splits["test"], class_names, splits.get("val"))


def _listings(folder: Path) -> tuple[dict[str, Listing], tuple[str, ...]]:
    """The splits under a folder and the names of their classes. Raises ValueError for splits that are not there."""
    if (folder / "train.txt").is_file():
        listings = {key: _read_list(folder / f"{key}.txt") for key in SPLITS if (folder / f"{key}.txt").is_file()}
        names = _class_names(folder, listings)
    elif (folder / "train").is_dir():
        names = tuple(each.name for each in _class_folders(folder / "train"))
        listings = {key: _read_folder(folder / key, names) for key in SPLITS if (folder / key).is_dir()}
    else:
        raise ValueError(f"data.root: {folder} has neither train.txt nor a folder train")
    if "test" not in listings:
        raise ValueError(f"data.root: {folder} has no test.txt or folder test beside that of training")
    return listings, names


def _read_list(path: Path) -> Listing:
    """Read a list file, whole before any image. Raises ValueError naming the first line that is wrong."""
    files, labels = [], []
    for number, raw in enumerate(path.read_bytes().splitlines(), start=1):
        where = f"{path}, line {number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise ValueError(f"{where}: is not UTF-8 text") from None
        if not line:
            continue
        image, *rest = line.rsplit(None, 1)
        if not rest:
            raise ValueError(f"{where}: {line!r} must be a path and a label")
        [label] = rest
        if "\0" in image:
            raise ValueError(f"{where}: the path {image!r} holds a NUL byte")
        if not (label.isascii() and label.isdigit()):
            raise ValueError(f"{where}: the label {label!r} must be a whole number from 0")
        if len(label) > MOST_DIGITS:
            raise ValueError(
                f"{where}: the label {label[:MOST_DIGITS]}... has {len(label)} digits, of at most {MOST_DIGITS}"
            )
        inside = os.path.normpath(image)
        if os.path.isabs(inside) or inside.split(os.sep)[0] == os.pardir:
            raise ValueError(f"{where}: {image} lies outside the list's folder")
        files.append(ImageFile(path.parent / inside, inside, where))
        labels.append(int(label))
    if not files:
        raise ValueError(f"{path}: lists no image")
    return Listing(path, files, labels)


def _read_folder(folder: Path, class_names: Collection[str]) -> Listing:
    """Read a split in ImageFolder's layout. Raises ValueError for a class that training does not have."""
    files, labels = [], []
    numbers = {name: number for number, name in enumerate(class_names)}
    for each in _class_folders(folder):
        if each.name not in numbers:
            raise ValueError(f"{each}: is no class of the training images")
        for path in sorted(path for path in _files_below(each) if path.suffix.lower() in SUFFIXES):
            files.append(ImageFile(path, path.relative_to(folder).as_posix(), str(path)))
            labels.append(numbers[each.name])
    if not files:
        raise ValueError(f"{folder}: holds no image in folders of classes")
    return Listing(folder, files, labels)


def _class_folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))


def _files_below(folder: Path) -> Iterator[Path]:
    """Files at any depth, behind links too, but none that begins with a dot nor in a folder that does."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link leads back to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in files if not name.startswith("."))


def _class_names(folder: Path, listings: dict[str, Listing]) -> tuple[str, ...]:
    """The lines of classes.txt, else the labels of training. Raises ValueError for a label without a class."""
    path, training = folder / CLASSES, listings["train"]
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: is not UTF-8 text") from None
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
        known = f"{path} names {len(names)} classes"
    else:
        present = set(training.labels)
        count = next(number for number in range(len(present) + 1) if number not in present)
        if count == 0:
            raise ValueError(f"{training.source}: no training image of the class 0")
        names, known = tuple(map(str, range(count))), f"{training.source} has images of the classes 0 to {count - 1}"
    for listing in listings.values():
        for file, label in zip(listing.files, listing.labels, strict=True):
            if label >= len(names):
                raise ValueError(f"{file.where}: the label {label} is out of range: {known}")
    return names


def _require_every_class(training: Listing, class_names: tuple[str, ...]) -> None:
    present = set(training.labels)
    missing = [name for number, name in enumerate(class_names) if number not in present]
    if missing or not class_names:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise ValueError(f"{training.source}: no training image of the class {names or '0'}")


def _place(path: Path) -> str:
    """Where a file is, behind all links."""
    inside = os.path.join(_real_folder(path.parent), path.name)
    return os.path.realpath(inside) if os.path.islink(inside) else inside


@lru_cache  # of many images in few folders
def _real_folder(folder: Path) -> str:
    return os.path.realpath(folder)


def _warn_of_shared_images(listings: dict[str, Listing]) -> None:
    """Warn of images that two splits share, or that one holds twice, by whatever names."""
    first: dict[str, ImageFile] = {}
    split: dict[str, str] = {}
    for listing in listings.values():
        name = listing.source.name
        shared: list[ImageFile] = []
        twice: list[ImageFile] = []
        for file in listing.files:
            place = _place(file.path)
            if first.setdefault(place, file) is not file:
                (twice if split[place] == name else shared).append(file)
            split.setdefault(place, name)
        for files, words in ((shared, "is in {split} too"), (twice, "is listed already, at {first.where}")):
            if files:
                place = _place(files[0].path)
                more = f"; likewise {len(files) - 1} more images" if len(files) > 1 else ""
                found = words.format(split=split[place], first=first[place])
                warnings.warn(f"{files[0].where}: {files[0].name} {found}{more}", stacklevel=3)
