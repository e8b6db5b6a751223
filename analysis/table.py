"""`python -m analysis table`: one row a variant; test accuracy over seeds, paired difference to the baseline, cost."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.caveats import caveats
from analysis.comparison import compare
from analysis.footer import footer
from analysis.formats import latex, markdown, records
from analysis.formats.grids import grids
from analysis.sources import read_runs

FORMATS = ("md", "tex", "csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `table`."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a folder with runs at any depth, e.g. outputs/lab_3x3"
    )
    parser.add_argument(
        "--baseline", metavar="V", help="variant to compare with; default: the first one named static*"
    )
    parser.add_argument("--format", choices=FORMATS, default="md", help="what is printed (default: md)")


def run(arguments: argparse.Namespace) -> None:
    """Print the table to standard output and what goes beside it to standard error."""
    printed = table(arguments.sources, arguments.baseline, arguments.format)
    print(printed.text, end="", flush=True)
    for line in printed.beside:
        print(line, file=sys.stderr)


@dataclass(frozen=True)
class Table:
    """The printed table, and what goes beside it to standard error."""

    text: str
    beside: list[str]


def table(sources: Sequence[str], baseline: str | None, form: str) -> Table:
    """The comparison of all runs in the sources; caveats go beside the table, and so does the footer of CSV.

    Raises ValueError for an unusable source, an unknown baseline, and when no run has a result.
    """
    assert form in FORMATS
    comparison = compare(read_runs(sources), baseline)
    below, doubts = footer(comparison), caveats(comparison)
    warnings = [f"warning: {line}" for line in doubts]
    if form == "csv":
        return Table(records.document(comparison), [*below, *warnings])
    document = latex.document if form == "tex" else markdown.document
    return Table(document(grids(comparison), below, doubts), warnings)
