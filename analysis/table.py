"""`python -m analysis table`: from sources to a printed table."""

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.caveats import caveats
from analysis.comparison import compare
from analysis.footer import footer
from analysis.formats import latex, markdown, records
from analysis.formats.grids import grids
from analysis.sources import read_runs

FORMATS = ("md", "tex", "csv")


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
