"""The Markdown says what the page says, and its pictures are there."""

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from analysis.tables.command import table
from tests.analysis.report.conftest import HOSTILE

WriteRun = Callable[..., Path]
Report = Callable[..., tuple[str, str]]


def words(text: str) -> str:
    return " ".join(re.sub(r"\\(.)", r"\1", unescape(re.sub(r"</?[a-z][^>]*>", "", text))).replace("*", "").split())


@pytest.mark.slow
def test_it_holds_the_same_facts_as_the_page(study: WriteRun, report: Report) -> None:
    study("static_3x3", 9, 0.5)
    folder = study("dynamic_3x3", 9, 0.5, state="failed", error={"type": "E", "message": "lost", "traceback": "T\nE"})
    (folder / "result.json").unlink()
    page, document = report()
    told = words(document)
    for pattern in (
        r'<p class="question">(.*?)<',
        r'<p class="summary">(.*?)</p>',
        r"<li>(?:<span.*?</span>)?(.*?)</li>",
    ):
        found = re.findall(pattern, page)
        assert found and all(words(each) in told for each in found)
    for pattern in (r"<figcaption>(.*?)</figcaption>", r"<dd>(.*?)</dd>", r"<td[^>]*>(.*?)</td>"):
        found = re.findall(pattern, page)
        assert len(found) > 3 and all(words(each) in told for each in found)
    assert "failed: E: lost" in told and "T\nE" in document


@pytest.mark.slow
def test_its_tables_are_those_of_the_table_command(study: WriteRun, report: Report) -> None:
    _, document = report()
    printed = [line for line in table(["outputs"], None, "md").text.splitlines() if line.startswith(("|", "- "))]
    assert len(printed) > 15 and all(line in document.splitlines() for line in printed)


@pytest.mark.slow
def test_its_pictures_lie_beside_it(study: WriteRun, report: Report) -> None:
    study("static", 0, 0.4, study="50%_grid of <x>")
    _, document = report()
    links = re.findall(r"!\[.*?\]\((.*?)\)", document)
    assert len(links) == 7 and all(Path("written", unquote(link)).is_file() for link in links)


@pytest.mark.slow
def test_a_config_cannot_end_its_fence(study: WriteRun, report: Report) -> None:
    study("fence", 0, 0.4, settings={"x": "````\n" + HOSTILE})
    _, document = report()
    assert re.search(r"^`{5}yaml$", document, re.MULTILINE)
