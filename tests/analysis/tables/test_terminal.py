"""On a terminal nothing is wider than it, nothing is wrapped, and what is left out is said."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from analysis.__main__ import main
from analysis.tables.columns import COLUMNS, DISPENSABLE
from analysis.tables.command import TERMINAL, Presentation, table

WriteRun = Callable[..., Path]
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def shown(width: int, notes: str = "short") -> str:
    return table(["outputs"], None, TERMINAL, presentation=Presentation(notes, terminal_width=width)).text


def test_the_order_of_leaving_out_names_columns() -> None:
    assert set(DISPENSABLE) <= {column.key for column in COLUMNS} and len(set(DISPENSABLE)) == len(DISPENSABLE)


@pytest.mark.parametrize("width", [60, 80, 120, 250])
def test_every_line_fits_and_every_row_is_one_line(troubled: WriteRun, width: int) -> None:
    troubled("动态卷积 with a name that is longer than a line of a narrow terminal,optimizer.lr=0.1", 0, 0.6)
    text = STYLE.sub("", shown(width))
    assert max(map(cell_len, text.splitlines())) <= width
    results = text.split("Verdicts")[0]
    assert len([line for line in results.splitlines() if " ± " in line]) == 7
    left_out = re.findall(r"Left out of Results for its width: ([^;]*);", text.replace("\n  ", " "))
    assert bool(left_out) == (width < 250)
    if width == 60:
        assert left_out[0].startswith("95\N{NO-BREAK SPACE}% interval, train, FLOPs")


def test_a_row_that_no_width_can_hold_still_shows_its_accuracy(troubled: WriteRun) -> None:
    assert "69.14 ± 0.19" in shown(30)


def test_a_table_of_verdicts_has_its_verdicts_or_is_left_out(sound: WriteRun) -> None:
    texts = {width: STYLE.sub("", shown(width)) for width in (60, 40)}
    for row in re.findall(r"\n(?:dynamic|detached)_3x3 .*", texts[60].split("\nVerdicts\n")[1].split("\n\n")[0]):
        assert row.rstrip().endswith(("supported", "refuted", "undecided"))
    assert "\nVerdicts\n" not in texts[40] and "Left out for its width: Verdicts" in texts[40]


def test_names_are_cut_in_the_middle_unless_they_would_look_alike(sound: WriteRun) -> None:
    start, end = "dyconv_resnet18,model.num_kernels=", ",optimizer.lr=0.1"
    sound(f"{start}4{end}", 0, 0.6)
    assert "dyconv_resnet18…ptimizer.lr=0.1" in STYLE.sub("", shown(80))
    sound(f"{start}8{end}", 0, 0.6)
    assert f"{start}8{end}" in shown(80)


def test_control_signs_reach_no_terminal(sound: WriteRun) -> None:
    sound("a\x1b]0;title\x07b", 0, 0.6)
    text = STYLE.sub("", shown(100))
    assert "\x1b" not in text and "\x07" not in text and "a\ufffd]0;title\ufffdb" in text


def test_the_best_is_bold_and_caveats_are_said_once(
    troubled: WriteRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(r"\x1b\[1m *69\.14 ± 0\.19", shown(100))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["table", "outputs"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and " ".join(printed.out.split()).count("loss is NaN at step 7") == 1
    assert main(["table", "outputs", "--format", "md"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("| variant ") and printed.out.count("loss is NaN at step 7") == 1
    assert printed.err == "warning: 6 caveats in what is printed\n"
