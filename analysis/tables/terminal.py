"""Tables for a terminal: as wide as it is and never wrapped; what does not fit is left out and named."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import replace

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from .markdown import CONTROL
from .narrow import narrowed
from .short_notes import NotesOf
from .table import RESULTS_TITLE, Row, Table

UNLIMITED = 10_000
# Names of rows are cut in the middle where they take more of the width, if they stay different from each other.
LARGEST_NAME = 0.4
ELLIPSIS = "…"


def render(tables: Sequence[Table], notes_of: NotesOf, caveats: Sequence[str], width: int) -> str:
    """The tables in so many columns of the terminal, then notes on them, what was left out, and the caveats."""
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=True, color_system="standard", no_color=True)

    def width_of(table: Table) -> float:
        return Measurement.get(console, console.options.update(max_width=UNLIMITED), _grid(table)).maximum

    fits = [narrowed(_shortened(table, round(LARGEST_NAME * width)), width_of, width) for table in tables]
    lines = notes_of([key for each in fits if not each.is_empty for key in each.table.keys])
    for each in fits:
        if each.note:
            lines.append(f"{each.note[0].upper()}{each.note[1:]}; --format md has all.")
        if each.is_empty:
            continue
        if each.table.title != RESULTS_TITLE:
            console.print(_text(each.table.title, "bold"))
        console.print(_grid(each.table), "")
    for line in [*lines, *(f"Caveat: {line}." for line in caveats)]:
        console.print(
            _text(
                textwrap.fill(
                    line.replace(" %", "\N{NO-BREAK SPACE}%"), width, initial_indent="- ", subsequent_indent="  "
                )
            )
        )
    return text.getvalue()


def _grid(table: Table) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for heading in table.headings:
        title = f"{heading.name}\n{heading.measure}".rstrip()
        grid.add_column(_text(title), justify="left" if heading.is_text else "right", no_wrap=True)
    for name, rows in table.blocks.items():
        if name:
            grid.add_row(_text(name, "italic"))
        for row in rows:
            cells = zip(row.cells, row.bold, strict=True)
            grid.add_row(*(_text(cell, "bold" if bold else "") for cell, bold in cells))
    return grid


def _text(text: str, style: str = "") -> Text:
    """Text without control characters, which a terminal would obey."""
    return Text(CONTROL.sub("\ufffd", text), style)


def _shortened(table: Table, longest: int) -> Table:
    """The table with the middle of long names cut out, unless two rows of a block would then look alike."""
    half = (longest - len(ELLIPSIS)) // 2
    blocks = {}
    for name, rows in table.blocks.items():
        short = {row.cells[0]: _cut(row.cells[0], longest, half) for row in rows}
        if len(set(short.values())) < len(short):
            return table
        blocks[name] = [Row((short[row.cells[0]], *row.cells[1:]), row.bold) for row in rows]
    return replace(table, blocks=blocks)


def _cut(name: str, longest: int, half: int) -> str:
    return name if len(name) <= longest else f"{name[:half]}{ELLIPSIS}{name[-half:]}"
