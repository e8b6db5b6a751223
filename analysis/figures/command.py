"""`python -m analysis figures`: curves, accuracy against cost and paired differences of each study, with captions."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dynfilt.identity import escape

from ..comparing.caveats import caveats
from ..comparing.comparison import Comparison, compare
from ..drawing import canvas, style
from ..reading.sources import read_runs
from . import captions
from .palette import looks
from .series import X_KEYS
from .study import Choice, StudyFigures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `figures`."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a folder with runs at any depth, e.g. outputs/lab_3x3"
    )
    parser.add_argument("--out", metavar="DIR", default="figures", help="written to DIR/study (default: figures)")
    parser.add_argument(
        "--format", type=formats, default=("png",), metavar="F[,F]", help=f"{', '.join(canvas.FORMATS)} (default: png)"
    )
    parser.add_argument("--x", choices=X_KEYS, default="epochs", help="x axis of curves (default: epochs)")
    parser.add_argument(
        "--width", choices=style.WIDTHS, default="page", help="a column of a paper, 3.3 in, or the page (default: page)"
    )
    parser.add_argument("--baseline", metavar="V", help="variant to compare with; default: the first one named static*")
    parser.add_argument("--before", metavar="V", help="with --after: draw the losses of two variants in one figure")
    parser.add_argument("--after", metavar="V", help="see --before")


def formats(text: str) -> tuple[str, ...]:
    """Names of file formats, separated by commas. Raises argparse.ArgumentTypeError for an unknown one."""
    chosen = tuple(dict.fromkeys(text.split(",")))
    unknown = [form for form in chosen if form not in canvas.FORMATS]
    if unknown:
        allowed = ", ".join(canvas.FORMATS)
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown; allowed, separated by commas: {allowed}")
    return chosen


def run(arguments: argparse.Namespace) -> None:
    """Write the figures of every study and their captions; paths and warnings go to standard error."""
    choice = Choice(arguments.x, arguments.width, arguments.before, arguments.after)
    if (choice.before is None) != (choice.after is None):
        raise ValueError("--before and --after go together: the losses of two variants in one figure")
    comparison = compare(read_runs(arguments.sources), arguments.baseline)
    written = write_figures(comparison, choice, Path(arguments.out), arguments.format)
    for line in [*caveats(comparison), *written]:
        print(f"warning: {line}", file=sys.stderr)


def write_figures(comparison: Comparison, choice: Choice, out: Path, forms: Sequence[str]) -> list[str]:
    """Write the figures of each study to a folder of its own below `out`, and return what they leave out.

    Raises ValueError when no study has both variants of the before/after figure.
    """
    variants = looks(row.label for row in comparison.rows)
    studies = [StudyFigures(name, rows, variants, choice) for name, rows in comparison.groups.items()]
    if choice.before and not any(study.pair() for study in studies):
        known = ", ".join(row.label for row in comparison.rows if row.runs)
        raise ValueError(f"no study has results of both {choice.before} and {choice.after}; the variants are: {known}")
    for study in studies:
        _write(study, out / escape(study.heading), forms)
    several = len(studies) > 1
    return [f"{study.heading}: {line}" if several else line for study in studies for line in study.gaps()]


def _write(study: StudyFigures, folder: Path, forms: Sequence[str]) -> None:
    paragraphs = [f"# Figures of {study.heading}"]
    with style.in_style():
        for drawing in study.drawings():
            canvas.save(drawing.figure, folder, drawing.name, forms)
            paragraphs.append(f"**{drawing.name}** {drawing.caption}")
    if len(paragraphs) > 1:
        paragraphs += [captions.origin(study.rows), *(f"Note: {line}." for line in study.gaps())]
        canvas.write_text(folder / "captions.md", "\n\n".join(paragraphs) + "\n")
