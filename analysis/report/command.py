"""`python -m analysis report`: question, answer, tables, curves, pictures and configs in one HTML file and Markdown."""

import argparse
import sys
from pathlib import Path

from ..comparing.comparison import compare
from ..drawing.sheets import write_text
from ..figures.selection import add_variants_argument
from ..reading.sources import add_source_arguments, read_runs
from . import document, page
from .contents import contents_of
from .embedded import existing

PAGE, DOCUMENT = "report.html", "report.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `report`."""
    add_source_arguments(parser)
    parser.add_argument(
        "--out", metavar="DIR", default="report", help=f"where {PAGE}, {DOCUMENT} and PNG files go (default: report)"
    )
    add_variants_argument(parser)
    parser.add_argument(
        "--question", metavar="TEXT", help="what was asked; default: what the study or sweeps/<study>.yaml declares"
    )
    parser.add_argument(
        "--pictures", metavar="FOLDER", help="show the PNG files in FOLDER too, e.g. those of `kernels` or `attention`"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the report to a folder; paths and warnings go to standard error.

    Raises ValueError for an unusable source, an unknown baseline, and pictures that cannot be read.
    """
    pictures = list(existing(arguments.pictures)) if arguments.pictures else []
    comparison = compare(
        read_runs(arguments.sources), arguments.baseline, about=arguments.about, metric=arguments.metric
    )
    contents = contents_of(comparison, arguments.question, pictures, arguments.variants, arguments.command_line)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    for picture in contents.all_pictures:
        (out / picture.file).write_bytes(picture.png)
        print(f"written: {out / picture.file}", file=sys.stderr)
    write_text(out / DOCUMENT, document.render(contents))
    write_text(out / PAGE, page.render(contents))
    for line in contents.caveats:
        print(f"warning: {line}", file=sys.stderr)
