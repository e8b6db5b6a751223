"""Printed tables: golden files (`WRITE_GOLDEN_FILES=1` renews them), escapes, and a real run of LaTeX."""

import csv
import io
import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.formats import latex, markdown
from analysis.table import FORMATS, table

WriteRun = Callable[..., Path]
GOLDEN = Path(__file__).parent / "golden"
ACCURACIES = {
    "static_3x3": [0.6712, 0.6680, 0.6763],
    "dynamic_3x3": [0.6897, 0.6911, 0.6935],
    "detached_3x3": [0.6534, 0.6480, 0.6621],
    "bypass_3x3": [0.6921, 0.6875, 0.6931],
}
COSTS = {"static_3x3": (157_514, 14_300_000), "bypass_3x3": (2_516_810, 14_302_359)}
AWKWARD = r"100%_&#{x}~^$|*a*<b>\z,lr=-0.1"


@pytest.fixture
def sound(write_run: WriteRun) -> WriteRun:
    """One study as it should be."""
    for variant, accuracies in ACCURACIES.items():
        parameters, flops = COSTS.get(variant, (2_516_810, 16_700_000))
        for seed, accuracy in enumerate(accuracies):
            write_run(variant, seed, accuracy, parameters=parameters, flops=flops, train_seconds=512 + 7.5 * seed)
    return write_run


@pytest.fixture
def troubled(sound: WriteRun) -> WriteRun:
    """Two studies with all that can go wrong in them."""
    sound(
        "dynamic_3x3",
        3,
        None,
        state="failed",
        error={"type": "ValueError", "message": "loss is NaN at step 7"},
    )
    sound("static_3x3", 3, 0.6701, commit="fedcba98", dirty=True, device="NVIDIA H200")
    sound("never_3x3", 0, None, state="running")
    sound("static_1x1", 0, 0.5123, study="100%_label", epochs=10, train_seconds=9.25, flops=999_700)
    sound("label,optimizer.lr=0.001", 0, 0.5, study="100%_label", epochs=10, train_seconds=61.5, flops=1_250)
    return sound


