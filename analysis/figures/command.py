"""`python -m analysis figures`: curves, accuracy against cost and paired differences of each study, with captions."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dynfilt.run.identity import file_name

from ..comparing.caveats import caveats
from ..comparing.comparison import Comparison, compare
from ..comparing.words import origin
from ..drawing.sheets import add_format_argument, save, write_captions
from ..drawing.style import WIDTHS, figure_style
from ..reading.sources import add_source_arguments, read_runs
from .legend import looks_of
from .selection import add_variants_argument, drawn, selected
from .series import X_AXES
from .study import FigureOptions, StudyFigures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `figures`."""
    add_source_arguments(parser)
    parser.add_argument("--out", metavar="DIR", default="figures", help="written to DIR/study (default: figures)")
    add_format_argument(parser)
    add_variants_argument(parser)
    parser.add_argument("--x", choices=X_AXES, default="epochs", help="x axis of curves (default: epochs)")
    parser.add_argument(
        "--width", choices=WIDTHS, default="page", help="a column of a paper, 3.3 in, or the page (default: page)"
    )
    parser.add_argument("--before", metavar="V", help="with --after: draw the losses of two variants in one figure")
    parser.add_argument("--after", metavar="V", help="see --before")


def run(arguments: argparse.Namespace) -> None:
    """Write the figures of every study and their captions; paths and warnings go to standard error.

    Raises ValueError for --before without --after, an unusable source, and as `write_figures` does.
    """
    options = FigureOptions(arguments.x, arguments.width, arguments.before, arguments.after)
    if (options.before is None) != (options.after is None):
        raise ValueError("--before and --after go together: the losses of two variants in one figure")
    comparison = compare(
        read_runs(arguments.sources), arguments.baseline, about=arguments.about, metric=arguments.metric
    )
    gaps = write_figures(comparison, options, Path(arguments.out), arguments.format, arguments.variants)
    for line in [*caveats(comparison), *gaps]:
        print(f"warning: {line}", file=sys.stderr)


def write_figures(
    comparison: Comparison, options: FigureOptions, out: Path, formats: Sequence[str], names: Sequence[str] = ()
) -> list[str]:
    """Write the figures of each study to its folder below `out`, and return what they leave out.

    Raises ValueError when no study has both variants of the before/after figure, and as `selected` does.
    """
    variants = comparison.variants
    groups, options = selected(comparison.groups, names), replace(options, are_named=bool(names))
    looks = looks_of(variants, [each for members in groups.values() for each in drawn(members, bool(names))])
    studies = [StudyFigures(name, members, looks, options, comparison.groups[name]) for name, members in groups.items()]
    if options.before and not any(study.pair() for study in studies):
        labels = ", ".join(variant.label for variant in variants if variant.runs)
        raise ValueError(
            f"no study has results of both {options.before} and {options.after}; the variants are: {labels}"
        )
    for study in studies:
        _write(study, out / file_name(study.heading), formats)
    several = len(studies) > 1
    return [f"{study.heading}: {line}" if several else line for study in studies for line in study.gaps()]


def _write(study: StudyFigures, folder: Path, formats: Sequence[str]) -> None:
    captions = {}
    with figure_style():
        for drawing in study.drawings():
            save(drawing.figure, folder, drawing.name, formats)
            captions[drawing.name] = drawing.caption
    if captions:
        runs = [run for variant in study.variants for run in variant.runs]
        notes = [origin(runs, runs), *(f"Note: {line}." for line in study.gaps())]
        write_captions(folder / "captions.md", f"Figures of {study.heading}", captions, notes)
