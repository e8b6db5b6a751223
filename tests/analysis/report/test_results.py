"""The page of all studies: the repository's own is up to date, and each study stands for itself."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.report.results import render, studies_of
from tests.conftest import ROOT

WriteRun = Callable[..., Path]
SOURCES = ("docs/runs", "docs/runs_h100")


def test_the_repositorys_page_is_what_the_command_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command = f"python -m analysis results {' '.join(SOURCES)} --out docs/results.md"
    page = render([study for source in SOURCES for study in studies_of(source)], command)
    assert page.encode() == (ROOT / "docs" / "results.md").read_bytes(), command


@pytest.fixture
def page(write_run: WriteRun, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, str]]:
    """Writes the page of some sources; its sections by heading, the overview under ''."""

    def write(*sources: str) -> dict[str, str]:
        assert main(["results", *sources]) == 0
        overview, *sections = re.split(r"^## (.+)$", capsys.readouterr().out, flags=re.MULTILINE)
        return {"": overview, **dict(zip(sections[::2], sections[1::2], strict=True))}

    return write


def test_studies_of_one_name_in_two_sources_are_two(page: Callable[..., dict[str, str]], write_run: WriteRun) -> None:
    about = {"about.question": "Is it?", "about.baseline": "plain", "about.looks": [2, 3]}
    for root, gain in (("here", 0.1), ("there", -0.1)):
        for seed in range(2):
            write_run("plain", seed, 0.5 + seed / 100, root=root, settings=about)
            write_run("mine", seed, 0.5 + gain + seed / 99, root=root, settings=about, device=f"chip {root}")
    sections = page("here", "there")
    assert list(sections) == ["", "lab_3x3 (here)", "lab_3x3 (there)"]
    assert "**Question** (declared): Is it?" in sections["lab_3x3 (here)"]
    assert "mine is better" in sections["lab_3x3 (here)"] and "mine is not" in sections["lab_3x3 (there)"]
    assert "chip there (2 runs)" in sections["lab_3x3 (there)"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in sections[""].splitlines() if "lab_3x3" in line]
    assert [row[:2] + row[4:6] for row in rows] == [["lab_3x3", "here", "1", ""], ["lab_3x3", "there", "", "1"]]


def test_what_was_not_declared_is_counted_and_left_out(
    page: Callable[..., dict[str, str]], write_run: WriteRun
) -> None:
    for seed in range(3):
        for variant in ("plain", "a", "b"):
            write_run(
                variant, seed, 0.5 + seed / 100, settings={"about.baseline": "gone", "about.controls": {"b": "plain"}}
            )
    sections = page("outputs")
    assert "2 comparisons that the study did not declare: left out here" in sections["lab_3x3 (outputs)"]
    assert len(re.findall(r"\| plain \(control\)", sections["lab_3x3 (outputs)"])) == 1


def test_a_study_that_tunes_shows_what_it_chose_and_stands_beside_the_tuned_one(
    page: Callable[..., dict[str, str]], write_run: WriteRun
) -> None:
    for model in ("static_3x3", "dynamic_3x3"):
        for lr, seeds in ((1e-3, (100, 101, 0, 1)), (1e-2, (100, 101))):
            for seed in seeds:
                study = "lab_tuning" if seed >= 100 else "lab_tuned"
                settings = {"model.name": model, "optimizer.lr": lr, "optimizer.weight_decay": 0.0}
                settings |= {"about.baseline": "static_3x3"} | ({"about.tuning": "lab_tuning"} if seed < 100 else {})
                own = {"val_accuracy": 0.8 - lr, "digest": f"{model}{lr}"}
                folder = write_run(f"{model},optimizer.lr={lr}", seed, 0.5, study, settings=settings, **own)
                noted = {"model": model, "differences": {"optimizer.lr": lr}, "command": ["run.py", "study=a b"]}
                (folder / "provenance.json").write_text(json.dumps(noted))
    sections = page("outputs")
    tuning, tuned = sections["lab_tuning (outputs)"], sections["lab_tuned (outputs)"]
    assert "- dynamic_3x3: optimizer.lr 0.001, optimizer.weight_decay 0 (79.90%, best of 2;" in tuning
    assert "verdict" not in tuning and "python run.py 'study=a b'  # 8 runs" in tuning
    assert "yes, at the grid's edge" in tuned and "4 runs, seeds 0, 1" in tuned


def test_a_tuning_study_that_has_only_begun_does_not_keep_the_page_from_other_studies(
    page: Callable[..., dict[str, str]], write_run: WriteRun
) -> None:
    for seed, accuracy, state in ((100, 0.5, "completed"), (101, None, "running")):
        write_run("mine", seed, accuracy, "lab_tuning", state=state, settings={"optimizer.lr": 1e-3})
    write_run("mine", 0, 0.5)
    sections = page("outputs")
    assert "mine: no recipe has ended with all of its 2 tuning seeds yet" in sections["lab_tuning (outputs)"]
    assert "mine reaches 50.00" in sections["lab_3x3 (outputs)"]


def test_a_study_without_a_result_is_listed_all_the_same(
    page: Callable[..., dict[str, str]], write_run: WriteRun
) -> None:
    write_run("mine", 0, None, state="running")
    sections = page("outputs")
    assert "No run has a result yet." in sections["lab_3x3 (outputs)"]
    assert "- 0 runs, no known seed; 1 run without a result." in sections["lab_3x3 (outputs)"]


def test_a_sweep_file_that_declares_nothing_is_no_declaration(
    page: Callable[..., dict[str, str]], write_run: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    for variant in ("static_3x3", "dynamic_3x3"):
        write_run(variant, 0, 0.6)
    Path("sweeps").mkdir()
    sweep = Path("sweeps/lab_3x3.yaml")
    for content in ("study: lab_3x3\n", "about: {looks: [3]}\nstudy: another\n"):
        sweep.write_text(content)
        assert "**Question** (declared): Does dynamic_3x3" in page("outputs")["lab_3x3 (outputs)"]
    sweep.write_text("about: {basline: static_3x3}\nstudy: lab_3x3\n")
    assert main(["results", "outputs"]) == 2 and "its keys may be question" in capsys.readouterr().err
