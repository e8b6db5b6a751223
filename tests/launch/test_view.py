"""The live table of a pool on a terminal; it is drawn here without one."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from dynfilt.launch import view as view_module
from dynfilt.launch.messages import Report
from dynfilt.launch.outcome import JobOutcome, JobState
from dynfilt.launch.view import LiveView


class Clock:
    """Seconds, as the test sets them."""

    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(view_module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def shown(view: LiveView, waiting: int, width: int = 100) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(view._table(waiting))
    return [line.strip() for line in text.getvalue().splitlines()]


def test_a_run_that_goes_on_tells_the_time_left_by_its_pace_here(clock: Clock) -> None:
    view = LiveView(2)
    view.started("seed=0")
    clock.now = 10.0
    view.reported("seed=0", Report(80, 100, 5.0, 4.0))
    assert shown(view, 1)[2].split() == ["seed=0", "4.0/5"]
    clock.now = 30.0
    view.reported("seed=0", Report(90, 100, 5.0, 4.5, 0.5, 1000.0))
    assert shown(view, 1)[2].split() == ["seed=0", "4.5/5", "50.0%", "1,000", "20", "s"]
    clock.now = 60.0
    view.ended(JobOutcome("seed=0", JobState.TRAINED), "", 60.0)
    assert shown(view, 1)[0] == "1 trained, 0 running, 1 waiting of 2, about 5 min 00 s left"  # a fifth took 60 s


def test_a_job_whose_process_died_runs_no_more(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveView(1)
    view.started("seed=0")
    view.tried_again("seed=0", "the process [/died]")
    assert shown(view, 1)[0] == "0 running, 1 waiting of 1"
    assert capsys.readouterr().err == "launcher: seed=0: the process [/died]; trying again\n"


def test_what_the_only_job_prints_stands_above_the_table_line_by_line(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    view = LiveView(1)
    view.started("seed=0")
    view.printed("a line [bold] of more than 20 characters\nmodel.py:100: warning", is_error=True)
    assert capsys.readouterr().err == "a line [bold] of more than 20 characters\nmodel.py:100: warning\n"


def test_standard_output_that_goes_elsewhere_gets_what_lines_would(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    view = LiveView(1)
    view.started("seed=0")
    view.printed("epoch :100:", is_error=False)
    view.ended(JobOutcome("seed=0", JobState.SKIPPED), "", 1.0)
    assert capsys.readouterr() == ("epoch :100:\nseed=0: skipped\n", "")


@pytest.mark.parametrize("columns", ["1", "0", "-3", "x", "30"])
def test_any_name_fits_any_terminal(columns: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with LiveView(2) as view:
        view.started("study=штука[/bold]")
        view.reported("study=штука[/bold]", Report(1, 10, 1.0))
        clock.now += 1
        view.refresh(1)
        view.ended(JobOutcome("study=штука[/bold]", JobState.FAILED, "no [/luck]"), "", 1.0)
