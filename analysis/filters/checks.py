"""Is it dynamic? Test accuracies with the input's choice replaced, before and after BatchNorm re-estimation."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from dynfilt.data.batches import TrainingBatches
from dynfilt.data.bundle import Split
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.seeding import seeded_generator

from ..tables import numbers
from ..tables.sheet import Column, Sheet
from .reestimation import batch_norms, reestimated
from .replacement import (
    Replacement,
    argmax,
    dynamic_layers,
    mean_of,
    recorded,
    replaced,
    shuffled_across,
    shuffled_within,
)
from .trained import BATCH_SIZE, TrainedRun

UNTOUCHED = "untouched"
MEANINGS = {
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
    rows: list[Check] = []
    correct: list[Tensor] = []
    replacements_of = _replacements(run, split)
    for name, replacements in tqdm(replacements_of.items(), "checks", unit="check", leave=False, disable=None):
        with replaced(run.model, replacements):
            results = [_correct(run, split)]
            if follows:
                with reestimated(run.model, batches):
                    results.append(_correct(run, split))
        correct = correct or results
        scores = [score(result, untouched) for result, untouched in zip(results, correct, strict=True)]
        rows.append(Check(name, scores[0], scores[1] if follows else None))
    return rows


def score(correct: Tensor, untouched: Tensor) -> Score:
    """The score of a network from which test images it gets right, and the untouched one, both (N,) bool."""
    accuracy = correct.double().mean().item()
    if correct is untouched:
        return Score(accuracy, math.nan, math.nan)
    difference = correct.double() - untouched.double()
    return Score(accuracy, difference.mean().item(), 1.96 * difference.std().item() / math.sqrt(len(difference)))


def sheet(rows: list[Check]) -> Sheet:
    """One row a check; fractions, printed in percent and points."""

    def cells(score: Score | None) -> tuple[float | None, ...]:
        return (score.accuracy, score.difference, score.margin) if score else (None, None, None)

    columns = [Column("attention or filter", "check", left=True)]
    for suffix, key in (("", ""), (" after re-estimation", "reestimated_")):
        columns += [
            Column(f"test accuracy{suffix}, %", f"{key}test_accuracy", numbers.percent),
            Column("Δ, points", f"{key}difference", numbers.points),
            Column("± (95 %)", f"{key}margin", numbers.percent),
        ]
    known = any(row.reestimated for row in rows)
    table = [(row.name, *cells(row.as_trained), *cells(row.reestimated)) for row in rows]
    return Sheet(columns if known else columns[:4], table if known else [row[:4] for row in table])


def _replacements(run: TrainedRun, split: Split) -> dict[str, dict[str, Replacement]]:
    """For each check the replacement of every dynamic layer."""
    layers = dynamic_layers(run.model)
    means = _means(run, split)
    attention = all(isinstance(layer, DYConv2d) for layer in layers.values())
    generator = seeded_generator("cpu", "is it dynamic", "within an image")
    found: dict[str, dict[str, Replacement]] = {UNTOUCHED: {}}

    def add(name: str, make: Callable[[str], Replacement]) -> None:
        assert name in MEANINGS
        found[name] = {layer: make(layer) for layer in layers}

    add("mean over images", lambda layer: mean_of(means[layer]))
    if attention:
        add("argmax", lambda layer: argmax)
        add("shuffled within an image", lambda layer: shuffled_within(generator))
    else:
        add("mean, unit norm", lambda layer: mean_of(means[layer] / means[layer].norm()))
    add("shuffled across images", lambda layer: shuffled_across)
    return found


def _means(run: TrainedRun, split: Split) -> dict[str, Tensor]:
    """Each layer's mean choice over the images, in the untouched network."""
    sums: dict[str, Tensor] = {}
    with torch.inference_mode(), recorded(run.model) as choices:
        for _, images, _ in run.batches(split):
            with run.autocast():
                run.model(images)
            for name, caught in choices.items():
                sums[name] = sums.get(name, torch.zeros(())) + caught.pop().double().sum(0)
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
