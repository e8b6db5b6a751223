"""Training batches as a pure function of (seed, step), and evaluation batches in a fixed order."""

from collections.abc import Iterator

import torch
from torch import Tensor

from dynfilt.data.augment import flip_and_crop, normalise, rotate
from dynfilt.data.bundle import ImageData, Split
from dynfilt.seeding import seeded_generator


class TrainingBatches:
    """The batches of a run by global step, shuffled anew each epoch, the last partial batch kept.

    A resumed run asks for its next step and gets what an uninterrupted one would have got. Raises ValueError
    when batch_size is less than 1 or more than the training images.
    """

    def __init__(self, data: ImageData, batch_size: int, seed: int) -> None:
        count = len(data.train)
        if not 1 <= batch_size <= count:
            allowed = f"between 1 and {count}, the number of training images of {data.name}"
            raise ValueError(f"trainer.batch_size must be {allowed}, got {batch_size}")
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = -(-count // batch_size)
        self._order = (-1, torch.empty(0, dtype=torch.int64))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Images float32 (B, 3, H, W), augmented and normalised, and labels (B,) of a step, 0 first."""
        assert step >= 0, step
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self.batch_size
        batch = self.data.train.subset(self._epoch_order(epoch)[start : start + self.batch_size])
        images = batch.images
        if self.data.flip or self.data.pad or self.data.rotate_degrees:
            generator = seeded_generator("cpu", self.seed, "augment", step)
            images = flip_and_crop(images, self.data.flip, self.data.pad, generator)
            if self.data.rotate_degrees:
                # Drawn last, so that without it, as before there was any, flips and crops are the same.
                turns = 2 * torch.rand(len(images), generator=generator, dtype=torch.float64) - 1
                images = rotate(images, self.data.rotate_degrees * turns)
        return normalise(images, self.data.mean, self.data.std), batch.labels

    def _epoch_order(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            # Drawn on the CPU, whatever the images' device, so that all devices train in the same order.
            generator = seeded_generator("cpu", self.seed, "order", epoch)
            order = torch.randperm(len(self.data.train), generator=generator)
            self._order = (epoch, order.to(self.data.train.images.device))
        return self._order[1]


def evaluation_batches(
    split: Split,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    batch_size: int,
    order: Tensor | None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Every image once, not augmented: (indices (B,), images float32 (B, 3, H, W), labels (B,)) a batch.

    `order` is a permutation of the split's indices, None for the stored order; indices are on the split's
    device and refer to the split.
    """
    assert batch_size >= 1, batch_size
    device = split.images.device
    order = torch.arange(len(split), device=device) if order is None else order.to(device)
    for indices in order.split(batch_size):
        batch = split.subset(indices)
        yield indices, normalise(batch.images, mean, std), batch.labels
