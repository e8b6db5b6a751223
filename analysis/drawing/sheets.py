"""Figures to draw on and their files: sheets with a legend or a title, axes put down in inches, three formats."""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from . import style
from .style import PAGE_WIDTH, POINTS_PER_INCH, WIDTHS

Handle = Line2D | Patch

FORMATS = ("png", "svg", "pdf")
PLACES = 6  # decimals of a place, as a share of the figure
# Without these the files would differ from one writing to the next, and an SVG would name foreign addresses.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def add_format_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--format`, one or several of FORMATS."""
    parser.add_argument(
        "--format", type=_formats, default=("png",), metavar="F[,F]", help=f"{', '.join(FORMATS)} (default: png)"
    )


def new_figure(height: float, title: str) -> Figure:
    """An empty figure of the page's width that arranges itself, height in inches; a long title is wrapped."""
    figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
    figure.suptitle(style.page_title(title))
    return figure


def new_sheet(width: str, height: float, handles: Sequence[Handle]) -> tuple[Figure, SubFigure]:
    """A figure of a width of WIDTHS with a legend below, and the part above it, `height` inches high, to draw on.

    The legend has as many columns as fit; names wider than the figure are wrapped.
    """
    size = style.number("legend.fontsize")
    beside = size * (style.number("legend.handlelength") + style.number("legend.handletextpad"))
    gap = size * style.number("legend.columnspacing")
    inner = POINTS_PER_INCH * WIDTHS[width] - size
    labels = [style.wrapped(str(handle.get_label()), inner - beside, size) for handle in handles]
    longest = max(style.text_width(line, size) for label in labels for line in label.splitlines())
    columns = max(1, min(len(handles), int((inner + gap) / (longest + beside + gap))))
    line_height = size * (1 + style.number("legend.labelspacing")) / POINTS_PER_INCH
    below = _legend_lines(labels, columns) * line_height + 0.06
    figure = Figure(figsize=(WIDTHS[width], height + below), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(height, below), squeeze=False).flat
    lower.legend(handles, labels, loc="upper center", ncols=columns)
    return figure, upper


def _legend_lines(labels: Sequence[str], columns: int) -> int:
    """Lines of text in the fullest column; matplotlib fills a legend column by column."""
    rows, longer = divmod(len(labels), columns)
    lines, start = [], 0
    for column in range(columns):
        end = start + rows + (column < longer)
        lines.append(sum(1 + label.count("\n") for label in labels[start:end]))
        start = end
    return max(lines)


class Board:
    """A figure of the page's width on which axes and words are put down in inches, counted from below its title."""

    def __init__(self, height: float, title: str) -> None:
        text = style.page_title(title)
        self.header = 0.15 + 0.15 * (text.count("\n") + 1)
        self.height = height + self.header
        self.figure = Figure(figsize=(PAGE_WIDTH, self.height))
        self.figure.suptitle(text, y=1 - 0.08 / self.height, va="top")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes of that size, `left` and `top` from the page's left edge and the title."""
        bottom = self.height - self.header - top - height
        return self.figure.add_axes(
            (left / PAGE_WIDTH, bottom / self.height, width / PAGE_WIDTH, height / self.height), frameon=True
        )

    def write(self, left: float, top: float, text: str, **looks: Any) -> None:
        """Write words at a place; `looks` as matplotlib's text has them."""
        self.figure.text(left / PAGE_WIDTH, 1 - (self.header + top) / self.height, text, **looks)


def bare(axes: Axes) -> Axes:
    """Take away ticks and spines, for a picture that is not a diagram."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def settle(figure: Figure) -> None:
    """Lay a figure out for good, with rounded places, so that all processes draw the same.

    The solver leaves the last bits of places to chance, and the ids in an SVG follow from these.
    """
    if figure.get_layout_engine() is None:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.findobj(Axes):
        left, bottom, width, height = (round(float(end), PLACES) for end in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> None:
    """Write `folder/name.<format>` for each format; print each path to standard error."""
    settle(figure)
    for form in formats:
        path = folder / f"{name}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format=form, metadata=METADATA[form])
        print(f"written: {path}", file=sys.stderr)


def write_captions(path: Path, title: str, captions: Mapping[str, str], notes: Iterable[str] = ()) -> None:
    """Write the captions of pictures that lie beside it, by their names; `report --pictures` shows them."""
    named = (f"**{name}** {' '.join(caption.split())}" for name, caption in captions.items())
    write_text(path, "\n\n".join([f"# {' '.join(title.split())}", *named, *notes]) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file beside the pictures; print its path to standard error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


def _formats(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(text.split(",")))
    for form in chosen:
        if form not in FORMATS:
            allowed = ", ".join(FORMATS)
            raise argparse.ArgumentTypeError(f"{form!r} is unknown; allowed, separated by commas: {allowed}")
    return chosen
