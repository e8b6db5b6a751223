"""The HTML page: whole, self-contained, well-formed, with the same cells as the other formats."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis.comparing.arrangement import Layout
from analysis.tables.command import table

WriteRun = Callable[..., Path]
VOID = {"meta"}


class Page(HTMLParser):
    """Collects cells and attributes, and fails on a tag that is closed out of turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


@pytest.fixture
def study(write_run: WriteRun) -> WriteRun:
    for seed in range(3):
        write_run("static_3x3", seed, 0.66 + seed / 100)
        write_run("dynamic_3x3", seed, 0.68 + seed / 90)
        write_run("<script>alert('x')</script>&amp;", seed, 0.6 + seed / 70)
    return write_run


def html(layout: Layout | None = None) -> str:
    return table(["outputs"], None, "html", layout or Layout("variant", None)).text


def test_it_is_a_whole_page_that_needs_nothing_else(study: WriteRun) -> None:
    text = html()
    assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    assert not re.search(r"https?:|//|url\(|@import|<link|<script|<img|<iframe|javascript", text.replace("<!--", ""))
    names = {name for name, _ in Page(text).attributes}
    assert names <= {"lang", "charset", "name", "content", "class", "scope", "colspan"}


def test_names_are_escaped(study: WriteRun) -> None:
    text = html()
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert "<script>alert('x')</script>&amp;" in Page(text).cells


def test_it_is_light_and_dark(study: WriteRun) -> None:
    text = html()
    assert "color-scheme: light dark" in text and "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


@pytest.mark.parametrize("layout", [Layout("variant", None), Layout("variant", "trainer.epochs")])
def test_its_cells_are_those_of_the_markdown_tables(study: WriteRun, layout: Layout) -> None:
    study("static_3x3", 0, 0.5, study="other", epochs=5)
    markdown = table(["outputs"], None, "md", layout).text
    lines = [line.strip("|").split("|") for line in markdown.splitlines() if line.startswith("|") and "--" not in line]
    plain = {re.sub(r"\\(.)|\*", r"\1", cell).strip() for line in lines for cell in line} - {""}
    headings = {cell for cell in plain if re.search(r", | [↑↓]$", cell) and "[" not in cell}
    assert plain - headings <= set(Page(html(layout)).cells)


def test_the_best_value_is_marked(study: WriteRun) -> None:
    (marked,) = re.findall(r'class="best">([^<]*±[^<]*)<', html())
    assert marked == "69.11 ± 1.11"
