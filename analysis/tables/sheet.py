"""A small table of numbers: Markdown and LaTeX for people, CSV for programs."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import latex as tex
from . import markdown as md

FORMATS = ("md", "tex", "csv")


@dataclass(frozen=True)
class Column:
    """A column: its heading for people, its key for programs, how a value is printed, and how it is aligned."""

    heading: str
    key: str
    text: Callable[[Any], str] = str
    left: bool = False


@dataclass(frozen=True)
class Sheet:
    """Rows of values under columns; `total` is a last row for people, empty or as long as a row."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    total: Sequence[Any] = ()

    def cells(self) -> list[list[str]]:
        """All rows, the total among them, as printed text; None is an empty cell."""
        rows = [*self.rows, self.total] if self.total else self.rows
        return [
            ["" if value is None else column.text(value) for column, value in zip(self.columns, row, strict=True)]
            for row in rows
        ]


def document(sheet: Sheet, form: str, caption: str) -> str:
    """The sheet in one of FORMATS, ending with a line break; CSV has no caption and no total."""
    assert form in FORMATS
    if form == "csv":
        return records(sheet)
    return latex(sheet, caption) if form == "tex" else f"**{md.escaped(caption)}**\n\n{markdown(sheet)}"


def markdown(sheet: Sheet) -> str:
    """A Markdown table that reads well as plain text too."""
    table = [[md.escaped(text) for text in row] for row in ([c.heading for c in sheet.columns], *sheet.cells())]
    widths = [max(3, *(len(row[i]) for row in table)) for i in range(len(sheet.columns))]
    left = [column.left for column in sheet.columns]
    rule = ["-" * width if aligned else "-" * (width - 1) + ":" for width, aligned in zip(widths, left, strict=True)]
    lines = []
    for row in (table[0], rule, *table[1:]):
        padded = (t.ljust(w) if a else t.rjust(w) for t, w, a in zip(row, widths, left, strict=True))
        lines.append("| " + " | ".join(padded) + " |")
    return "\n".join(lines) + "\n"


def latex(sheet: Sheet, caption: str) -> str:
    """A LaTeX table that may run over several pages; needs the packages booktabs and longtable."""

    def escaped(text: str) -> str:
        return tex.escaped(text).replace("×", r"$\times$")

    def line(texts: Sequence[str]) -> str:
        return "  " + " & ".join(escaped(text) for text in texts) + r" \\"

    # A variant's name is one long word, which TeX would let run off the page.
    breakable = re.sub(r",(?=\S)", r",\\allowbreak ", escaped(caption))
    body = [line(row) for row in sheet.cells()]
    if sheet.total:
        body.insert(len(sheet.rows), r"  \midrule")
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs} and \usepackage{longtable}.",
            r"{\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{@{{}}{''.join('l' if column.left else 'r' for column in sheet.columns)}@{{}}}}",
            rf"  \caption{{{breakable}}} \\",
            r"  \toprule",
            line([column.heading for column in sheet.columns]),
            r"  \midrule",
            r"  \endhead",
            *body,
            r"  \bottomrule",
            r"\end{longtable}}",
            "",
        ]
    )


def records(sheet: Sheet) -> str:
    """CSV with a header of keys and one record a row, full precision, None and NaN empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.key for column in sheet.columns])
    for row in sheet.rows:
        writer.writerow(["" if value is None or value != value else value for value in row])
    return text.getvalue()
