"""LaTeX for a paper that loads booktabs: floats as wide as a page or a column, long tables with longtable."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .narrow import Narrowed, narrowed
from .table import Row, Sheet, Table
from .tex_signs import escaped, without_sign

NEEDS = r"% Needs \usepackage{booktabs}."
# Text widths in pt that fit everywhere: the line of LaTeX's article, and its column of two.
WIDTHS = {"page": 345.0, "column": 229.0}
# Widths in pt of signs at 8 pt; a column's gap; the share of the width that names take before they are broken.
NARROW, REGULAR, WIDE = 2.6, 4.3, 6.8
GAP = 8.0
LARGEST_NAME = 0.4
BREAKABLE = re.compile(r"(?<=[,=.])(?=\S)|(?<=\\_)(?=\S)")
# As wide as a digit.
FIGURE_SPACE = "\N{FIGURE SPACE}"
DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Float:
    """How tables stand in a paper: a page or a column wide; own caption, in LaTeX, and label of the first one."""

    width: str = "page"
    caption: str = ""
    label: str = ""


PLAIN_FLOAT = Float()


def render(fits: Sequence[Narrowed], notes: Sequence[list[str]], caveats: list[str], style: Float) -> str:
    """The tables that `fitted` gives, each with its notes below it, the caveats below the first one."""
    texts = [NEEDS]
    for place, (fit, lines) in enumerate(zip(fits, notes, strict=True)):
        comment = [f"% {escaped(fit.note)}"] if fit.note else []
        below = [escaped(line) for line in lines]
        if caveats and place == 0:
            below += [
                r"\par\emph{Caveats:}",
                *(f"{escaped(line)};" for line in caveats[:-1]),
                f"{escaped(caveats[-1])}.",
            ]
        texts.append("\n".join([*comment, *_table(fit.table, below, style, place)]))
    return "\n\n".join(texts) + "\n"


def fitted(tables: Sequence[Table], style: Float, *, is_chosen: bool) -> list[Narrowed]:
    """The tables without the columns for which a float has no room; but the first keeps columns that were chosen."""
    return [
        Narrowed(table, [])
        if is_chosen and place == 0
        else narrowed(table, lambda each: _width(each, style), WIDTHS[style.width])
        for place, table in enumerate(tables)
    ]


def unprintable(tables: Sequence[Table], lines: Sequence[str]) -> list[str]:
    """Name the characters that stand as code points, in one line; none where there is none."""
    cells = [cell for table in tables for row in table.rows for cell in row.cells]
    blocks = [name for table in tables for name in (*table.blocks, table.of, *(h.name for h in table.headings))]
    found = without_sign([*cells, *blocks, *lines])
    if not found:
        return []
    named = ", ".join(f"{char if char.isprintable() else repr(char)} (U+{ord(char):04X})" for char in found)
    return [f"pdfLaTeX has no sign for {named}, printed as code points; `about.names` gives a row another name"]


def long_table(sheet: Sheet[Any], caption: str) -> str:
    """A sheet as a table that may run over several pages, its total set apart."""
    # A variant's name is one long word, which TeX would let run off the page.
    breakable = re.sub(r",(?=\S)", r",\\allowbreak ", escaped(caption))
    table = sheet.table()
    rows = ["  " + _row(row.cells, row) for row in table.rows]
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


def _table(table: Table, notes: list[str], style: Float, place: int) -> list[str]:
    """One float; in a two-column style one of a page's width spans both columns."""
    kind = "table*" if style.width == "page" else "table"
    own = style.label if place == 0 else f"{style.label}-{_slug(table.title)}"
    label = own if style.label else f"tab:{_slug(f'{table.of} {table.title}')}"
    caption = style.caption if style.caption and place == 0 else escaped(f"{table.title} of {table.of}.")
    return [
        rf"\begin{{{kind}}}[t]",
        r"  \centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"  \caption{{{caption}}}",
        rf"  \label{{{label}}}",
        *_tabular(table, style),
        *_below(notes),
        rf"\end{{{kind}}}",
    ]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _tabular(table: Table, style: Float) -> list[str]:
    lines: list[str] = []
    columns = zip(table.headings, *(row.cells for row in table.rows), strict=True)
    padded = zip(*(cells if heading.is_text else _padded(cells) for heading, *cells in columns), strict=True)
    is_broken = _breaks(table, style)
    for name, rows in table.blocks.items():
        if name:
            lines += [r"\addlinespace"] if lines else []
            lines.append(rf"\multicolumn{{{len(table.headings)}}}{{@{{}}l@{{}}}}{{\emph{{{escaped(name)}}}}} \\")
        lines += [_row(next(padded), row, is_broken) for row in rows]
    return [
        rf"  \begin{{tabular}}{{{_alignment(table, style)}}}",
        r"    \toprule",
        "    " + _joined([escaped(heading.name) for heading in table.headings]),
        "    " + _joined([escaped(heading.measure) for heading in table.headings]),
        r"    \midrule",
        *("    " + line for line in lines),
        r"    \bottomrule",
        r"  \end{tabular}",
    ]


def _alignment(table: Table, style: Float | None = None) -> str:
    names = f"p{{{LARGEST_NAME * WIDTHS[style.width]:.0f}pt}}" if style and _breaks(table, style) else ""
    columns = ["l" if heading.is_text else "r" for heading in table.headings]
    return "@{}" + "".join([names or columns[0], *columns[1:]]) + "@{}"


def _padded(cells: Sequence[str]) -> list[str]:
    """The cells of a right-aligned column with room for missing digits, so that their decimal points are aligned.

    A cell's last number is aligned by itself; those before it are where all that follow are equally long.
    """
    parts = [cell.split(" ") for cell in cells]
    widest: dict[tuple[int, int], int] = {}
    for part in parts:
        for place, text in enumerate(part):
            key = len(part), place
            widest[key] = max(widest.get(key, 0), _digits(text))
    return [
        " ".join(
            FIGURE_SPACE * (widest[len(part), place] - _digits(text)) * (place > 0) + text
            for place, text in enumerate(part)
        )
        for part in parts
    ]


def _digits(text: str) -> int:
    return sum(map(len, DIGITS.findall(text)))


def _row(cells: Sequence[str], row: Row, is_broken: bool = False) -> str:
    texts = [escaped(cell) for cell in cells]
    if is_broken:
        texts[0] = r"\raggedright " + BREAKABLE.sub(r"\\allowbreak{}", texts[0])
    elif row.cells[0][:1] in ("[", "*"):
        texts[0] = "{}" + texts[0]  # else \\ before it takes it for its own argument
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


def _width(table: Table, style: Float) -> float:
    """About how wide a table is set, in pt."""
    names, *columns = [
        max(map(_text_width, (heading.name, heading.measure, *cells)))
        for heading, *cells in zip(table.headings, *(row.cells for row in table.rows), strict=True)
    ]
    return min(names, LARGEST_NAME * WIDTHS[style.width]) + sum(columns) + GAP * len(columns)


def _breaks(table: Table, style: Float) -> bool:
    """Whether the names of rows take too much of the width for one line."""
    names = (row.cells[0] for row in table.rows)
    return max(map(_text_width, names), default=0) > LARGEST_NAME * WIDTHS[style.width]


def _text_width(text: str) -> float:
    narrow = sum(char in " .,:;()[]|!'ijlft" for char in text)
    wide = sum(char.isupper() or char in "mw±+-−×%<>@" or char > "~" for char in text)
    return NARROW * narrow + WIDE * wide + REGULAR * (len(text) - narrow - wide)
