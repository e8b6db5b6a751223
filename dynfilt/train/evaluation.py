"""Loss, accuracy and predictions of a model on a split, without training it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.data.batches import evaluation_batches
from dynfilt.data.bundle import ImageData, Split
from dynfilt.layers.choice import dynamic_layers, replaced, require_sound_layers
from dynfilt.seeding import seeded_generator
from dynfilt.train.memory import naming_batch_size
from dynfilt.train.settings import TrainerSettings


class Stopped(Exception):
    """Training or an evaluation ended early because it was asked to."""


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy, accuracy in 0..1, and for each image, in the split's order and on the CPU: the predicted
    class and its probability, the probability of the true class, and how many classes come before it by their score.

    Of equal scores, which bfloat16 makes many of, the first class comes first in both.
    """

    loss: float
    accuracy: float
    predictions: Tensor
    probability: Tensor
    true_class_probability: Tensor
    true_class_rank: Tensor

    def numbers(self, split: str) -> dict[str, float]:
        """The numbers to record of a split, by their keys in metrics.jsonl and result.json, e.g. `val_loss`."""
        return {f"{split}_loss": self.loss, f"{split}_accuracy": self.accuracy}


@dataclass(frozen=True)
class Evaluator:
    """Evaluates a model on whole splits in eval mode, in the order in which the images are stored.

    A model that mixes its batch (`mixes_batch`) has scores that depend on the order and the batch size: it is
    evaluated at its training batch size in one fixed shuffled order.
    """

    data: ImageData
    batch_size: int
    train_batch_size: int
    max_images: int | None
    autocast: Callable[[], torch.autocast]
    memory_format: torch.memory_format

    @classmethod
    def from_settings(cls, data: ImageData, settings: TrainerSettings, device: torch.device) -> Evaluator:
        """The evaluator of a run's own settings."""
        return cls(
            data,
            settings.eval_batch_size,
            settings.batch_size,
            settings.max_eval_images,
            lambda: settings.autocast(device),
            settings.memory_format,
        )

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, split: Split, stop: Callable[[], bool] = lambda: False) -> Evaluation:
        """Raises FloatingPointError when the mean loss is not finite, and Stopped when `stop`, asked before each
        batch, returns True."""
        was_training = model.training
        model.eval()
        split = self.subset_to_evaluate(split)
        device = split.labels.device
        losses, probability, of_true_class = (torch.empty(len(split), device=device) for _ in range(3))
        predictions, rank = (torch.empty(len(split), dtype=torch.int64, device=device) for _ in range(2))
        for indices, images, labels in self.batches(model, split):
            if stop():
                raise Stopped
            with self.autocast(), naming_batch_size(*self._batch_size_of(model)):
                scores = model(images.contiguous(memory_format=self.memory_format))
            scores = scores.float()
            losses[indices] = F.cross_entropy(scores, labels, reduction="none")
            order = scores.argsort(dim=1, descending=True, stable=True)
            predictions[indices] = order[:, 0]
            shares = scores.softmax(1)
            probability[indices] = shares.amax(1)
            of_true_class[indices] = shares.gather(1, labels[:, None])[:, 0]
            rank[indices] = (order == labels[:, None]).int().argmax(1)
        model.train(was_training)
        loss = losses.double().mean().item()
        if not math.isfinite(loss):
            raise FloatingPointError(f"the evaluation loss is {loss}")
        accuracy = (predictions == split.labels).double().mean().item()
        return Evaluation(loss, accuracy, *(each.cpu() for each in (predictions, probability, of_true_class, rank)))

    def partial_accuracies(
        self, model: nn.Module, split: Split, stop: Callable[[], bool] = lambda: False
    ) -> dict[str, float]:
        """The accuracy by every part of the channels, `test_accuracy_RG` and so on, of a network that has
        `partial_views`; empty for any other."""
        views: Iterable[str] = getattr(model, "partial_views", tuple)()
        return {f"test_accuracy_{view}": self.evaluate(model, split, stop).accuracy for view in views}

    def mean_choice_accuracy(
        self, model: nn.Module, split: Split, stop: Callable[[], bool] = lambda: False
    ) -> dict[str, float]:
        """The accuracy when every image gets the mean over the split of what the dynamic layers decide, as
        `test_accuracy_mean_choice`; empty for a network without a dynamic layer.

        Raises ValueError for a layer that breaks the protocol of dynfilt.layers.choice.
        """
        if not dynamic_layers(model):
            return {}
        split = self.subset_to_evaluate(split)
        few = split.subset(torch.arange(min(2, len(split)), device=split.labels.device))
        require_sound_layers(model, next(images for _, images, _ in self.batches(model, few)))
        means: dict[tuple[str, str], Tensor] = {}

        def add(layer: str, name: str, choice: Tensor) -> Tensor:
            share = choice.sum(0, dtype=torch.float64) / len(split)
            means[layer, name] = means[layer, name] + share if (layer, name) in means else share
            return choice

        with replaced(model, add):
            self.evaluate(model, split, stop)
        with replaced(model, lambda layer, name, choice: means[layer, name].to(choice).expand_as(choice)):
            return {"test_accuracy_mean_choice": self.evaluate(model, split, stop).accuracy}

    def subset_to_evaluate(self, split: Split) -> Split:
        """The images of a split that are evaluated: all, or `max_images` spread evenly."""
        if self.max_images is None:
            return split
        return split.subset(_spread(len(split), self.max_images).to(split.labels.device))

    def batches(self, model: nn.Module, split: Split) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Indices into the split, images float32 (B, C, H, W) and labels (B,), each image once, as a model is
        evaluated with them."""
        order, (_, batch_size) = None, self._batch_size_of(model)
        if getattr(model, "mixes_batch", False):
            order = torch.randperm(len(split), generator=seeded_generator("cpu", "evaluation order"))
        return evaluation_batches(split, self.data.mean, self.data.std, batch_size, order)

    def _batch_size_of(self, model: nn.Module) -> tuple[str, int]:
        """The batch size by which a model is evaluated, and the key that sets it."""
        if getattr(model, "mixes_batch", False):
            return "trainer.batch_size", self.train_batch_size
        return "trainer.eval_batch_size", self.batch_size


def _spread(count: int, wanted: int) -> Tensor:
    """At most `wanted` indices, evenly spread: images may be stored by class."""
    return torch.linspace(0, count - 1, min(count, wanted)).round().long()
