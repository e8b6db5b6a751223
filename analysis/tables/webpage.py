"""HTML: one page that opens from disk, on a phone and on paper, light and dark, and asks nothing of the network."""

from html import escape
from pathlib import Path

from .table import Row, Table

STYLE = (Path(__file__).parent / "webpage.css").read_text(encoding="utf-8")


def render(tables: list[Table], footer: list[str], caveats: list[str]) -> str:
    """The whole page: tables under their titles, then the footer and the caveats as lists."""
    title = f"Results of {tables[0].of}"
    parts = [f"<h1>{escape(title)}</h1>"]
    parts += [part for table in tables for part in (f"<h2>{escape(table.title)}</h2>", *table_lines(table))]
    parts += ["<h2>How to read this</h2>", *bullets(footer)]
    parts += ["<h2>Caveats</h2>", *bullets(caveats)] if caveats else []
    return page(title, parts)


def page(title: str, parts: list[str], style: str = "", head: str = "") -> str:
    """A page of finished parts; `style` is added to that of every page, `head` goes before it."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">' + head,
            f"<title>{escape(title)}</title>",
            f"<style>\n{STYLE}{style}</style></head>",
            "<body><main>",
            *parts,
            "</main></body></html>\n",
        ]
    )


def table_lines(table: Table) -> list[str]:
    """One table, which scrolls by itself where the screen is narrower."""
    kinds = [' class="text"' if heading.is_text else "" for heading in table.headings]
    headings = "".join(
        f'<th scope="col"{kind}>{escape(heading.name)}<small>{escape(heading.measure)}</small></th>'
        for heading, kind in zip(table.headings, kinds, strict=True)
    )
    lines = ['<div class="wide"><table>', f"<thead><tr>{headings}</tr></thead>"]
    for name, rows in table.blocks.items():
        lines.append("<tbody>")
        if name:
            lines.append(f'<tr><th scope="rowgroup" colspan="{len(table.headings)}">{escape(name)}</th></tr>')
        lines += [_row(row, kinds) for row in rows]
        lines.append("</tbody>")
    return [*lines, "</table></div>"]


def bullets(lines: list[str]) -> list[str]:
    """A list of plain sentences."""
    return ["<ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"]


def _row(row: Row, kinds: list[str]) -> str:
    name, *cells = (escape(cell) for cell in row.cells)
    marks = [' class="best"' if bold else kind for bold, kind in zip(row.bold, kinds, strict=True)]
    filled = "".join(f"<td{mark}>{cell}</td>" for mark, cell in zip(marks[1:], cells, strict=True))
    return f'<tr><th scope="row">{name}</th>{filled}</tr>'
