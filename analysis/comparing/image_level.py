"""The uncertainty that comes from the test images, beside the one over seeds, and both in one."""

from dataclasses import dataclass, field

import numpy as np

from dynfilt.run.folder import PREDICTIONS

from ..reading.metrics import TEST_ACCURACY
from ..reading.run import Run
from ..reading.run_folder import has_predictions, is_mirrored, read_predictions
from .comparison import Comparison
from .crossed import Crossed, crossed
from .statistics import Summary, summarise
from .variants import Variant
from .words import seed_list


@dataclass(frozen=True)
class ImageLevel:
    """Summaries over test images, in fractions: n images, mean, SD of an image's value, t interval of the mean.

    `accuracy` is by (group, label), an image's value being its accuracy averaged over the variant's seeds;
    `differences` is by (group, label, rival), its value being the difference, or that of two gains, averaged over
    shared seeds. The `both` are the same over seeds and images at once. `notes` name what was left out, `caveats` the
    accuracies that are of other images than those beside them.
    """

    accuracy: dict[tuple[str, str], Summary] = field(default_factory=dict)
    accuracy_both: dict[tuple[str, str], Crossed] = field(default_factory=dict)
    differences: dict[tuple[str, str, str], Summary] = field(default_factory=dict)
    differences_both: dict[tuple[str, str, str], Crossed] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)


class OtherImages(ValueError):
    """That runs of one variant were tested on different images."""


@dataclass(frozen=True)
class Correct:
    """Whether each test image was classified correctly, by seed: arrays (images,) of 0 and 1; and the true classes."""

    by_seed: dict[int, np.ndarray]
    labels: np.ndarray


def image_level(comparison: Comparison) -> ImageLevel:
    """Summarise the predictions beside the runs; a variant counts only when all its runs have usable ones."""
    level = ImageLevel()
    if comparison.metric != TEST_ACCURACY:
        level.notes.append(f"the metric is not {TEST_ACCURACY.words}")
        return level
    reasons: dict[str, list[str]] = {}
    without, differing = [], set[tuple[str, ...]]()
    for heading, variants in comparison.groups.items():
        correct: dict[str, Correct] = {}
        for variant in variants:
            try:
                if usable := correctness(variant):
                    correct[variant.label] = usable
                elif variant.runs:
                    without.append(variant.label)
            except ValueError as error:
                if isinstance(error, OtherImages):
                    level.caveats.append(f"{variant.label}: {error}")
                reasons.setdefault(str(error), []).append(variant.label)
        for variant in variants:
            if variant.label in correct:
                _summarise(heading, variant, correct, level, differing)
    if without and level.accuracy:
        reasons[f"there is no {PREDICTIONS}"] = without
    if differing:
        pairs = sorted(" and ".join(pair) for pair in differing)
        reasons["the test images of two rows differ"] = pairs
        level.caveats.append(f"rows of different test images: {', '.join(pairs)}")
    level.notes.extend(f"{reason}: {', '.join(labels)}" for reason, labels in reasons.items())
    return level


def runs_with_predictions(variant: Variant) -> list[Run]:
    """The variant's runs if their predictions lie beside them, none if no run has any.

    Raises ValueError when only some have them.
    """
    runs = [run for run in variant.runs if has_predictions(run)]
    if runs and len(runs) < len(variant.runs):
        raise ValueError(f"{PREDICTIONS} is missing in some runs")
    return runs


def correctness(variant: Variant) -> Correct | None:
    """The predictions of a variant's runs; None when none of their folders has a file.

    Raises ValueError, with the reason, when only some have one, when one cannot be used, when their images differ, and
    for runs that were read from W&B.
    """
    runs = runs_with_predictions(variant)
    if not runs and any(is_mirrored(run) for run in variant.runs):
        raise ValueError(f"runs are read from W&B, which keeps no {PREDICTIONS}")
    if not runs:
        return None
    predictions = {run.seed: read_predictions(run) for run in runs}
    first = next(iter(predictions.values()))[0]
    if others := [seed for seed, (labels, _) in predictions.items() if not np.array_equal(labels, first)]:
        raise OtherImages(f"the test images of {seed_list(others)} differ from those of seed {next(iter(predictions))}")
    return Correct({seed: correct for seed, (_, correct) in predictions.items()}, first)


def _summarise(
    heading: str, variant: Variant, correct: dict[str, Correct], level: ImageLevel, differing: set[tuple[str, ...]]
) -> None:
    """Add a variant's summaries to the level, and the rows whose test images differ from its own."""
    ours = correct[variant.label]
    values = np.stack(list(ours.by_seed.values()))
    level.accuracy[heading, variant.label] = _summary(values)
    level.accuracy_both[heading, variant.label] = crossed(values)
    for claim in variant.claims:
        rows = (variant.label, *(claim.of_gain or (claim.rival,)))
        if not all(label in correct for label in rows):
            continue
        if others := [label for label in rows if not np.array_equal(correct[label].labels, ours.labels)]:
            differing.update(tuple(sorted((variant.label, other))) for other in others)
            continue
        arms = [correct[label].by_seed for label in rows]
        if shared := sorted(set(arms[0]).intersection(*arms)):
            # A row minus its rival; of gains minus the row that it is over, minus the rival, plus the one it is over.
            signed = list(zip((1, -1, -1, 1), arms, strict=False))
            differences = np.stack([sum(sign * arm[seed] for sign, arm in signed) for seed in shared])
            level.differences[heading, variant.label, claim.rival] = _summary(differences)
            level.differences_both[heading, variant.label, claim.rival] = crossed(differences, claim.alpha)


def _summary(by_seed: np.ndarray) -> Summary:
    """Over the images, each image's value averaged over the seeds first."""
    return summarise(by_seed.mean(axis=0).tolist())
