"""The data of one run: three splits of uint8 images with what it takes to feed them to a network."""

import dataclasses
import functools
import inspect
import typing
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynfilt.data.splits import stratified_holdout

HALF_TURN = 180


@dataclass(frozen=True)
class Split:
    """Images (N, 3, H, W), uint8 and contiguous, and labels (N,), int64, on one device."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8 and self.images.dim() == 4 and self.images.is_contiguous()
        assert self.labels.dtype == torch.int64 and self.labels.shape == self.images.shape[:1]
        assert self.images.device == self.labels.device

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "Split":
        """The same images and labels on `device`."""
        return Split(self.images.to(device), self.labels.to(device))

    def subset(self, indices: Tensor) -> "Split":
        """The images at `indices`, in that order."""
        return Split(self.images.index_select(0, indices), self.labels.index_select(0, indices))


@dataclass(frozen=True)
class ImageData:
    """Training, validation and test images with their normalisation (per channel, of pixels in [0, 1]) and
    augmentation: `flip` mirrors half of the training images, `pad` is the border of pad-and-crop in pixels, each is
    turned by up to `rotate_degrees` to either side.

    Raises ValueError for a mean or std that is not three numbers, a std that is not positive, a pad that is negative or
    as wide as the images, an angle that is not from 0 to 180.
    """

    name: str
    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    pad: int
    rotate_degrees: float = 0.0

    def __post_init__(self) -> None:
        channels = self.train.images.shape[1]
        for key, values in (("data.mean", self.mean), ("data.std", self.std)):
            if len(values) != channels:
                raise ValueError(f"{key} must be {channels} numbers, one a channel, got {list(values)}")
        if min(self.std) <= 0:
            raise ValueError(f"data.std must be greater than 0, got {list(self.std)}")
        side = min(self.train.images.shape[2:])
        if not 0 <= self.pad < side:  # beyond it a crop may hold nothing of its image
            raise ValueError(f"data.pad must be 0 (no crop) or a number of pixels below {side}, got {self.pad}")
        if not 0 <= self.rotate_degrees <= HALF_TURN:
            raise ValueError(
                f"data.rotate_degrees must be 0 (no rotation) or up to {HALF_TURN} degrees, got {self.rotate_degrees:g}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @functools.cached_property
    def fingerprint(self) -> int:
        """A number that is the same for the same images and labels of each split in the same order."""
        checksum = 0  # no more than a CRC, against accidents: SHA-256 takes three times as long
        for split in (self.train, self.val, self.test):
            for part in (split.images, split.labels):
                checksum = zlib.crc32(part.cpu().numpy().data, checksum)
        return checksum

    def to(self, device: torch.device | str) -> "ImageData":
        """The same data with all three splits on `device`."""
        moved = {key: getattr(self, key).to(device) for key in ("train", "val", "test")}
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True)
class DataSet:
    """What a loader reads: training and test images as they are published, the names of their classes, and the
    validation images where they are published too."""

    training: Split
    test: Split
    class_names: tuple[str, ...]
    validation: Split | None = None


def image_data(read: Callable[..., DataSet]) -> Callable[..., ImageData]:
    """Decorate a loader, so that it gives the data of a run.

    The decorated loader takes its own arguments, then those of hold_out_validation from `num_classes` on: a file of
    conf/data/ has them all.
    """
    own, hints = inspect.signature(read), typing.get_type_hints(hold_out_validation)
    common = list(inspect.signature(hold_out_validation).parameters.values())[2:]
    signature = inspect.Signature([*own.parameters.values(), *common], return_annotation=ImageData)

    @functools.wraps(read)
    def load(*values: Any, **named: Any) -> ImageData:
        bound = signature.bind(*values, **named)
        bound.apply_defaults()
        arguments = bound.arguments
        settings = {each.name: arguments.pop(each.name) for each in common}
        return hold_out_validation(read.__name__, read(**arguments), **settings)

    # What the check of a config's keys and types looks at.
    load.__signature__ = signature  # type: ignore[attr-defined]
    types = {each.name: hints[each.name] for each in common}
    load.__annotations__ = {**read.__annotations__, **types, "return": ImageData}
    return load


def hold_out_validation(
    name: str,
    data_set: DataSet,
    num_classes: int,
    validation_size: int,
    split_seed: int,
    mean: Sequence[float],
    std: Sequence[float],
    flip: bool,
    pad: int,
    rotate_degrees: float = 0.0,
) -> ImageData:
    """The data of a run, its validation split cut from the training images by `split_seed` alone, or the published one.

    A file of conf/data/ of one's own may lack `rotate_degrees`.
    Raises ValueError when num_classes is not the data's, for a validation_size other than 0 where there is a published
    split, or one that takes all images of a class, and for the bad values that ImageData and stratified_holdout name.
    """
    names, training = data_set.class_names, data_set.training
    if num_classes != len(names):
        raise ValueError(f"data.num_classes must be {len(names)} for {name}, got {num_classes}")
    if data_set.validation is None:
        train, val = map(training.subset, stratified_holdout(training.labels, validation_size, split_seed))
        if emptied := set(training.labels.tolist()) - set(train.labels.tolist()):
            raise ValueError(
                f"data.validation_size={validation_size} leaves no training image of the class {names[min(emptied)]}; "
                "choose a smaller one"
            )
    elif validation_size:
        raise ValueError(
            f"data.validation_size must be 0, got {validation_size}: {name} has validation images of its own"
        )
    else:
        train, val = training, data_set.validation
    return ImageData(
        name=name,
        train=train,
        val=val,
        test=data_set.test,
        class_names=names,
        mean=tuple(float(value) for value in mean),
        std=tuple(float(value) for value in std),
        flip=flip,
        pad=pad,
        rotate_degrees=rotate_degrees,
    )
