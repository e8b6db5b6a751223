"""Markdown: tables that read well as plain text too."""

import re

from .table import RESULTS_TITLE, Row, Table

SPECIAL = re.compile(r"[\\|*`]|<(?=[A-Za-z/!?])|\](?=\()|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
# A row or a list item ends where its line does.
BREAKS = re.compile(r"\s*[\t\n\r\f\v]\s*")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# A rule needs three characters to be one, colon included.
NARROWEST = 3


def render(tables: list[Table], footer: list[str], caveats: list[str]) -> str:
    """The tables, all but the results under their title, then the footer and the caveats as lists."""
    blocks = ["\n\n".join(titled(table)) for table in tables]
    blocks.append(bullets(footer))
    if caveats:
        blocks.append(f"**Caveats**\n\n{bullets(caveats)}")
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Text on one line, without Markdown's own signs and without control characters, which a terminal would obey.

    Underscores inside words and plain brackets need no escape.
    """
    return SPECIAL.sub(lambda match: "\\" + match[0], CONTROL.sub("\ufffd", BREAKS.sub(" ", text).strip()))


def titled(table: Table) -> list[str]:
    """The title, but for the table of results, and the table."""
    return [*([] if table.title == RESULTS_TITLE else [f"**{escaped(table.title)}**"]), table_text(table)]


def table_text(table: Table) -> str:
    """One table, its columns padded to one width."""
    headings = [escaped(heading.line) for heading in table.headings]
    rows = []
    for name, of_block in table.blocks.items():
        if name:
            rows.append([f"*{escaped(name)}*", *[""] * (len(headings) - 1)])
        rows += [_cells(row) for row in of_block]
    widths = [max(NARROWEST, *map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    lefts = [heading.is_text for heading in table.headings]
    rule = ["-" * width if left else "-" * (width - 1) + ":" for width, left in zip(widths, lefts, strict=True)]
    return "\n".join(_joined(cells, widths, lefts) for cells in (headings, rule, *rows))


def bullets(lines: list[str]) -> str:
    """A list of plain sentences."""
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _cells(row: Row) -> list[str]:
    texts = (escaped(cell) for cell in row.cells)
    return [f"**{text}**" if bold else text for text, bold in zip(texts, row.bold, strict=True)]


def _joined(cells: list[str], widths: list[int], lefts: list[bool]) -> str:
    padded = [
        cell.ljust(width) if left else cell.rjust(width) for cell, width, left in zip(cells, widths, lefts, strict=True)
    ]
    return "| " + " | ".join(padded) + " |"