def same_numbers(text: str, golden: str) -> bool:
    """Equal fields, numbers within what versions of the special functions may differ by."""
    for line, expected in zip(csv.reader(io.StringIO(text)), csv.reader(io.StringIO(golden)), strict=True):
        for found, wanted in zip(line, expected, strict=True):
            if found != wanted and not math.isclose(float(found), float(wanted), rel_tol=1e-6):
                return False
    return True


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", ["sound", "troubled"])
def test_a_table_is_printed_as_in_its_golden_file(case: str, form: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(case)
    printed, path = table(["outputs"], None, form).text, GOLDEN / f"{case}.{form}"
    if os.environ.get("WRITE_GOLDEN_FILES"):
        path.write_text(printed, encoding="utf-8")
    golden = path.read_text(encoding="utf-8")
    assert same_numbers(printed, golden) if form == "csv" else printed == golden


def records() -> dict[str, dict[str, str]]:
    text = table(["outputs"], None, "csv").text
    return {record["variant"]: record for record in csv.DictReader(io.StringIO(text))}


def test_csv_holds_a_header_and_one_record_a_variant(troubled: WriteRun) -> None:
    text = table(["outputs"], None, "csv").text
    assert text.endswith("\n") and "\n\n" not in text and "\r" not in text
    assert len(text.splitlines()) == 1 + 7
    assert len({len(line) for line in csv.reader(io.StringIO(text))}) == 1


def test_csv_agrees_with_scipy_in_full_precision(sound: WriteRun) -> None:
    ours, theirs = ACCURACIES["dynamic_3x3"], ACCURACIES["static_3x3"]
    found = {key: float(value) for key, value in records()["dynamic_3x3"].items() if value.replace(".", "").isdigit()}
    test = stats.ttest_rel(ours, theirs)
    low, high = stats.t.interval(0.95, 2, np.mean(ours), stats.sem(ours))
    assert found["test_accuracy_mean"] == pytest.approx(np.mean(ours), rel=1e-14)
    assert found["test_accuracy_sd"] == pytest.approx(np.std(ours, ddof=1), rel=1e-12)
    assert (found["test_accuracy_ci95_low"], found["test_accuracy_ci95_high"]) == pytest.approx((low, high), rel=1e-12)
    assert found["difference_mean"] == pytest.approx(np.mean(ours) - np.mean(theirs), rel=1e-12)
    assert found["difference_ci95_high"] == pytest.approx(test.confidence_interval().high, rel=1e-12)
    assert found["p"] == pytest.approx(test.pvalue, rel=1e-9)
    assert found["welch_ci95_high"] == pytest.approx(
        stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval().high, rel=1e-12
    )
    assert found["train_seconds_mean"] == 519.5


def test_csv_leaves_undefined_values_empty(troubled: WriteRun) -> None:
    found = records()
    assert found["static_1x1"]["test_accuracy_mean"] == "0.5123"
    assert {found["static_1x1"][key] for key in ("test_accuracy_sd", "test_accuracy_ci95_low", "p")} == {""}
    assert found["never_3x3"]["n"] == "0" and found["never_3x3"]["parameters"] == ""
    assert "nan" not in table(["outputs"], None, "csv").text.lower()


def test_csv_sends_footer_and_caveats_beside_the_table(troubled: WriteRun) -> None:
    beside = table(["outputs"], None, "csv").beside
    assert any(line.startswith("Source: outputs") for line in beside)
    assert any(line.startswith("warning: not counted: dynamic_3x3 seed 3, failed") for line in beside)


@pytest.mark.parametrize("form", ["md", "tex"])
def test_printed_tables_carry_their_caveats_with_them(troubled: WriteRun, form: str) -> None:
    printed = table(["outputs"], None, form)
    assert "loss is NaN at step 7" in printed.text
    assert printed.beside and all(line.startswith("warning: ") for line in printed.beside)


def test_markdown_rows_have_as_many_cells_as_the_header(troubled: WriteRun) -> None:
    troubled("a|b", 0, 0.5)
    blocks = [block for block in table(["outputs"], None, "md").text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 2
    for block in blocks:
        lines = block.split("\n")
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
        assert len({len(line) for line in lines}) == 1
        assert all(set(cell.strip()) <= {"-", ":"} and "--" in cell for cell in lines[1].strip("|").split("|"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dynamic_3x3,lr=0.1", "dynamic_3x3,lr=0.1"),
        ("_hidden_ a|b", r"\_hidden\_ a\|b"),
        ("*x* `y` <b> a\\b", r"\*x\* \`y\` \<b> a\\b"),
        ("+0.52 [-0.21, +1.25] <0.001", "+0.52 [-0.21, +1.25] <0.001"),
    ],
)
def test_markdown_escapes(text: str, expected: str) -> None:
    assert markdown.escaped(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100%_a & #b", r"100\%\_a \& \#b"),
        ("[-0.21, +1.25]", "[$-$0.21, +1.25]"),
        ("seeds 0-2, n - 1, lr=-0.1, bz2-x", "seeds 0-2, n $-$ 1, lr=$-$0.1, bz2-x"),
        ("Δ ± 1 ↑ – <2", r"$\Delta$ $\pm$ 1 $\uparrow$ -- $<$2"),
        ("{$}^~\\", r"\{\$\}\textasciicircum{}\textasciitilde{}\textbackslash{}"),
        ("d_z a_d_z", r"$d_z$ a\_d\_z"),
    ],
)
def test_latex_escapes(text: str, expected: str) -> None:
    assert latex.escaped(text) == expected


def test_latex_is_plain_ascii_with_booktabs(troubled: WriteRun) -> None:
    text = table(["outputs"], None, "tex").text
    assert text.isascii()
    assert text.count(r"\begin{tabular}") == text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert r"100\%\_label" in text and r"\textbf{" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(troubled: WriteRun, tmp_path: Path) -> None:
    table_of_outputs = table(["outputs"], None, "tex").text
    awkward = latex.escaped(AWKWARD)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage{graphicx}\\begin{document}\n"
        f"{table_of_outputs}\n{awkward}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
