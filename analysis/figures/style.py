"""How a figure looks in print: its sizes, its lines, its legend below the axes, its numbers on the axes."""

import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.figures.palette import Look
from analysis.pictures import canvas

Handle = Line2D | Patch

# Inches: a column of a two-column paper, and the text width of A4.
WIDTHS = {"column": 3.3, "page": canvas.PAGE_WIDTH}
STYLE: dict[str, Any] = {
    # A variant's name may hold a dollar sign.
    "text.parse_math": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "figure.labelsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "legend.borderaxespad": 0.2,
    "legend.borderpad": 0.2,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "lines.markeredgewidth": 0.6,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}
# Training and validation differ in print without any colour.
DASHES = {"train": (0, (3.2, 1.4)), "val": "solid"}
GREY = "#6E6E6E"
SEED_WIDTH, SEED_ALPHA, BAND_ALPHA = 0.5, 0.5, 0.16
POINTS_PER_INCH = 72


def in_style() -> AbstractContextManager[None]:
    """The style in force while a figure is drawn and saved."""
    return matplotlib.rc_context({**canvas.STYLE, **STYLE})


def new_figure(width: str, height: float) -> Figure:
    """An empty figure of a width of WIDTHS and a height in inches."""
    return Figure(figsize=(WIDTHS[width], height), layout="constrained")


def percent_ticks(axis: Axis, signed: bool = False) -> None:
    """Fractions on the axis are shown in percent, differences with their sign."""
    form = "+g" if signed else "g"
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{round(100 * value, 9) or 0.0:{form}}".replace("-", "−").replace("+0", "0"))
    )


def count_ticks(axis: Axis) -> None:
    """Whole numbers, thousands separated."""
    axis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=2))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def plain_log_ticks(axis: Axis) -> None:
    """Few ticks on a logarithmic axis, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def title(text: str, figure: Figure, columns: int) -> str:
    """A panel's title, wrapped to its column's width."""
    width = POINTS_PER_INCH * float(figure.get_size_inches()[0]) / columns - 30
    return wrapped(text, width, float(matplotlib.rcParams["axes.titlesize"]))


def variant_handle(label: str, look: Look, split: str) -> Line2D:
    """A legend's entry for a variant's mean."""
    mark = {"marker": look.marker, "markeredgecolor": "white"}
    return Line2D([], [], color=look.colour, linestyle=DASHES[split], label=label, **mark)


def explaining_handles(has_several_seeds: bool, has_band: bool) -> list[Handle]:
    """A legend's entries for what is beside the means."""
    seed = Line2D([], [], color=GREY, linewidth=SEED_WIDTH, label="one seed")
    band = Patch(color=GREY, alpha=2 * BAND_ALPHA, linewidth=0, label="95 % t interval of the mean")
    return [*([seed] if has_several_seeds else []), *([band] if has_band else [])]


def legend_below(figure: Figure, handles: Sequence[Handle]) -> None:
    """A legend below the axes, in as many columns as fit; names wider than the figure are wrapped."""
    size = float(matplotlib.rcParams["legend.fontsize"])
    rest = size * sum(float(matplotlib.rcParams[f"legend.{part}"]) for part in ("handlelength", "handletextpad"))
    gap = size * float(matplotlib.rcParams["legend.columnspacing"])
    width = POINTS_PER_INCH * float(figure.get_size_inches()[0]) - size
    labels = [wrapped(str(handle.get_label()), width - rest, size) for handle in handles]
    longest = max(text_width(line, size) for label in labels for line in label.splitlines())
    columns = max(1, min(len(handles), int((width + gap) / (longest + rest + gap))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def text_width(text: str, size: float) -> float:
    """Width of one line of text of a font size, both in points."""
    return float(TextPath((0, 0), text, size=size, prop=FontProperties()).get_extents().width)


def wrapped(label: str, width: float, size: float) -> str:
    """A name in lines at most `width` points wide, broken after commas where that is possible."""
    characters = max(8, int(width * len(label) / max(text_width(label, size), 1.0)))
    lines = textwrap.wrap(label.replace(",", ", "), characters, break_long_words=True, break_on_hyphens=False)
    return "\n".join(line.replace(", ", ",") for line in lines)
