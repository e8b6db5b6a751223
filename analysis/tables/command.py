"""`python -m analysis table`: test accuracy over seeds, verdicts on differences, cost; a row for each variant."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ..comparing.arrangement import PLAIN, VARIANT, Layout
from ..comparing.caveats import caveats
from ..comparing.comparison import compare
from ..comparing.image_level import image_level
from ..reading.sources import add_source_arguments, read_runs
from . import latex, markdown, webpage
from .columns import ABREAST, COLUMNS, RESULTS, Entry, chosen
from .comparison_tables import records, tables_of
from .footer import footer
from .table import Column

RENDER = {"md": markdown.render, "tex": latex.render, "html": webpage.render}
FORMATS = (*RENDER, "csv")


@dataclass(frozen=True)
class Printed:
    """The text of a table for standard output, and what goes beside it to standard error."""

    text: str
    beside: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `table`."""
    add_source_arguments(parser)
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
    columns = None
    if arguments.columns is not None:
        columns = chosen([key.strip() for key in arguments.columns.split(",") if key.strip()])
    layout = Layout(arguments.rows, arguments.by)
    printed = table(
        arguments.sources, arguments.baseline, arguments.format, layout, columns, arguments.about, arguments.metric
    )
    print(printed.text, end="", flush=True)
    for line in printed.beside:
        print(line, file=sys.stderr)


def table(
    sources: Sequence[str],
    baseline: str | None,
    form: str,
    layout: Layout = PLAIN,
    columns: Sequence[Column[Entry]] | None = None,
    about: str | None = None,
    metric: str | None = None,
) -> Printed:
    """The comparison of all runs in the sources; caveats go beside the table, and so does the footer of CSV.

    Raises ValueError for an unusable source, declaration, baseline or config key, and when no run has a result.
    """
    assert form in FORMATS
    comparison = compare(read_runs(sources), baseline, layout, about, metric)
    images = image_level(comparison)
    shown = columns or (RESULTS if layout.by is None else ABREAST)
    below, doubts = footer(comparison, images, shown), caveats(comparison)
    warnings = [f"warning: {line}" for line in doubts]
    if form == "csv":
        return Printed(records(comparison, columns, images), [*below, *warnings])
    return Printed(RENDER[form](tables_of(comparison, shown, images), below, doubts), warnings)
