"""Is it dynamic? Test accuracies with the layers' choices replaced, before and after BatchNorm re-estimation.

Re-estimation tells whether a drop comes from the replaced filters or from BatchNorm statistics that no longer fit.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from tqdm import tqdm

from dynfilt.data.batches import TrainingBatches
from dynfilt.data.bundle import Split
from dynfilt.layers.choice import FILTER, KERNEL_ATTENTION, Replacement, dynamic_layers, replaced
from dynfilt.seeding import seeded_generator

from ..tables import numbers
from ..tables.table import Column, Heading, Sheet, column
from .replacement import argmax, shuffled_across, shuffled_within
from .trained import BATCH_SIZE, TrainedRun

# By the layer's name and that of the tensor in its choice.
Tensors = dict[tuple[str, str], Tensor]
UNTOUCHED = "untouched"
CHECK_MEANINGS = {
    "mean over images": "every image gets the mean over the test images",
    "mean, length kept": "the same, filters scaled back to the mean length that the layer gives them",
    "argmax": "only the kernel with the largest attention, with the sum of all",
    "shuffled within an image": "each image's attention dealt to its kernels in random order",
    "shuffled across images": "each image gets another image's, in random order",
}
OF_A_PART = "mean {} alone"
OF_A_PART_MEANING = "every image gets the mean of this part of its choices and keeps the others"


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
    replacements = _replacements(run, split)
    for name, replacement in tqdm(replacements.items(), "checks", unit="check", leave=False, disable=None):
        with replaced(run.model, replacement) if replacement else nullcontext():
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

    columns: list[Column[Check]] = [column("check", Heading("choice", is_text=True), lambda check: check.name)]
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


def _replacements(run: TrainedRun, split: Split) -> dict[str, Replacement | None]:
    """Each check as a change of the choices, None for the untouched network."""
    means, lengths = _means(run, split)
    kinds = list(dict.fromkeys(kind for _, kind in means))
    within = shuffled_within(seeded_generator("cpu", "is it dynamic", "within an image"))

    def only(kind: str, change: Replacement) -> Replacement:
        return lambda layer, name, choice: change(layer, name, choice) if name == kind else choice

    def mean(layer: str, name: str, choice: Tensor) -> Tensor:
        return means[layer, name].to(choice).expand_as(choice)

    def mean_of_length(layer: str, name: str, choice: Tensor) -> Tensor:
        scale = lengths[layer, name] / means[layer, name].norm() if name == FILTER else 1.0
        return mean(layer, name, choice) * scale

    last: Tensors = {}

    def across(layer: str, name: str, choice: Tensor) -> Tensor:
        shuffled = shuffled_across(choice, last.get((layer, name)))
        last[layer, name] = choice[-1:].clone()
        return shuffled

    replacements: dict[str, Replacement | None] = {UNTOUCHED: None, "mean over images": mean}
    if len(kinds) > 1:
        replacements |= {OF_A_PART.format(kind): only(kind, mean) for kind in kinds}
    if FILTER in kinds:
        replacements["mean, length kept"] = mean_of_length
    if KERNEL_ATTENTION in kinds:
        replacements["argmax"] = only(KERNEL_ATTENTION, lambda *choice: argmax(choice[-1]))
        replacements["shuffled within an image"] = only(KERNEL_ATTENTION, lambda *choice: within(choice[-1]))
    replacements["shuffled across images"] = across
    return replacements


def _means(run: TrainedRun, split: Split) -> tuple[Tensors, Tensors]:
    """The means over the images, in the untouched network: each tensor of each layer's choice, and its length."""
    means: Tensors = {}
    lengths: Tensors = {}

    def add(layer: str, name: str, choice: Tensor) -> Tensor:
        key, share = (layer, name), choice.sum(0, dtype=torch.float64) / len(split)
        means[key] = means[key] + share if key in means else share
        if name == FILTER:
            length = choice.flatten(1).norm(dim=1).sum(dtype=torch.float64) / len(split)
            lengths[key] = lengths[key] + length if key in lengths else length
        return choice

    with replaced(run.model, add):
        run.scores(split)
    return means, lengths


def _correct(run: TrainedRun, split: Split) -> Tensor:
    return run.scores(split).argmax(1) == split.labels.cpu()


def _training_batches(run: TrainedRun, images: int) -> Iterator[Tensor]:
    """At least `images` training images, augmented and in the order of the run's own seed."""
    if images < BATCH_SIZE:
        raise ValueError(f"--train-images {images}: at least {BATCH_SIZE} are needed for BatchNorm statistics")
    size = min(BATCH_SIZE, len(run.data.train))
    training = TrainingBatches(run.data, size, run.seed)
    for step in range(min(-(-images // size), len(run.data.train) // size)):
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
