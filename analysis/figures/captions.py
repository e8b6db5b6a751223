"""What each figure shows, in sentences fit for a paper's caption."""

from collections.abc import Iterable, Sequence

from ..comparing.variants import Row
from ..tables.footer import short_commit
from .cost import COSTS, cost_frame, points
from .curves import frame
from .differences import Difference
from .series import SPLITS, Series

AXES = {"epochs": "epochs", "steps": "training steps", "seconds": "training time without evaluations"}
UNSMOOTHED = "Nothing is smoothed."
TEST_SET = "Accuracy on the test set, with the weights that were best on the validation split."
CUT_BARS = "Bars that leave the frame are cut off by it."
RUNNING = (
    "Training values are means over the images since the evaluation before, in training mode and with the weights of "
    "that moment; validation values are of the weights at the evaluation."
)


def of_curves(heading: str, shown: Sequence[Series], metric: str, x: str) -> str:
    """Caption of a figure with loss or accuracy curves."""
    splits = " and ".join(name for split, name in SPLITS.items() if any(series.split == split for series in shown))
    chosen = frame(shown, metric)
    sentences = [
        f"{heading}: {splits} {metric} over {AXES[x]}{', on a logarithmic axis' if chosen.is_logarithmic else ''}.",
        seeds_in_words(series.n for series in shown),
        "Thick lines: mean over the seeds; thin lines: single seeds." if any(series.n > 1 for series in shown) else "",
        "Bands: 95 % Student t interval of the mean, at each evaluation by itself." if _has_band(shown) else "",
        "Bands that leave the frame are cut off by it." if chosen.cuts(shown) else "",
        "A mean's time is the mean of its seeds' times at the same step." if x == "seconds" else "",
        RUNNING if "training" in splits else "",
        UNSMOOTHED,
    ]
    return " ".join(filter(None, sentences))


def of_pair(heading: str, shown: Sequence[Series], x: str) -> str:
    """Caption of a before/after figure."""
    before, after = dict.fromkeys(series.label for series in shown)
    return f"Before: {before}; after: {after}. {of_curves(heading, shown, 'loss', x)}"


def of_cost(heading: str, rows: Sequence[Row]) -> str:
    """Caption of the figure of accuracy against cost."""
    panels = [found for key in COSTS if (found := points(rows, key))]
    counts = [point.accuracy.n for shown in panels for point in shown]
    sentences = [
        f"{heading}: test accuracy against parameters, FLOPs (one forward pass of one image, in canonical form) and "
        "measured training time.",
        seeds_in_words(counts),
        "Markers: mean over the seeds; dots: single seeds; bars: 95 % Student t intervals of the mean."
        if max(counts) > 1
        else "",
        CUT_BARS if any(cost_frame(shown).cuts(shown) for shown in panels) else "",
        TEST_SET,
    ]
    return " ".join(filter(None, sentences))


def of_differences(heading: str, shown: Sequence[Difference], baseline: str) -> str:
    """Caption of the figure of paired differences."""
    sentences = [
        f"{heading}: test accuracy minus that of {baseline} with the same seed, in percentage points.",
        seeds_in_words(difference.summary.n for difference in shown),
        "Dots: single seeds; markers: their mean; bars: 95 % Student t interval of the mean, not adjusted for the "
        "number of comparisons.",
        "A bar that contains 0 does not show that two variants are equal.",
        TEST_SET,
    ]
    return " ".join(sentences)


def seeds_in_words(counts: Iterable[int]) -> str:
    """`n = 3 seeds each.`, or the range where they differ."""
    few, many = min(counts := list(counts)), max(counts)
    if few < many:
        return f"n = {few} to {many} seeds, as the names say."
    return f"n = {many} seeds each." if many > 1 else "n = 1 seed each, so nothing tells how much of this is chance."


def origin(rows: Iterable[Row]) -> str:
    """Sources and commits of the runs."""
    runs = [run for row in rows for run in row.runs]
    sources = ", ".join(dict.fromkeys(run.source for run in runs))
    commits = ", ".join(dict.fromkeys(short_commit(run) for run in runs))
    return f"Source: {sources}; commit{'s' if ', ' in commits else ''} {commits}."


def _has_band(shown: Iterable[Series]) -> bool:
    return any(series.has_band for series in shown)
