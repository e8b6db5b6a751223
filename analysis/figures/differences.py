"""Paired differences to baseline and controls: a dot a seed, their mean and its interval, and the line at zero."""

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
from ..reading.metrics import TEST_ACCURACY, Metric
from ..tables.numbers import form_of
from .cost import half_widths, measured
from .legend import Look, summary_handles

# Rows are one apart; a row's dots lie this far below its mean, so that both are seen.
DOTS_BELOW = 0.24
MINUS = "\N{MINUS SIGN}"
T_INTERVAL = "95 % Student t interval"
# Points that a name may take beside the axes.
NAME_WIDTHS = {"column": 105.0, "page": 230.0}


@dataclass(frozen=True)
class Difference:
    """A variant's metric minus that of its rival: of each shared seed, and summarised over them."""

    label: str
    rival: str
    by_seed: Mapping[int, float]
    summary: Summary
    interval: str = T_INTERVAL
    is_exploratory: bool = False
    metric: Metric = TEST_ACCURACY


def differences_of(
    variants: Sequence[Variant], group: Sequence[Variant] = (), to_controls: bool = False
) -> list[Difference]:
    """The differences of variants to the baseline of their `group`, or to their controls, where they share a seed.

    Those that are not finite are left out. In the given order; the group is by default the variants themselves.
    """
    by_label = {variant.label: variant.by_seed(variant.metric.name) for variant in group or variants}
    return [
        Difference(
            variant.label,
            claim.rival,
            {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())},
            claim.paired.difference,
            claim.interval_in_words if claim.declared.looks else T_INTERVAL,
            claim.is_exploratory,
            variant.metric,
        )
        for variant in variants
        for claim in variant.claims
        if (claim.is_control if to_controls else claim.is_to_baseline) and math.isfinite(claim.paired.difference.mean)
        for ours, theirs in [(by_label[variant.label], by_label[claim.rival])]
    ]


def differences_to_baseline(
    differences: Sequence[Difference],
    baseline: str,
    looks: Mapping[str, Look],
    width: str,
    to_controls: Sequence[Difference] = (),
) -> Figure:
    """The differences to the baseline in one panel, and those to the controls, if there are any, in one below it."""
    every = [*differences, *to_controls]
    is_t = all(difference.interval == T_INTERVAL for difference in every)
    handles = summary_handles((each.summary.n for each in every), "95 % t interval" if is_t else "95 % interval")
    panels = [rows for rows in (differences, to_controls) if rows]
    words = [[in_words(row, NAME_WIDTHS[width], rows is to_controls) for row in rows] for rows in panels]
    heights = [
        0.06 + (0.06 + 0.13 * max(text.count("\n") + 1 for text in texts)) * len(texts) + 0.2 * bool(to_controls)
        for texts in words
    ]
    figure, upper = new_sheet(width, 0.49 + sum(heights), handles)
    grid = upper.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights).flat
    for axes, rows, texts in zip(grid, panels, words, strict=True):
        draw_differences(axes, rows, looks)
        axes.set_yticks(range(len(rows)), texts)
        if to_controls:
            axes.set_title(
                "Minus the control" if rows is to_controls else f"Minus the baseline, {baseline}", loc="left"
            )
    metric = every[0].metric
    of_panels = f"Difference in {metric.words}" if to_controls else f"{metric.label} minus that of {baseline}"
    named = style.panel_title(of_panels, width, 1)
    upper.supxlabel(f"{named}{' ' if width == 'page' else chr(10)}({_unit(metric)})")
    return figure


def caption(
    heading: str, differences: Sequence[Difference], baseline: str, to_controls: Sequence[Difference] = ()
) -> str:
    """Caption of the figure of paired differences."""
    every = [*differences, *to_controls]
    metric = every[0].metric
    intervals = dict.fromkeys(difference.interval for difference in every)
    below = "; below, minus that of the control that the row names" if to_controls else ""
    sentences = [
        f"{heading}: {metric.words} minus that of {baseline} with the same seed{below}, in {_unit(metric)}.",
        seeds_each(difference.summary.n for difference in every),
        f"Dots: single seeds; markers: their mean; bars: {' or '.join(intervals)} of the mean, not adjusted for the "
        "number of comparisons.",
        "A bar that contains 0 does not show that two variants are equal.",
        "Exploratory: not among the claims that the study declares." if any(d.is_exploratory for d in every) else "",
        measured(metric),
    ]
    return " ".join(filter(None, sentences))


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
    if differences[0].metric.is_fraction:
        style.percent_ticks(axes.xaxis, signed=True)
    else:
        style.plain_ticks(axes.xaxis)


def in_words(difference: Difference, name_width: float, names_rival: bool = False) -> str:
    """Name, mean, interval and number of pairs, on two lines or more; names at most `name_width` points wide."""
    summary, form = difference.summary, form_of(difference.metric)
    interval = "" if math.isnan(summary.low) else f" {form.difference_interval(summary.low, summary.high)}"
    size = style.number("ytick.labelsize")
    name = style.wrapped(difference.label, name_width, size)
    if names_rival:
        name += f"\n{MINUS} {style.wrapped(difference.rival, name_width, size)}"
    told = f"{form.difference(summary.mean)}{interval}, n = {summary.n}".replace("-", MINUS)
    return f"{name}\n{told}{', exploratory' if difference.is_exploratory else ''}"


def _unit(metric: Metric) -> str:
    return "percentage points" if metric.is_fraction else metric.unit
