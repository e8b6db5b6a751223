"""Image files of any size and mode as one uint8 array on disk: made once, read by every run through the page cache."""

import contextlib
import hashlib
import json
import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import PIL
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows: two processes may do the same work there, each in its own file
    fcntl = None  # type: ignore[assignment]

Fit = Literal["stretch", "crop"]
FORMAT = 1  # of the cache; to be raised when the pixels of an image change
CHECKSUM_BYTES = 4  # a CRC-32 of all pixels, after the last of them
SECONDS_BETWEEN_LOOKS = 0.1  # for whether another process has filled the cache

_check_whether_to_stop: ContextVar[Callable[[], None]] = ContextVar("check_whether_to_stop", default=lambda: None)


@dataclass(frozen=True)
class ImageFile:
    """An image: its path, its name within the data set, and where it is listed, for messages."""

    path: Path
    name: str
    where: str


@dataclass(frozen=True)
class Preparation:
    """What is done to every image once: resized, denoised and its values stretched, in this order.

    `fit`: `stretch` resizes both sides, `crop` the shorter one and cuts the middle out; bilinear with antialiasing.
    `denoise`, where it is not 0, is the strength of non-local means (Buades, Coll and Morel 2005), by OpenCV. `min_max`
    stretches an image's values, over all channels together, to 0 .. 255; an image of one value stays as it is.
    Raises ValueError for another fit and a negative strength.
    """

    size: int
    fit: Fit
    denoise: float
    min_max: bool

    def __post_init__(self) -> None:
        if self.fit not in get_args(Fit):
            raise ValueError(f"data.fit={self.fit!r}: choose one of {', '.join(get_args(Fit))}")
        if self.denoise < 0:
            raise ValueError(f"data.denoise={self.denoise:g}: must be 0 (none) or a strength, such as 3")

    @property
    def key(self) -> list[Any]:
        """What the prepared pixels depend on beside the image."""
        denoised = [self.denoise, _opencv().__version__] if self.denoise else []
        return [FORMAT, PIL.__version__, self.size, self.fit, *denoised, *["min_max"] * self.min_max]

    def prepared(self, image: Image.Image) -> np.ndarray:
        """An RGB image as pixels (size, size, 3), uint8."""
        shape = (self.size, self.size)
        if self.fit == "crop":
            image = ImageOps.fit(image, shape, Image.Resampling.BILINEAR)
        else:
            image = image.resize(shape, Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        if self.denoise:
            pixels = _opencv().fastNlMeansDenoisingColored(pixels, None, self.denoise, self.denoise)
        return _stretched(pixels) if self.min_max else pixels


def read_images(title: str, files: Sequence[ImageFile], preparation: Preparation, cache: Path, owner: str) -> Tensor:
    """The images (N, 3, size, size), uint8, mapped from the cache, where they are put first if need be.

    The cache's key is every file's name, length and time of change with the settings and `owner`, the folder of the
    images where others share the cache, so that a changed image or list is read anew; its array appears whole or not at
    all, and of several processes one makes it. Raises ValueError, naming the place in the list, for images that are
    missing or unreadable, and for a cache that cannot be written.
    """
    path = cache / f"{_key(files, preparation, owner)}.bin"
    shape = (len(files), 3, preparation.size, preparation.size)
    try:
        if not _is_whole(path, math.prod(shape)):
            cache.mkdir(parents=True, exist_ok=True)
            with _alone(cache) as alone:
                if not _is_whole(path, math.prod(shape)):
                    if alone:
                        _remove_left_overs(path)
                    _write(path, title, files, preparation)
        # Copy on write: torch wants an array that it may write to, and the file stays as it is.
        return torch.from_numpy(np.memmap(path, np.uint8, "c", shape=shape))
    except OSError as error:
        raise ValueError(f"data.cache: {error}; set data.cache to a folder that can be written") from error


@contextlib.contextmanager
def stopped_by(check: Callable[[], None]) -> Iterator[None]:
    """Have whatever fills a cache meanwhile call `check` after each image, and end by what it raises, with nothing left
    behind."""
    # Not an argument: between here and there is the config of a data set, which may be anybody's.
    token = _check_whether_to_stop.set(check)
    try:
        yield
    finally:
        _check_whether_to_stop.reset(token)


def decode(path: Path, preparation: Preparation) -> np.ndarray:
    """An image file as prepared RGB pixels (3, size, size), uint8, turned upright by its EXIF tag.

    Greyscale, 16 bits, palettes and CMYK become RGB; what is transparent is laid on white.
    """
    with Image.open(path) as opened:
        image = _as_rgb(ImageOps.exif_transpose(opened))
    return preparation.prepared(image).transpose(2, 0, 1)


def _stretched(pixels: np.ndarray) -> np.ndarray:
    low, high = int(pixels.min()), int(pixels.max())
    return np.rint((pixels - low) * (255 / (high - low))).astype(np.uint8) if high > low else pixels


def _opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ValueError("data.denoise needs OpenCV: pip install 'dynfilt[denoise]', or set it to 0") from error
    return cv2


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(f"its pixels of mode {image.mode} are no numbers of 8 or 16 bits")
        image = Image.fromarray((values / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _key(files: Sequence[ImageFile], preparation: Preparation, owner: str) -> str:
    """Raises ValueError for files that are missing, and for OpenCV where it is needed and missing."""
    digest = hashlib.sha256(json.dumps([*preparation.key, owner] if owner else preparation.key).encode())
    missing = []
    for file in files:
        try:
            stat = file.path.stat()
        except OSError:
            missing.append(file)
            continue
        digest.update(json.dumps([file.name, stat.st_size, stat.st_mtime_ns]).encode())
    _refuse([(file, f"{file.path} is missing") for file in missing])
    return digest.hexdigest()[:32]


def _is_whole(path: Path, size: int) -> bool:
    """Whether the file is there with so many bytes of pixels and their checksum; a disk that failed may have cut it or
    lost what it held."""
    if not path.is_file():
        return False
    stat = path.stat()
    return stat.st_size == size + CHECKSUM_BYTES and _has_its_checksum(path, stat.st_mtime_ns)


@lru_cache  # once a process, whose runs share the file: a gigabyte takes a quarter of a second, and is then in memory
def _has_its_checksum(path: Path, _time_of_change: int) -> bool:
    content = np.memmap(path, np.uint8, "r")
    pixels, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    return zlib.crc32(pixels.data) == int.from_bytes(checksum.tobytes(), "little")


def _remove_left_overs(path: Path) -> None:
    """Remove what a process that was killed had begun to write."""
    for left_over in path.parent.glob(f"{path.stem}.*.partial"):
        left_over.unlink(missing_ok=True)


def _write(path: Path, title: str, files: Sequence[ImageFile], preparation: Preparation) -> None:
    """Decode all images into a file of another name, which takes its own when it is whole."""
    partial = path.with_suffix(f".{os.getpid()}.partial")

    def read(file: ImageFile) -> np.ndarray | str:
        try:
            return decode(file.path, preparation)
        except Exception as error:  # a damaged image can raise anything
            return f"{file.path.name} cannot be read ({type(error).__name__}: {' '.join(str(error).split())})"

    problems, checksum, check = [], 0, _check_whether_to_stop.get()
    try:
        with open(partial, "wb") as target, ThreadPoolExecutor() as pool:
            bar = tqdm(files, desc=f"reading {title}", unit="image", disable=None, leave=False)
            for file, image in zip(bar, pool.map(read, files), strict=True):
                check()
                if isinstance(image, str):
                    problems.append((file, image))
                elif not problems:
                    checksum = zlib.crc32(pixels := image.tobytes(), checksum)
                    target.write(pixels)
            _refuse(problems)
            target.write(checksum.to_bytes(CHECKSUM_BYTES, "little"))
            target.flush()
            os.fsync(target.fileno())  # after a crash a file of this length could hold anything
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _refuse(problems: Sequence[tuple[ImageFile, str]]) -> None:
    if problems:
        file, problem = problems[0]
        more = f"; likewise {len(problems) - 1} more images" if len(problems) > 1 else ""
        where = "" if str(file.path) == file.where else f"{file.where}: "
        raise ValueError(f"{where}{problem}{more}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Wait for the other processes that fill this cache; where the file system cannot lock, they do the same work, and
    the answer is False."""
    held, locked = os.open(folder, os.O_RDONLY), False
    try:
        while fcntl is not None and not locked:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked = True
            except BlockingIOError:
                _check_whether_to_stop.get()()
                time.sleep(SECONDS_BETWEEN_LOOKS)
            except OSError:
                break
        yield locked
    finally:
        os.close(held)
