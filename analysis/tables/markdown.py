"""Markdown: tables that read well as plain text too."""

import re

from .grids import RESULTS_TITLE, Grid, Line

SPECIAL = re.compile(r"[\\|*`]|<(?=[A-Za-z/!?])|\](?=\()|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")

# A rule needs three characters to be one, colon included.
NARROWEST = 3


def document(grids: list[Grid], footer: list[str], caveats: list[str]) -> str:
    """The tables, all but the results under their title, then the footer and the caveats as lists."""
    blocks = []
    for grid in grids:
        title = [] if grid.title == RESULTS_TITLE else [f"**{escaped(grid.title)}**", ""]
        blocks.append("\n".join([*title, *table(grid)]))
    blocks.append("\n".join(f"- {escaped(line)}" for line in footer))
    if caveats:
        blocks.append("**Caveats**\n\n" + "\n".join(f"- {escaped(line)}" for line in caveats))
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Text without Markdown's own signs; underscores inside words and plain brackets need no escape."""
    return SPECIAL.sub(lambda match: "\\" + match[0], text)


def table(grid: Grid) -> list[str]:
    """The lines of one table, its columns padded to one width."""
    headings = [escaped(heading.line) for heading in grid.headings]
    rows = []
    for name, lines in grid.blocks.items():
        if name:
            rows.append([f"*{escaped(name)}*", *[""] * (len(headings) - 1)])
        rows += [_cells(line) for line in lines]
    widths = [max(NARROWEST, *map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    lefts = [heading.is_text for heading in grid.headings]
    rule = ["-" * width if left else "-" * (width - 1) + ":" for width, left in zip(widths, lefts, strict=True)]
    return [_joined(cells, widths, lefts) for cells in (headings, rule, *rows)]


def _cells(line: Line) -> list[str]:
    texts = (escaped(cell) for cell in line.cells)
    return [f"**{text}**" if bold else text for text, bold in zip(texts, line.bold, strict=True)]


def _joined(cells: list[str], widths: list[int], lefts: list[bool]) -> str:
    padded = [
        cell.ljust(width) if left else cell.rjust(width) for cell, width, left in zip(cells, widths, lefts, strict=True)
    ]
    return "| " + " | ".join(padded) + " |"
