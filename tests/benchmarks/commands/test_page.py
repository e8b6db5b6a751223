"""`python -m benchmarks page`: the study that it makes, what is timed, and a machine without a browser."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis.comparing.comparison import compare
from analysis.reading.sources import read_runs
from benchmarks.__main__ import main
from benchmarks.commands import page
from tests.benchmarks.conftest import Bench

BROWSER = page.browser


class Browser:
    """Each click takes 3 ms and is painted after 20; all variants are shown once that was asked for."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def get(self, address: str) -> None:
        self.said.append(address.rpartition("/")[2])

    def execute_script(self, script: str, words: str) -> None:
        self.said.append(words)

    def execute_async_script(self, script: str, place: int) -> list[float]:
        self.said.append("click")
        return [3.0, 20.0]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Browser:
    """A stand-in for the browser, and for the command, which writes a page of 1 MB."""
    fake = Browser()

    @contextmanager
    def browser(profile: Path) -> Iterator[Any]:
        yield fake

    def report(words: list[str], **options: Any) -> Any:
        out = Path(words[words.index("--out") + 1])
        out.mkdir(exist_ok=True)
        (out / "report.html").write_bytes(b" " * 1_000_000)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(page, "browser", browser)
    monkeypatch.setattr(page, "subprocess", SimpleNamespace(run=report))
    return fake


def test_it_times_the_command_and_clicks_and_tells_the_size(opened: Browser, bench: Bench) -> None:
    content, text = bench("page", "--runs", "20", "--repetitions", "2")
    report, click, all_shown = content["timings"]
    assert len(report.ms) == 2 and report.figures == {page.SIZE: [1.0, 1.0]}
    assert click.ms == all_shown.ms == [3.0] * 10 and click.figures == {page.PAINTED: [20.0] * 10}
    assert opened.said == ["report.html", *["click"] * 10, "all", *["click"] * 10]
    assert "20 runs, 2 variants" in text


def test_the_study_that_it_makes_is_one_of_finished_runs(tmp_path: Path) -> None:
    comparison = compare(read_runs([str(page._study(tmp_path / "study", 3))]), None)
    assert [variant.summary.n for variant in comparison.variants] == [10, 10, 10]
    assert len({variant.summary.mean for variant in comparison.variants}) == 3
    assert len(comparison.runs[0].evaluations()) == 20


def test_without_a_browser_the_command_is_timed_all_the_same(
    opened: Browser, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "browser", BROWSER)
    monkeypatch.setattr(page.shutil, "which", lambda name: None)
    report, *clicks = bench("page", "--runs", "20", "--repetitions", "1")[0]["timings"]
    assert len(report.ms) == 1
    assert all("needs chromium" in str(click.failure) and not click.ms for click in clicks)


def test_a_command_that_fails_and_a_size_that_is_too_small_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = subprocess.CompletedProcess([], 2, "", "a first line\nerror: no space")
    monkeypatch.setattr(page, "subprocess", SimpleNamespace(run=lambda *words, **options: failed))
    assert main(["page", "--device", "cpu", "--runs", "20", "--repetitions", "1"]) == 2
    assert "error: no space" in capsys.readouterr().err
    assert main(["page", "--device", "cpu", "--runs", "10"]) == 2
    assert "must be at least 20" in capsys.readouterr().err
