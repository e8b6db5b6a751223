"""Paired differences to the baseline: a dot a seed, their mean and its t interval, and the line at zero."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..comparing.statistics import Summary
from ..comparing.variants import Variant
from ..comparing.words import seeds_each
from ..drawing import style
from ..drawing.sheets import new_sheet
from ..tables.numbers import points, points_interval
from .cost import TEST_SET, half_widths
from .legend import Look, summary_handles

# Rows are one apart; a row's dots lie this far below its mean, so that both are seen.
DOTS_BELOW = 0.24
T_INTERVAL = "95 % Student t interval"
# Points that a name may take beside the axes.
NAME_WIDTHS = {"column": 105.0, "page": 230.0}


@dataclass(frozen=True)
class Difference:
    """A variant's test accuracy minus the baseline's: of each shared seed, and summarised over them."""

    label: str
    by_seed: Mapping[int, float]
    summary: Summary
    interval: str = T_INTERVAL


def differences_of(variants: Sequence[Variant]) -> list[Difference]:
    """The variants of one group that share a seed with its baseline, in the table's order; none without a baseline."""
    theirs = next((variant.by_seed("test_accuracy") for variant in variants if variant.is_baseline), {})
    differences = []
    for variant in variants:
        if variant.paired:
            ours = variant.by_seed("test_accuracy")
            by_seed = {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}
            claim = variant.against_baseline
            interval = claim.interval_in_words if claim and claim.declared.looks else T_INTERVAL
            differences.append(Difference(variant.label, by_seed, variant.paired.difference, interval))
    return differences


def differences_to_baseline(
    differences: Sequence[Difference], baseline: str, looks: Mapping[str, Look], width: str
) -> Figure:
    """All differences of a study in one panel."""
    is_t = all(difference.interval == T_INTERVAL for difference in differences)
    handles = summary_handles((each.summary.n for each in differences), "95 % t interval" if is_t else "95 % interval")
    words = [in_words(difference, NAME_WIDTHS[width]) for difference in differences]
    lines = max(word.count("\n") + 1 for word in words)
    figure, upper = new_sheet(width, 0.55 + (0.06 + 0.13 * lines) * len(differences), handles)
    axes = upper.subplots()
    draw_differences(axes, differences, looks)
    axes.set_yticks(range(len(differences)), words)
    named = style.panel_title(f"Test accuracy minus that of {baseline}", width, 1)
    upper.supxlabel(f"{named}\n(percentage points)" if width == "column" else f"{named} (percentage points)")
    return figure


def caption(heading: str, differences: Sequence[Difference], baseline: str) -> str:
    """Caption of the figure of paired differences."""
    intervals = dict.fromkeys(difference.interval for difference in differences)
    sentences = [
        f"{heading}: test accuracy minus that of {baseline} with the same seed, in percentage points.",
        seeds_each(difference.summary.n for difference in differences),
        f"Dots: single seeds; markers: their mean; bars: {' or '.join(intervals)} of the mean, not adjusted for the "
        "number of comparisons.",
        "A bar that contains 0 does not show that two variants are equal.",
        TEST_SET,
    ]
    return " ".join(sentences)


def draw_differences(axes: Axes, differences: Sequence[Difference], looks: Mapping[str, Look]) -> None:
    """Draw the first difference at the top."""
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    for place, difference in enumerate(differences):
        look = looks[difference.label]
        values = list(difference.by_seed.values())
        axes.scatter(values, [place + DOTS_BELOW] * len(values), s=7, color=look.colour, alpha=0.55, linewidth=0)
        axes.errorbar(
            difference.summary.mean,
            place,
            xerr=half_widths(difference.summary),
            color=look.colour,
            marker=look.marker,
            markersize=5,
            markeredgecolor="white",
            elinewidth=1.1,
            capsize=2.5,
            zorder=3,
        )
    axes.set_ylim(len(differences) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    style.percent_ticks(axes.xaxis, signed=True)


def in_words(difference: Difference, name_width: float) -> str:
    """Name, mean, interval and number of pairs, on two lines or more; names at most `name_width` points wide."""
    summary = difference.summary
    interval = "" if math.isnan(summary.low) else f" {points_interval(summary.low, summary.high)}"
    name = style.wrapped(difference.label, name_width, style.number("ytick.labelsize"))
    return f"{name}\n{points(summary.mean)}{interval}, n = {summary.n}".replace("-", "−")
