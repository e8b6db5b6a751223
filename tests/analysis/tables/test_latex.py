"""LaTeX: escapes, and a real run of it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparing.arrangement import PLAIN
from analysis.tables import latex
from analysis.tables.command import table
from tests.analysis.tables.studies import LAYOUTS

WriteRun = Callable[..., Path]
AWKWARD = r"100%_&#{x}~^$|*a*<b>\z,lr=-0.1"


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
    assert text.count(r"\begin{tabular}") == text.count(r"\toprule") == text.count(r"\bottomrule") == 4
    assert r"100\%\_label" in text and r"\textbf{" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("case", ["troubled", "two_way"])
def test_latex_compiles(case: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    request.getfixturevalue(case)
    table_of_outputs = table(["outputs"], None, "tex", LAYOUTS.get(case, PLAIN)).text
    awkward = latex.escaped(AWKWARD)
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage{graphicx}\\begin{document}\n"
        f"{table_of_outputs}\n{awkward}\n\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
