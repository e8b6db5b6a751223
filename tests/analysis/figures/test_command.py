"""`python -m analysis figures`: files, their bytes, what is said of gaps, and one-line errors."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main

pytestmark = pytest.mark.usefixtures("coarse_figures")

WriteRun = Callable[..., Path]
CURVES = [f"{metric}{figure}" for metric in ("accuracy", "loss") for figure in ("", "_by_variant", "_validation")]
ACCURACIES = ["accuracy_against_cost", "differences"]


@pytest.fixture
def study(write_curves: WriteRun) -> WriteRun:
    for seed in range(2):
        write_curves("static", seed, [0.5, 0.6 + seed / 50, 0.66])
        write_curves("dynamic", seed, [0.4, 0.7 - seed / 90, 0.68 + seed / 40])
    return write_curves


def figures(*arguments: str) -> int:
    return main(["figures", "outputs", *arguments])


def names(folder: str, ending: str) -> list[str]:
    return sorted(path.stem for path in Path(folder).glob(f"*.{ending}"))


@pytest.mark.slow
def test_a_study_gets_its_figures_and_their_captions(study: WriteRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert figures("--out", "paper", "--before", "static", "--after", "dynamic", "--width", "column") == 0
    assert names("paper/lab_3x3", "png") == sorted([*CURVES, *ACCURACIES, "before_after"])
    captions = Path("paper/lab_3x3/captions.md").read_text()
    assert re.findall(r"^\*\*(\w+)\*\*", captions, re.MULTILINE)[-1] == "before_after"
    assert "Source: outputs; commit 1a2b3c4." in captions and "Note:" not in captions
    printed = capsys.readouterr()
    assert printed.out == "" and "warning" not in printed.err
    assert "written: paper/lab_3x3/loss.png" in printed.err


@pytest.mark.slow
@pytest.mark.parametrize("formats", [{"svg": b"<?xml"}, {"pdf": b"%PDF", "png": b"\x89PNG"}], ids=",".join)
def test_every_format_has_the_same_bytes_each_time_and_names_no_foreign_address(
    formats: dict[str, bytes], study: WriteRun
) -> None:
    """Each figure in the format that holds all of its strokes, and each format."""
    drawn = [*CURVES, *ACCURACIES]
    if "svg" not in formats:
        drawn = ACCURACIES
        for curves in Path("outputs").rglob("metrics.jsonl"):
            curves.unlink()
    for out in ("first", "second"):
        assert figures("--out", out, "--format", ",".join(formats), "--x", "steps") == 0
    for form, start in formats.items():
        assert names("first/lab_3x3", form) == sorted(drawn)
        for path in Path("first/lab_3x3").glob(f"*.{form}"):
            assert path.read_bytes().startswith(start)
            assert path.read_bytes() == Path("second/lab_3x3", path.name).read_bytes()
    for path in Path("first").rglob("*.svg"):
        assert set(re.findall(r"https?://[^/\"]*", path.read_text())) == {"http://www.w3.org"}


@pytest.mark.slow
def test_missing_and_short_curves_are_named(study: WriteRun, capsys: pytest.CaptureFixture[str]) -> None:
    study("dynamic", 2, [0.4, 0.5], flops=None)
    Path("outputs/lab_3x3/static/seed1/metrics.jsonl").unlink()
    study("killed", 0, [0.2], accuracy=None, state="running")
    assert figures() == 0
    told = capsys.readouterr().err
    note = (
        "dynamic: its seeds were not all evaluated at the same steps (they end at 2 to 3 epochs); mean and band are "
        "drawn where all of them have values"
    )
    for warning in (
        "no curves of static seed 1: no evaluation recorded (outputs/lab_3x3/static/seed1)",
        note,
        "dynamic: flops not recorded, so not drawn",
        "not counted: killed seed 0, interrupted",
        "without seed 2, which others have: static",
    ):
        assert f"warning: {warning}" in told
    assert f"Note: {note}." in Path("figures/lab_3x3/captions.md").read_text()


def test_without_any_curves_the_accuracies_are_still_drawn(write_run: WriteRun) -> None:
    write_run("static", 0, 0.7)
    write_run("dynamic", 0, 0.8)
    assert figures() == 0
    assert names("figures/lab_3x3", "png") == ACCURACIES


@pytest.mark.slow
def test_a_lone_variant_with_one_seed_and_one_evaluation_is_drawn(write_curves: WriteRun) -> None:
    write_curves("static", 0, [0.5])
    assert figures() == 0
    assert names("figures/lab_3x3", "png") == sorted([*CURVES, "accuracy_against_cost"])


@pytest.mark.slow
def test_studies_have_folders_of_their_own_whatever_their_names(write_run: WriteRun) -> None:
    write_run("static", 0, 0.7, study="$up")
    write_run("static", 0, 0.7, study="b")
    assert figures("--out", "made") == 0
    assert sorted(path.name for path in Path("made").iterdir()) == ["%24up", "b"]


@pytest.mark.slow
def test_a_name_may_look_like_a_formula(write_curves: WriteRun) -> None:
    write_curves("cost_$_^$", 0, [0.5])
    assert figures() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "jpg"], "jpg is unknown; allowed, separated by commas: png, svg, pdf"),
        (["--x", "hours"], "epochs, steps, seconds"),
        (["--width", "wide"], "column, page"),
        (["--before", "static"], "--before and --after go together"),
        (["--before", "static", "--after", "static"], "choose two different variants"),
        (["--before", "static", "--after", "statik"], "the variants are: static, dynamic"),
        (["--baseline", "statik"], "the variants are: dynamic, static"),
    ],
)
def test_an_error_is_one_line_with_exit_code_2(
    study: WriteRun, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert figures(*arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and message in told.replace("'", "")
    assert not Path("figures").exists()


def test_a_name_of_several_rows_is_no_end_of_a_pair(study: WriteRun, capsys: pytest.CaptureFixture[str]) -> None:
    study("dynamic", 5, [0.4], digest="another")
    assert figures("--before", "static", "--after", "dynamic") == 2
    assert "dynamic is several rows of lab_3x3; choose one of 'dynamic @another'" in capsys.readouterr().err
