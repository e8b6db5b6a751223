"""Paired differences to baseline and controls, and of gains: a dot a seed, their mean and interval, and zero."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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
GAINS = "Gain minus that of the other"
Kind = Literal["baseline", "control", "gain"]
T_INTERVAL = "95 % Student t interval"
# Points that a name may take beside the axes.
NAME_WIDTHS = {"column": 105.0, "page": 230.0}
# Points beside both that a panel's title leaves free.
TITLE_MARGIN = 24.0


@dataclass(frozen=True)
class Difference:
    """A variant's metric minus that of its rival, or its gain `over` a row minus that of its rival, `A over B`.

    Of each shared seed, and summarised over them.
    """

    label: str
    rival: str
    by_seed: Mapping[int, float]
    summary: Summary
    interval: str = T_INTERVAL
    is_exploratory: bool = False
    metric: Metric = TEST_ACCURACY
    over: str = ""


def differences_of(variants: Sequence[Variant], kind: Kind = "baseline") -> list[Difference]:
    """The differences of variants to their baseline or to their controls, or of their gains, where they share a seed.

    Those that are not finite are left out. In the given order.
    """
    return [
        Difference(
            variant.label,
            claim.rival,
            claim.by_seed,
            claim.paired.difference,
            claim.interval_in_words if claim.declared.looks else T_INTERVAL,
            claim.is_exploratory,
            variant.metric,
            claim.over,
        )
        for variant in variants
        for claim in variant.claims
        if {"baseline": claim.is_to_baseline, "control": claim.is_control, "gain": bool(claim.over)}[kind]
        and math.isfinite(claim.paired.difference.mean)
    ]


def differences_to_baseline(
    differences: Sequence[Difference],
    baseline: str,
    looks: Mapping[str, Look],
    width: str,
    to_controls: Sequence[Difference] = (),
    of_gains: Sequence[Difference] = (),
) -> Figure:
    """The differences to the baseline in one panel, those to controls and of gains, if there are any, in ones below."""
    every = [*differences, *to_controls, *of_gains]
    is_t = all(difference.interval == T_INTERVAL for difference in every)
    handles = summary_handles((each.summary.n for each in every), "95 % t interval" if is_t else "95 % interval")
    titled = {f"Minus the baseline, {baseline}": differences, "Minus the control": to_controls, GAINS: of_gains}
    panels = {title: rows for title, rows in titled.items() if rows}
    words = [[in_words(row, NAME_WIDTHS[width], rows is not differences) for row in rows] for rows in panels.values()]
    titles = [""] * len(panels)
    if to_controls or of_gains:
        beside = style.POINTS_PER_INCH * style.WIDTHS[width] - NAME_WIDTHS[width] - TITLE_MARGIN
        titles = [style.wrapped(title, beside, style.number("axes.titlesize")) for title in panels]
    heights = [
        0.06
        + (0.06 + 0.13 * max(text.count("\n") + 1 for text in texts)) * len(texts)
        + (0.07 + 0.13 * (title.count("\n") + 1)) * bool(title)
        for texts, title in zip(words, titles, strict=True)
    ]
    figure, upper = new_sheet(width, 0.49 + sum(heights), handles)
    grid = upper.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights).flat
    for axes, rows, texts, title in zip(grid, panels.values(), words, titles, strict=True):
        draw_differences(axes, rows, looks)
        axes.set_yticks(range(len(rows)), texts)
        axes.set_title(title, loc="left")
    metric = every[0].metric
    of_panels = f"Difference in {metric.words}" if titles[0] else f"{metric.label} minus that of {baseline}"
    named = style.panel_title(of_panels, width, 1)
    upper.supxlabel(f"{named}{' ' if width == 'page' else chr(10)}({_unit(metric)})")
    return figure


def caption(
    heading: str,
    differences: Sequence[Difference],
    baseline: str,
    to_controls: Sequence[Difference] = (),
    of_gains: Sequence[Difference] = (),
) -> str:
    """Caption of the figure of paired differences."""
    every = [*differences, *to_controls, *of_gains]
    metric = every[0].metric
    intervals = dict.fromkeys(difference.interval for difference in every)
    below = "; below, minus that of the control that the row names" if to_controls else ""
    below += "; below that, the gain of a row over another minus the gain of a second pair" if of_gains else ""
    several = any(difference.summary.n > 1 for difference in every)
    has_bars = any(math.isfinite(difference.summary.low) for difference in every)
    bars = f"; bars: {' or '.join(intervals)} of the mean, not adjusted for the number of comparisons" * has_bars
    sentences = [
        f"{heading}: {metric.words} minus that of {baseline} with the same seed{below}, in {_unit(metric)}.",
        seeds_each(difference.summary.n for difference in every),
        f"Dots: single seeds; markers: their mean{bars}." if several else "One seed: no mean and no interval.",
        "A bar that contains 0 does not show that two variants are equal." if has_bars else "",
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
    over = f" over {difference.over}" if difference.over else ""
    name = style.wrapped(f"{difference.label}{over}", name_width, size)
    if names_rival:
        name += f"\n{MINUS} {style.wrapped(difference.rival, name_width, size)}"
    numbers = f"{form.difference(summary.mean)}{interval}, n = {summary.n}".replace("-", MINUS)
    return f"{name}\n{numbers}{', exploratory' if difference.is_exploratory else ''}"


def _unit(metric: Metric) -> str:
    return "percentage points" if metric.is_fraction else metric.unit
