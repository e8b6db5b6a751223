"""How every picture looks and where it goes: one style, three file formats."""

import argparse
import re
import sys
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
# Okabe and Ito, "Color Universal Design", 2008: told apart with any colour vision, and in grey.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00"
PAGE_WIDTH = 7.2  # inches, the text width of A4
LINE_LENGTH = 95
KERNELS = "gray"  # dark below 0, light above: print keeps the sign, and the red frames stand out
SIGNED = "PuOr_r"
UNSIGNED = "cividis"
STYLE: Any = {
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
# Without these the files would differ from one writing to the next, and an SVG would name foreign addresses.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None, "Format": None, "Type": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the pictures go, and as what; the commands draw the runs that `trained.runs_to_draw` gives them."""
    parser.add_argument(
        "--out", metavar="DIR", default="pictures", help="written to DIR/study/variant/seed (default: pictures)"
    )
    parser.add_argument(
        "--format", type=_formats, default=("png",), metavar="F[,F]", help=f"{', '.join(FORMATS)} (default: png)"
    )
    parser.add_argument("--wandb", action="store_true", help="also log the PNGs to each run's own W&B run")


def style() -> AbstractContextManager[None]:
    """The style in force while a picture is drawn and saved."""
    return matplotlib.rc_context(STYLE)


def new_figure(height: float, title: str) -> Figure:
    """An empty figure of the page's width that arranges itself, height in inches; a long title is wrapped."""
    figure = Figure(figsize=(PAGE_WIDTH, height), layout="constrained")
    figure.suptitle(_wrapped(title))
    return figure


class Board:
    """A figure of the page's width on which axes and words are put down in inches, counted from below its title."""

    def __init__(self, height: float, title: str) -> None:
        text = _wrapped(title)
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
        """Words at a place; `looks` as matplotlib's text has them."""
        self.figure.text(left / PAGE_WIDTH, 1 - (self.header + top) / self.height, text, **looks)


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> None:
    """Write `folder/name.<format>` for each format; each path is said on standard error."""
    for form in formats:
        path = folder / f"{name}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format=form, metadata=METADATA[form])
        print(f"written: {path}", file=sys.stderr)


def write_text(path: Path, text: str) -> None:
    """Write a file beside the pictures; its path is said on standard error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


def bare(axes: Axes) -> Axes:
    """Take away ticks and spines, for a picture that is not a diagram."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _wrapped(title: str) -> str:
    """Lines that fit the page, broken at spaces and, in a variant's name, after commas."""
    mark = "\x00"
    lines = []
    for part in title.split("\n"):
        breakable = re.sub(r",(?=\S)", f",{mark} ", part)
        lines += [line.replace(f"{mark} ", "").replace(mark, "") for line in textwrap.wrap(breakable, LINE_LENGTH)]
    return "\n".join(lines)


def _formats(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(text.split(",")))
    unknown = [form for form in chosen if form not in FORMATS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; allowed, comma-separated: {', '.join(FORMATS)}")
    return chosen
