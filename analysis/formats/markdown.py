"""Markdown: tables that read well as plain text too."""

import re

from analysis.formats.grids import Grid, Line

SPECIAL = re.compile(r"[\\|*`]|<(?=[A-Za-z/!?])|\](?=\()|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")

# A rule needs three characters to be one, colon included.
NARROWEST = 3


def document(grids: list[Grid], footer: list[str], caveats: list[str]) -> str:
    """The tables, the second and later ones under their title, then the footer and the caveats as lists."""
    first, *others = ("\n".join(_table(grid)) for grid in grids)
    blocks = [first]
    for grid, table in zip(grids[1:], others, strict=True):
        blocks.append(f"**{grid.title}**\n\n{table}")
    blocks.append("\n".join(f"- {escaped(line)}" for line in footer))
    if caveats:
        blocks.append("**Caveats**\n\n" + "\n".join(f"- {escaped(line)}" for line in caveats))
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Text without Markdown's own signs; underscores inside words and plain brackets need no escape."""
    return SPECIAL.sub(lambda match: "\\" + match[0], text)


def _table(grid: Grid) -> list[str]:
    headings = [escaped(column.heading) for column in grid.columns]
    rows = []
    for study, lines in grid.studies.items():
        if len(grid.studies) > 1:
            rows.append([f"*{escaped(study)}*", *[""] * (len(headings) - 1)])
        rows += [_cells(line) for line in lines]
    widths = [max(NARROWEST, *map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
    return [_joined(cells, widths) for cells in (headings, rule, *rows)]


def _cells(line: Line) -> list[str]:
    texts = (escaped(cell) for cell in line.cells)
    return [f"**{text}**" if bold else text for text, bold in zip(texts, line.bold, strict=True)]


def _joined(cells: list[str], widths: list[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return "| " + " | ".join(padded) + " |"
