"""How everything is drawn: sizes, colours, the two styles, numbers on axes, names that break where they may."""

import re
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axis import Axis
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

# Okabe and Ito, "Color Universal Design", 2008: told apart with any colour vision, and in grey; without its yellow,
# which is too light for lines on white.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREY = "#6E6E6E"
KERNELS = "gray"  # dark below 0, light above: print keeps the sign, and the red frames stand out
SIGNED = "PuOr_r"

POINTS_PER_INCH = 72
PAGE_WIDTH = 7.2  # inches, the text width of A4
# Inches: a column of a two-column paper, and the page.
WIDTHS = {"column": 3.3, "page": PAGE_WIDTH}
LINE_LENGTH = 95
ROUND = (1, 2, 5, 10)

PICTURE_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a variant's name may hold a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "figure.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "savefig.dpi": 250,
    "pdf.fonttype": 42,
    "svg.hashsalt": "dynfilt",
}
FIGURE_STYLE: dict[Any, Any] = {
    **PICTURE_STYLE,
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
    # Layouts are settled at 100 dots an inch; a label drawn at another resolution can be a hundredth of an inch wider.
    "figure.constrained_layout.w_pad": 0.05,
}


def picture_style() -> AbstractContextManager[None]:
    """The style in force while a picture of filters is drawn and saved."""
    return matplotlib.rc_context(PICTURE_STYLE)


def figure_style() -> AbstractContextManager[None]:
    """The style in force while a figure of runs is drawn and saved."""
    return matplotlib.rc_context(FIGURE_STYLE)


def number(setting: str) -> float:
    """A number of the figures' style."""
    return float(FIGURE_STYLE[setting])


@dataclass(frozen=True)
class Frame:
    """One axis of a figure's panels: its ends, and whether it is logarithmic."""

    low: float
    high: float
    is_logarithmic: bool

    def cuts(self, lows: Sequence[float] | np.ndarray, highs: Sequence[float] | np.ndarray) -> bool:
        """Whether an interval between two of these ends goes beyond the frame's."""
        return bool((np.asarray(lows) < self.low).any() or (np.asarray(highs) > self.high).any())


def percent_ticks(axis: Axis, signed: bool = False) -> None:
    """Show the fractions on an axis in percent, differences with their sign."""
    form = "+g" if signed else "g"
    axis.set_major_locator(MaxNLocator("auto", steps=ROUND, min_n_ticks=2))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{round(100 * value, 9) or 0.0:{form}}".replace("-", "−").replace("+0", "0"))
    )


def plain(value: float) -> str:
    """A round number in full, thousands separated."""
    return f"{value:,.10g}"


def plain_ticks(axis: Axis) -> None:
    """Show round numbers in full, thousands separated."""
    axis.set_major_locator(MaxNLocator("auto", steps=ROUND, min_n_ticks=2))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def plain_log_ticks(axis: Axis) -> None:
    """Show few ticks on a logarithmic axis, in plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def with_count(label: str, n: int) -> str:
    """A name with its number of seeds, which is never torn apart at the end of a line."""
    return f"{label} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n})"


@cache
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


def panel_title(text: str, width: str, columns: int, beside: float = 0.0) -> str:
    """The title of a panel in one of so many columns, wrapped to its width; `beside` points are left of the panels."""
    return wrapped(text, (POINTS_PER_INCH * WIDTHS[width] - beside) / columns - 24, number("axes.titlesize"))


def page_title(title: str) -> str:
    """A title in lines that fit the page, broken at spaces and, in a variant's name, after commas."""
    mark = "\x00"
    lines = []
    for part in title.split("\n"):
        breakable = re.sub(r",(?=\S)", f",{mark} ", part)
        lines += [line.replace(f"{mark} ", "").replace(mark, "") for line in textwrap.wrap(breakable, LINE_LENGTH)]
    return "\n".join(lines)
