"""The page as a file: self-contained, small, escaped, with the numbers of the table."""

import json
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.report import page as report_page
from analysis.tables.command import table
from tests.analysis.report.conftest import HOSTILE

WriteRun = Callable[..., Path]
Report = Callable[..., tuple[str, str]]
LARGEST = 3_000_000
NAMESPACES = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


class Cells(HTMLParser):
    """The text of all table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def cells_of(markdown: str) -> set[str]:
    """Cells of Markdown tables without emphasis, headings left out."""
    lines = markdown.splitlines()
    rows = [line for line, following in pairwise([*lines, ""]) if line[:1] == "|" and "--" not in line + following]
    return {re.sub(r"\\(.)|\*", r"\1", cell).strip() for row in rows for cell in row.strip("|").split(" | ")}


def addresses(page: str) -> set[str]:
    return set(re.findall(r"""https?://[^"'\s<]*""", page))


@pytest.mark.slow
def test_it_is_self_contained(study: WriteRun, report: Report) -> None:
    page, _ = report()
    assert addresses(page) == NAMESPACES
    assert not re.search(r"<link|<script src|<iframe|@import|url\((?!#)|src=\"(?!data:image/png;base64,)", page)
    assert "default-src 'none'" in page and 'name="viewport"' in page


@pytest.mark.slow
def test_every_cell_of_the_table_is_in_it(study: WriteRun, report: Report) -> None:
    page, _ = report("--baseline", "bypass_3x3")
    expected = cells_of(table(["outputs"], "bypass_3x3", "md").text)
    assert len(expected) > 30 and expected <= set(Cells(page).cells)


@pytest.mark.slow
def test_the_answer_has_the_numbers_of_the_verdicts(study: WriteRun, report: Report) -> None:
    page, _ = report()
    known = cells_of(table(["outputs"], None, "md").text)
    told = re.findall(
        r"</strong>: (\S+) points, 95 % interval (\[.*?\]), n = (\d) pairs, p \(Holm\) (\S+?); "
        r"3 pairs find a difference of (\S+) points",
        unescape(page),
    )
    assert len(told) == 2 and {number for numbers in told for number in numbers} <= known


@pytest.mark.slow
def test_fifty_long_runs_fit(write_curves: WriteRun, report: Report) -> None:
    for variant in range(10):
        for seed in range(5):
            evaluations = 2000 if variant < 2 else 200
            write_curves(f"variant_{variant}", seed, 0.5 + variant / 50 + seed / 500, evaluations=evaluations)
    page, _ = report()
    assert len(page.encode()) < LARGEST
    assert "at most 400 of up to 2,000 evaluations" in page


@pytest.mark.slow
def test_pictures_beyond_the_budget_are_beside_it(
    study: WriteRun, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pictures").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8)).save("pictures/noise.png")
    page, document = report("--pictures", "pictures")
    assert "beside this page" not in page and "noise" in page and "picture_noise.png" in document
    monkeypatch.setattr(report_page, "PICTURE_BYTES", 1000)
    page, _ = report("--pictures", "pictures")
    assert "picture_noise.png is beside this page" in page and "data:image" not in page
    assert Path("written/picture_noise.png").is_file()


@pytest.mark.slow
def test_hostile_names_are_text(write_curves: WriteRun, report: Report) -> None:
    variant = "a&<b>,x='\"`*_"
    write_curves("static", 0, 0.5, settings={"model.weights": HOSTILE, "x": f"https://{variant}"})
    write_curves(variant, 0, 0.6, device=HOSTILE)
    write_curves("late", 1, 0.6)
    Path("outputs/lab_3x3/late/seed1/result.json").unlink()
    error = {"type": "E", "message": HOSTILE, "traceback": HOSTILE}
    write_curves("bad", 0, 0.1, state="failed", error=error)
    Path("outputs/lab_3x3/bad/seed0/result.json").unlink()
    page, document = report("--question", HOSTILE)
    assert page.count("<script") == page.count("</script>") == 3
    assert "<b>" not in page and "\u2028" not in "".join(re.findall(r"(?s)<script\b.*?</script>", page))
    assert addresses(page) == NAMESPACES
    assert unescape(page).count(HOSTILE) >= 3 and variant in unescape(page)
    assert "<script>" not in re.sub(r"(?s)```.*?```", "", document).replace("\\<script>", "")


@pytest.mark.slow
def test_several_studies_have_a_part_each_and_rows_in_blocks(study: WriteRun, report: Report) -> None:
    study("static_1x1", 0, 0.4, study="label")
    page, _ = report()
    assert re.findall(r'<th scope="rowgroup"[^>]*>(.*?)</th>', page) == ["lab_3x3", "label", "lab_3x3", "lab_3x3"]
    assert re.findall(r'<h3 class="study">(.*?)</h3>', page) == ["lab_3x3", "label"] * 3
    assert page.count('<script type="application/json">') == 2


@pytest.mark.slow
def test_headings_descend_one_by_one_and_links_have_their_targets(study: WriteRun, report: Report) -> None:
    study("static_1x1", 0, 0.4, study="a b & c")
    page, _ = report()
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1 and all(below - level <= 1 for level, below in pairwise(levels))
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids)) and set(re.findall(r'<a[^>]* href="#([^"]*)"', page)) <= set(ids)


@pytest.mark.slow
def test_it_says_by_which_command_it_was_made_and_how_new_its_runs_are(write_run: WriteRun, report: Report) -> None:
    for seed, time in enumerate(("2026-11-21T07:11:31+00:00", "2026-11-23T01:00:00+00:00")):
        provenance = write_run("static", seed, 0.5) / "provenance.json"
        provenance.write_text(json.dumps({**json.loads(provenance.read_text()), "time": time}))
    for text in report("--question", "so it is?"):
        assert "python -m analysis report outputs --out written --question 'so it is?'" in unescape(text)
        assert "Its newest run began 2026-11-23T01:00:00+00:00." in text
