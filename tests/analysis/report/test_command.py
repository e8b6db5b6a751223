"""The command line of `report`: what it writes, for which sources, and how it refuses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main

WriteRun = Callable[..., Path]
Report = Callable[..., tuple[str, str]]


@pytest.mark.slow
def test_it_writes_page_markdown_and_pictures_and_says_so(study: WriteRun, capsys: pytest.CaptureFixture[str]) -> None:
    study("dynamic_3x3", 7, 0.5)
    assert main(["report", "outputs", "--out", "a/b"]) == 0
    names = {path.name for path in Path("a/b").iterdir()}
    pictures = {f"lab_3x3_{name}.png" for name in ("accuracy", "loss", "differences", "accuracy_against_cost")}
    assert names == {"report.html", "report.md", *pictures}
    said = capsys.readouterr()
    assert said.out == "" and all(f"written: a/b/{name}\n" in said.err.replace("\\", "/") for name in names)
    assert "warning: without seed 7, which others have: static_3x3, bypass_3x3" in said.err


@pytest.mark.slow
def test_the_same_runs_give_the_same_files(study: WriteRun, report: Report) -> None:
    first = report(), {path.name: path.read_bytes() for path in Path("written").iterdir()}
    assert (report(anew=True), {path.name: path.read_bytes() for path in Path("written").iterdir()}) == first


@pytest.mark.slow
def test_the_baseline_is_the_one_asked_for(study: WriteRun, report: Report) -> None:
    page, document = report("--baseline", "bypass_3x3")
    assert "Against bypass_3x3: " in page and "Against bypass_3x3: " in document and "Against static" not in page


@pytest.mark.slow
def test_a_study_without_curves_or_comparison_has_a_report(write_run: WriteRun, report: Report) -> None:
    write_run("alone", 0, 0.5)
    page, document = report()
    for text in (page, document):
        assert "What test accuracy does alone reach?" in text and "There is nothing to compare it with." in text
        assert "no evaluation recorded" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["outputs", "--baseline", "x"], "no variant x with results"),
        (["outputs", "--pictures", "outputs"], "no PNG files in outputs"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(
    study: WriteRun, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *words, "--out", "written"]) == 2
    assert said in capsys.readouterr().err and not Path("written").exists()


@pytest.mark.slow
def test_a_study_without_a_chosen_variant_says_so(study: WriteRun, report: Report) -> None:
    study("static_1x1", 0, 0.4, study="label")
    page, document = report("--variants", "dynamic_3x3", "static_3x3")
    line = "nothing is drawn: --variants names none of its variants with results"
    assert page.count(line) == document.count(line) == 1 and page.count("No curves are drawn.") == 1
    assert '"label":"bypass_3x3"' not in page and '<th scope="row">bypass_3x3</th>' in page
