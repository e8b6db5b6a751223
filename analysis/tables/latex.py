"""LaTeX: one table environment a grid, for a paper that loads booktabs and graphicx."""

import re

from .grids import Grid, Line

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
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
    "-": r"$-$",
    "d_z": "$d_z$",
}
# A hyphen is a minus sign before a number and between two spaces, nowhere else.
SPECIAL = re.compile(r"\bd_z\b|(?<![\w.)-])-(?=\d)|(?<= )-(?= )|[^\w\s.,:;()\[\]=+*/'!?@-]|_", re.ASCII)


def document(grids: list[Grid], footer: list[str], caveats: list[str]) -> str:
    """The tables, the footer and the caveats as notes below the first one."""
    notes = [escaped(line) for line in footer]
    if caveats:
        notes += [
            r"\par\emph{Caveats:}",
            *(f"{escaped(line)};" for line in caveats[:-1]),
            f"{escaped(caveats[-1])}.",
        ]
    tables = [_table(grid, notes if grid is grids[0] else []) for grid in grids]
    return "\n\n".join(["\n".join([NEEDS, *tables[0]]), *("\n".join(table) for table in tables[1:])]) + "\n"


def escaped(text: str) -> str:
    """Text without TeX's own signs; Greek letters, arrows and minus signs in math mode."""
    return SPECIAL.sub(lambda match: SIGNS.get(match[0], match[0]), text)


def _table(grid: Grid, notes: list[str]) -> list[str]:
    label = re.sub(r"[^a-z0-9]+", "-", f"{grid.of} {grid.title}".lower()).strip("-")
    return [
        r"\begin{table}[t]",
        r"  \centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"  \caption{{{escaped(f'{grid.title} of {grid.of}.')}}}",
        rf"  \label{{tab:{label}}}",
        r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        *_tabular(grid),
        *_below(notes),
        r"\end{table}",
    ]


def _tabular(grid: Grid) -> list[str]:
    width = len(grid.headings)
    lines: list[str] = []
    for name, rows in grid.blocks.items():
        if name:
            lines += [r"\addlinespace"] if lines else []
            lines.append(rf"\multicolumn{{{width}}}{{@{{}}l@{{}}}}{{\emph{{{escaped(name)}}}}} \\")
        lines += [_row(line) for line in rows]
    return [
        rf"  \begin{{tabular}}{{@{{}}{''.join('l' if heading.is_text else 'r' for heading in grid.headings)}@{{}}}}",
        r"    \toprule",
        "    " + _joined([escaped(heading.name) for heading in grid.headings]),
        "    " + _joined([escaped(heading.measure) for heading in grid.headings]),
        r"    \midrule",
        *("    " + line for line in lines),
        r"    \bottomrule",
        r"  \end{tabular}}",
    ]


def _row(line: Line) -> str:
    texts = (escaped(cell) for cell in line.cells)
    return _joined([rf"\textbf{{{text}}}" if bold else text for text, bold in zip(texts, line.bold, strict=True)])


def _joined(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _below(notes: list[str]) -> list[str]:
    if not notes:
        return []
    body = [f"    {note}" for note in notes]
    return [
        r"  \par\smallskip",
        r"  \begin{minipage}{\linewidth}\scriptsize\raggedright",
        *body,
        r"  \end{minipage}",
    ]
