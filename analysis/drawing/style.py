"""How a figure looks in print: its sizes, its lines, its legend below the axes, its numbers on the axes."""

import textwrap
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ..figures.palette import Look
from . import canvas

Handle = Line2D | Patch

# Inches: a column of a two-column paper, and the text width of A4.
WIDTHS = {"column": 3.3, "page": canvas.PAGE_WIDTH}
STYLE: dict[Any, Any] = {
    **canvas.STYLE,
    # A variant's name may hold a dollar sign.
    "text.parse_math": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "figure.labelsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 1.9,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 0.9,
    "legend.borderaxespad": 0.2,
    "legend.labelspacing": 0.5,
    "legend.borderpad": 0.2,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.5,
    "lines.markeredgewidth": 0.5,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}
# Training and validation differ in print without any colour.
DASHES: dict[str, Any] = {"train": (0, (2.5, 1.2)), "val": "solid"}
ROUND = (1, 2, 5, 10)
GREY = "#6E6E6E"
SEED_WIDTH, SEED_ALPHA, BAND_ALPHA = 0.5, 0.5, 0.16
POINTS_PER_INCH = 72


def in_style() -> AbstractContextManager[None]:
    """The style in force while a figure is drawn and saved."""
    return matplotlib.rc_context(STYLE)


def percent_ticks(axis: Axis, signed: bool = False) -> None:
    """Fractions on the axis are shown in percent, differences with their sign."""
    form = "+g" if signed else "g"
    axis.set_major_locator(MaxNLocator("auto", steps=ROUND, min_n_ticks=2))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{round(100 * value, 9) or 0.0:{form}}".replace("-", "−").replace("+0", "0"))
    )


def plain(value: float) -> str:
    """A round number in full, thousands separated."""
    return f"{value:,.10g}"


def plain_ticks(axis: Axis) -> None:
    """Round numbers in full, thousands separated."""
    axis.set_major_locator(MaxNLocator("auto", steps=ROUND, min_n_ticks=2))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def plain_log_ticks(axis: Axis) -> None:
    """Few ticks on a logarithmic axis, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def title(text: str, width: str, columns: int) -> str:
    """The title of a panel in one of so many columns, wrapped to its width."""
    return wrapped(text, POINTS_PER_INCH * WIDTHS[width] / columns - 24, number("axes.titlesize"))


def variant_handle(label: str, look: Look, split: str) -> Line2D:
    """A legend's entry for a variant's mean."""
    return Line2D(
        [], [], color=look.colour, linestyle=DASHES[split], marker=look.marker, markeredgecolor="white", label=label
    )


def explaining_handles(has_several_seeds: bool, has_band: bool) -> list[Handle]:
    """A legend's entries for what is beside the means."""
    seed = Line2D([], [], color=GREY, linewidth=SEED_WIDTH, label="one seed")
    band = Patch(color=GREY, alpha=2 * BAND_ALPHA, linewidth=0, label="95 % t interval")
    return [*([seed] if has_several_seeds else []), *([band] if has_band else [])]


def point_handle(label: str, look: Look) -> Line2D:
    """A legend's entry for a variant's point."""
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", label=label)


def summary_handles(counts: Iterable[int]) -> list[Handle]:
    """A legend's entries for the dots of seeds and the error bar of their mean, with their number."""
    few, many = min(counts := list(counts)), max(counts)
    n = f"n = {many}" if few == many else f"n = {few}–{many}"
    mean = Line2D([], [], color=GREY, marker="o", markersize=5, linewidth=0.8, markeredgecolor="white")
    mean.set_label(f"mean and 95 % t interval, {n}" if many > 1 else "one seed, no interval")
    dot = Line2D([], [], color=GREY, marker="o", markersize=2.2, linestyle="none", alpha=0.7, label="one seed")
    return [dot, mean] if many > 1 else [mean]


def new_sheet(width: str, height: float, handles: Sequence[Handle]) -> tuple[Figure, SubFigure]:
    """A figure of a width of WIDTHS with a legend below, and the part above it, `height` inches high, to draw on.

    The legend has as many columns as fit; names wider than the figure are wrapped.
    """
    size = number("legend.fontsize")
    beside = size * (number("legend.handlelength") + number("legend.handletextpad"))
    gap = size * number("legend.columnspacing")
    inner = POINTS_PER_INCH * WIDTHS[width] - size
    labels = [wrapped(str(handle.get_label()), inner - beside, size) for handle in handles]
    longest = max(text_width(line, size) for label in labels for line in label.splitlines())
    columns = max(1, min(len(handles), int((inner + gap) / (longest + beside + gap))))
    below = _legend_rows(labels, columns) * size * (1 + number("legend.labelspacing")) / POINTS_PER_INCH + 0.06
    figure = Figure(figsize=(WIDTHS[width], height + below), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(height, below), squeeze=False).flat
    lower.legend(handles, labels, loc="upper center", ncols=columns)
    return figure, upper


def _legend_rows(labels: Sequence[str], columns: int) -> int:
    """Lines of text in the fullest column; matplotlib fills a legend column by column."""
    rows, longer = divmod(len(labels), columns)
    lines, start = [], 0
    for column in range(columns):
        end = start + rows + (column < longer)
        lines.append(sum(1 + label.count("\n") for label in labels[start:end]))
        start = end
    return max(lines)


def number(setting: str) -> float:
    """A number of the style."""
    return float(STYLE[setting])


def with_count(label: str, n: int) -> str:
    """A name with its number of seeds, which is never torn apart at the end of a line."""
    return f"{label} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n})"


def text_width(text: str, size: float) -> float:
    """Width of one line of text of a font size, both in points."""
    if not text:
        return 0.0
    return float(np.asarray(TextPath((0, 0), text, size=size, prop=FontProperties()).vertices)[:, 0].max())


def wrapped(label: str, width: float, size: float) -> str:
    """A name in lines at most `width` points wide, broken after commas where that is possible."""
    characters = max(8, int(width * len(label) / max(text_width(label, size), 1.0)))
    lines = textwrap.wrap(label.replace(",", ", "), characters, break_long_words=True, break_on_hyphens=False)
    return "\n".join(line.replace(", ", ",") for line in lines)
