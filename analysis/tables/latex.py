"""LaTeX for a paper that loads booktabs: table environments with graphicx, long tables with longtable."""

import re
from typing import Any

from .table import Row, Sheet, Table

NEEDS = r"% Needs \usepackage{booktabs} and \usepackage{graphicx}."
SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    '"': "''",
    "Δ": r"$\Delta$",
    "α": r"$\alpha$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "-": r"$-$",
    "d_z": "$d_z$",
}
# A hyphen is a minus sign before a number and between two spaces, nowhere else.
SPECIAL = re.compile(r"\bd_z\b|(?<![\w.)-])-(?=\d)|(?<= )-(?= )|[^\w\s.,:;()\[\]=+*/'!?@-]|_", re.ASCII)


def render(tables: list[Table], footer: list[str], caveats: list[str]) -> str:
    """The tables, the footer and the caveats as notes below the first one."""
    notes = [escaped(line) for line in footer]
    if caveats:
        notes += [
            r"\par\emph{Caveats:}",
            *(f"{escaped(line)};" for line in caveats[:-1]),
            f"{escaped(caveats[-1])}.",
        ]
    first, *others = tables
    texts = [[NEEDS, *_table(first, notes)], *(_table(other, []) for other in others)]
    return "\n\n".join("\n".join(lines) for lines in texts) + "\n"


def long_table(sheet: Sheet[Any], caption: str) -> str:
    """A sheet as a table that may run over several pages, its total set apart."""
    # A variant's name is one long word, which TeX would let run off the page.
    breakable = re.sub(r",(?=\S)", r",\\allowbreak ", escaped(caption))
    table = sheet.table()
    rows = ["  " + _row(row) for row in table.blocks[""]]
    if sheet.total:
        rows.insert(-1, r"  \midrule")
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs} and \usepackage{longtable}.",
            r"{\scriptsize\setlength{\tabcolsep}{3pt}",
            rf"\begin{{longtable}}{{{_alignment(table)}}}",
            rf"  \caption{{{breakable}}} \\",
            r"  \toprule",
            "  " + _joined([escaped(heading.line) for heading in table.headings]),
            r"  \midrule",
            r"  \endhead",
            *rows,
            r"  \bottomrule",
            r"\end{longtable}}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Text without TeX's own signs; Greek letters, arrows and minus signs in math mode."""
    return SPECIAL.sub(lambda match: SIGNS.get(match[0], match[0]), text)


def _table(table: Table, notes: list[str]) -> list[str]:
    label = re.sub(r"[^a-z0-9]+", "-", f"{table.of} {table.title}".lower()).strip("-")
    return [
        r"\begin{table}[t]",
        r"  \centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"  \caption{{{escaped(f'{table.title} of {table.of}.')}}}",
        rf"  \label{{tab:{label}}}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        *_tabular(table),
        *_below(notes),
        r"\end{table}",
    ]


def _tabular(table: Table) -> list[str]:
    lines: list[str] = []
    for name, rows in table.blocks.items():
        if name:
            lines += [r"\addlinespace"] if lines else []
            lines.append(rf"\multicolumn{{{len(table.headings)}}}{{@{{}}l@{{}}}}{{\emph{{{escaped(name)}}}}} \\")
        lines += [_row(row) for row in rows]
    return [
        rf"  \begin{{tabular}}{{{_alignment(table)}}}",
        r"    \toprule",
        "    " + _joined([escaped(heading.name) for heading in table.headings]),
        "    " + _joined([escaped(heading.measure) for heading in table.headings]),
        r"    \midrule",
        *("    " + line for line in lines),
        r"    \bottomrule",
        r"  \end{tabular}}",
    ]


def _alignment(table: Table) -> str:
    return "@{}" + "".join("l" if heading.is_text else "r" for heading in table.headings) + "@{}"


def _row(row: Row) -> str:
    texts = (escaped(cell) for cell in row.cells)
    return _joined([rf"\textbf{{{text}}}" if bold else text for text, bold in zip(texts, row.bold, strict=True)])


def _joined(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _below(notes: list[str]) -> list[str]:
    if not notes:
        return []
    return [
        r"  \par\smallskip",
        r"  \begin{minipage}{\linewidth}\scriptsize\raggedright",
        *(f"    {note}" for note in notes),
        r"  \end{minipage}",
    ]
