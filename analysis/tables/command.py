"""`python -m analysis table`: test accuracy over seeds, verdicts on differences, cost; a row for each variant."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ..comparing.arrangement import PLAIN, VARIANT, Layout
from ..comparing.caveats import caveats
from ..comparing.comparison import compare
from ..comparing.test_images import image_level
from ..reading.sources import read_runs
from . import latex, markdown, records, webpage
from .columns import Column
from .footer import footer
from .grids import grids
from .quantities import ABREAST, COLUMNS, RESULTS, chosen

DOCUMENTS = {"md": markdown.document, "tex": latex.document, "html": webpage.document}
FORMATS = (*DOCUMENTS, "csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `table`."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a folder with runs at any depth, e.g. outputs/lab_3x3"
    )
    parser.add_argument(
        "--baseline",
        metavar="V",
        help="row to compare with; default: the first variant named static*, else the one with the fewest parameters",
    )
    parser.add_argument(
        "--rows", metavar="KEY", default=VARIANT, help="a row for each value of a config key, e.g. model.num_kernels"
    )
    parser.add_argument(
        "--by", metavar="KEY", help="side by side: study, variant or a config key, e.g. data; a table for each column"
    )
    keys = ", ".join(column.key for column in COLUMNS)
    parser.add_argument("--columns", metavar="A,B", help=f"what the table of results shows, of: {keys}")
    parser.add_argument("--format", choices=FORMATS, default="md", help="what is printed (default: md)")


def run(arguments: argparse.Namespace) -> None:
    """Print the table to standard output and what goes beside it to standard error."""
    names = arguments.columns.split(",") if arguments.columns is not None else None
    columns = chosen([name.strip() for name in names if name.strip()]) if names is not None else None
    layout = Layout(arguments.rows, arguments.by)
    printed = table(arguments.sources, arguments.baseline, arguments.format, layout, columns)
    print(printed.text, end="", flush=True)
    for line in printed.beside:
        print(line, file=sys.stderr)


@dataclass(frozen=True)
class Table:
    """The printed table, and what goes beside it to standard error."""

    text: str
    beside: list[str]


def table(
    sources: Sequence[str],
    baseline: str | None,
    form: str,
    layout: Layout = PLAIN,
    columns: Sequence[Column] | None = None,
) -> Table:
    """The comparison of all runs in the sources; caveats go beside the table, and so does the footer of CSV.

    Raises ValueError for an unusable source, an unknown baseline or config key, and when no run has a result.
    """
    assert form in FORMATS
    comparison = compare(read_runs(sources), baseline, layout)
    images = image_level(comparison)
    shown = columns or (RESULTS if layout.by is None else ABREAST)
    below, doubts = footer(comparison, images, shown), caveats(comparison)
    warnings = [f"warning: {line}" for line in doubts]
    if form == "csv":
        return Table(records.document(comparison, columns, images), [*below, *warnings])
    return Table(DOCUMENTS[form](grids(comparison, shown, images), below, doubts), warnings)
