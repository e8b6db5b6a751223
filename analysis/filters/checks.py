"""Is it dynamic? Test accuracies with the input's choice replaced, before and after BatchNorm re-estimation.

Re-estimation tells whether a drop comes from the replaced filters or from BatchNorm statistics that no longer fit.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from dynfilt.data.batches import TrainingBatches
from dynfilt.data.bundle import Split
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.seeding import seeded_generator

from ..tables import numbers
from ..tables.table import Column, Heading, Sheet, column
from . import replacement
from .replacement import Replacement, dynamic_layers, recorded, replaced
from .trained import BATCH_SIZE, TrainedRun

UNTOUCHED = "untouched"
CHECK_MEANINGS = {
    "mean over images": "every image gets the mean over the test images",
    "mean, unit norm": "the same, scaled back to the length that the layer gives every filter",
    "argmax": "only the kernel with the largest attention, with the sum of all",
    "shuffled within an image": "each image's attention dealt to its kernels in random order",
    "shuffled across images": "each image gets another image's, in random order",
}


@dataclass(frozen=True)
class Score:
    """An accuracy, its difference to the untouched network's, and the half width of that difference's 95 % interval
    over test images (paired, normal); fractions. The difference is NaN for the untouched network itself."""

    accuracy: float
    difference: float
    margin: float


@dataclass(frozen=True)
class Check:
    """One way to replace the choice: its score with the trained BatchNorm statistics and with re-estimated ones,
    None where no BatchNorm follows a dynamic layer, which could change anything."""

    name: str
    as_trained: Score
    reestimated: Score | None


def checks(run: TrainedRun, test_images: int | None, train_images: int) -> list[Check]:
    """Every check that the run's dynamic layers allow, the untouched network first.

    Raises ValueError for a count of images that is too small.
    """
    indices = run.sample(run.data.test, test_images).cpu()
    order = torch.randperm(len(indices), generator=seeded_generator("cpu", "is it dynamic", "order"))
    split = run.data.test.subset(indices[order].to(run.data.test.labels.device))
    follows = _batch_norm_follows(run)
    batches = list(_training_batches(run, train_images)) if follows else []
    results: list[Check] = []
    untouched: list[Tensor] = []
    replacements_by_check = _replacements(run, split)
    for name, replacements in tqdm(replacements_by_check.items(), "checks", unit="check", leave=False, disable=None):
        with replaced(run.model, replacements):
            correct = [_correct(run, split)]
            if follows:
                with reestimated(run.model, batches):
                    correct.append(_correct(run, split))
        untouched = untouched or correct
        scores = [score(ours, theirs) for ours, theirs in zip(correct, untouched, strict=True)]
        results.append(Check(name, scores[0], scores[1] if follows else None))
    return results


def score(correct: Tensor, untouched: Tensor) -> Score:
    """The score of a network from which test images it gets right, and the untouched one, both (N,) bool."""
    accuracy = correct.double().mean().item()
    if correct is untouched:
        return Score(accuracy, math.nan, math.nan)
    difference = correct.double() - untouched.double()
    return Score(accuracy, difference.mean().item(), 1.96 * difference.std().item() / math.sqrt(len(difference)))


def sheet(results: list[Check]) -> Sheet[Check]:
    """One row a check; fractions, printed in percent and points."""

    def of_scores(suffix: str, key: str, score_of: Callable[[Check], Any]) -> list[Column[Check]]:
        return [
            column(
                f"{key}test_accuracy",
                Heading(f"test accuracy{suffix}", "%"),
                lambda check: score_of(check).accuracy,
                numbers.percent,
            ),
            column(
                f"{key}difference", Heading("Δ", "points"), lambda check: score_of(check).difference, numbers.points
            ),
            column(f"{key}margin", Heading("± (95 %)"), lambda check: score_of(check).margin, numbers.percent),
        ]

    columns: list[Column[Check]] = [
        column("check", Heading("attention or filter", is_text=True), lambda check: check.name)
    ]
    columns += of_scores("", "", lambda check: check.as_trained)
    if all(result.reestimated for result in results):
        columns += of_scores(" after re-estimation", "reestimated_", lambda check: check.reestimated)
    return Sheet(columns, results)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The layers of the model that keep running statistics."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]


@contextmanager
def reestimated(model: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """While it lasts, the running statistics are the plain averages over these batches of images (B, 3, H, W).

    Only BatchNorm layers leave eval mode for it, each normalising with the batch at hand as in training; dropout
    stays off. The old statistics come back at the end.
    """
    layers = batch_norms(model)
    old = [({key: value.clone() for key, value in layer.state_dict().items()}, layer.momentum) for layer in layers]
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
        with torch.inference_mode():
            for images in batches:
                model(images)
        for layer in layers:
            layer.eval()
        yield
    finally:
        for layer, (state, momentum) in zip(layers, old, strict=True):
            layer.load_state_dict(state)
            layer.momentum = momentum
            layer.eval()


def _replacements(run: TrainedRun, split: Split) -> dict[str, dict[str, Replacement]]:
    """For each check the replacement of every dynamic layer."""
    layers = dynamic_layers(run.model)
    means = _means(run, split)
    generator = seeded_generator("cpu", "is it dynamic", "within an image")
    replacements: dict[str, dict[str, Replacement]] = {UNTOUCHED: {}}

    def add(name: str, make: Callable[[str], Replacement]) -> None:
        assert name in CHECK_MEANINGS
        replacements[name] = {layer: make(layer) for layer in layers}

    add("mean over images", lambda layer: replacement.mean_of(means[layer]))
    if all(isinstance(layer, DYConv2d) for layer in layers.values()):
        add("argmax", lambda layer: replacement.argmax)
        add("shuffled within an image", lambda layer: replacement.shuffled_within(generator))
    else:
        add("mean, unit norm", lambda layer: replacement.mean_of(means[layer] / means[layer].norm()))
    add("shuffled across images", lambda layer: replacement.shuffled_across)
    return replacements


def _means(run: TrainedRun, split: Split) -> dict[str, Tensor]:
    """Each layer's mean choice over the images, in the untouched network."""
    sums: dict[str, Tensor] = {}
    with torch.inference_mode(), recorded(run.model) as choices:
        for _, images, _ in run.batches(split):
            run.apply(images)
            for name, of_batches in choices.items():
                sums[name] = sums.get(name, torch.zeros(())) + of_batches.pop().double().sum(0)
    return {name: total / len(split) for name, total in sums.items()}


def _correct(run: TrainedRun, split: Split) -> Tensor:
    return run.scores(split).argmax(1) == split.labels.cpu()


def _training_batches(run: TrainedRun, images: int) -> Iterator[Tensor]:
    """At least `images` training images, augmented and in the order of the run's own seed."""
    if images < BATCH_SIZE:
        raise ValueError(f"--train-images {images}: at least {BATCH_SIZE} are needed for BatchNorm statistics")
    training = TrainingBatches(run.data, BATCH_SIZE, run.seed)
    for step in range(min(-(-images // BATCH_SIZE), len(run.data.train) // BATCH_SIZE)):
        yield training.batch(step)[0]


def _batch_norm_follows(run: TrainedRun) -> bool:
    """Whether the statistics of some BatchNorm depend on a dynamic layer, which then runs before it."""
    layers, norms = set(dynamic_layers(run.model).values()), set(batch_norms(run.model))
    calls: list[bool] = []
    handles = [
        layer.register_forward_pre_hook(lambda layer, arguments: calls.append(layer in norms))
        for layer in layers | norms
    ]
    run.scores(run.data.test.subset(torch.arange(2, device=run.data.test.labels.device)))
    for handle in handles:
        handle.remove()
    return False in calls and any(calls[calls.index(False) :])
