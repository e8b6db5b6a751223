"""LaTeX: escapes, and a real run of it."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.comparing.arrangement import PLAIN
from analysis.tables import latex, tex_signs
from analysis.tables.columns import chosen
from analysis.tables.command import Presentation, table
from analysis.tables.latex import Float
from tests.analysis.tables.studies import LAYOUTS

WriteRun = Callable[..., Path]
# Names of rows that TeX could take for something else, that no font has, and that fill a line.
ROWS = (
    *("[0.5ex]", "*", "a\\b {$} ~^", "dy α=0.1 Ω", "Müller", "动态卷积", "🔥", "a_b"),
    "dyconv_resnet18,model.num_kernels=16,optimizer.weight_decay=0.0001,trainer.epochs=200",
)
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
        ("a--b ---x ''c'' 'd'", "a-{}-b -{}-{}-x '{}'c'{}' 'd'"),
    ],
)
def test_latex_escapes(text: str, expected: str) -> None:
    assert latex.escaped(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("αΩς Α", r"$\alpha$$\Omega$$\varsigma$ $A$"),
        ("é ö ł Ç", r"\'{e} \"{o} \l{} \c{C}"),
        ("动 🔥 \x1b", "U+52A8 U+1F525 U+001B"),
        ("a\n\nb", "a b"),
    ],
)
def test_latex_has_greek_and_accents_and_names_the_rest(text: str, expected: str) -> None:
    assert latex.escaped(text) == expected
    lacking = {word for word in expected.split() if word.startswith("U+")}
    assert {f"U+{ord(char):04X}" for char in tex_signs.without_sign([text])} == lacking


def test_latex_is_plain_ascii_with_booktabs(troubled: WriteRun) -> None:
    text = table(["outputs"], None, "tex").text
    assert text.isascii()
    assert text.count(r"\begin{tabular}") == text.count(r"\toprule") == text.count(r"\bottomrule") == 4
    assert r"100\%\_label" in text and r"\textbf{" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize(("case", "width"), [("troubled", "page"), ("two_way", "column")])
def test_latex_compiles(case: str, width: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    request.getfixturevalue(case)
    for name in ROWS if case == "troubled" else ():
        request.getfixturevalue("write_run")(name, 0, 0.612, parameters=1_234_567)
    layout, style = LAYOUTS.get(case, PLAIN), Float(width, caption=r"Own, $\Delta$", label="tab:own")
    texts = [
        table(["outputs"], None, "tex", layout, presentation=presentation).text
        for presentation in (Presentation(), Presentation("short", float=style))
    ]
    option = "[twocolumn]" if width == "column" else ""
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{option}{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n"
        + "\n\\clearpage\n".join([*texts, latex.escaped(AWKWARD)])
        + "\n\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_what_is_printed_as_a_code_point_is_named_in_one_line(sound: WriteRun) -> None:
    sound("动态 🔥", 0, 0.6)
    printed = table(["outputs"], None, "tex")
    [line] = [line for line in printed.beside if "pdfLaTeX" in line]
    assert "动 (U+52A8), 态 (U+6001), 🔥 (U+1F525)" in line and "`about.names`" in line
    assert "U+52A8U+6001 U+1F525 & 1 &" in printed.text


def test_a_row_that_could_be_an_argument_of_the_line_before_is_none(sound: WriteRun) -> None:
    sound("[x]", 0, 0.6)
    sound("*", 0, 0.6)
    text = table(["outputs"], None, "tex").text
    assert "\n    {}[x] & 1" in text and "\n    {}* & 1" in text


def shown(cell: str) -> str:
    """A cell as it is set, an invisible digit as a blank one."""
    for command, sign in ((r"\phantom{0}", "_"), ("$-$", "-"), (r"$\pm$", "±"), ("$<$", "<"), (r"\textbf{", "")):
        cell = cell.replace(command, sign)
    return cell.strip().strip("}")


def test_decimal_points_stand_below_each_other_in_one_unit(sound: WriteRun) -> None:
    for seed, accuracy in enumerate((0.05, 0.55, 0.98)):
        sound("wild", seed, accuracy, parameters=12_345, train_seconds=7.25)
    text = table(["outputs"], None, "tex", PLAIN, chosen(["accuracy", "interval", "delta", "params", "train"])).text
    results = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = [line.split(r" \\")[0].split(" & ")[1:] for line in results.strip().splitlines()]
    assert len(rows) == 5
    for column in zip(*rows, strict=True):
        cells = [shown(cell) for cell in column if shown(cell) != "baseline"]
        points = {tuple(len(cell) - place for place, sign in enumerate(cell) if sign == ".") for cell in cells}
        assert len(points) == 1, cells
    assert {row[3].strip() for row in rows} >= {"0.158", "2.517", r"\textbf{0.012}"}
    assert {row[4].strip() for row in rows} == {"519.5", r"\textbf{7.2}"}


@pytest.mark.parametrize("width", ["page", "column"])
def test_a_float_has_own_words_few_columns_and_three_lines_of_notes(sound: WriteRun, width: str) -> None:
    style = Float(width, r"Gain, $\Delta$", "tab:gain")
    printed = table(["outputs"], None, "tex", presentation=Presentation("short", float=style))
    results, verdicts, *_ = printed.text.split("\n\n")[1:]
    assert r"\caption{Gain, $\Delta$}" in results and r"\label{tab:gain}" in results
    assert r"\label{tab:gain-verdicts}" in verdicts
    assert r"\resizebox" not in printed.text
    notes = results.split(r"\raggedright")[1].split(r"\end{minipage}")[0].strip().splitlines()
    assert 1 <= len(notes) <= 3 and not any("p:" in line for line in notes)
    assert ("FLOPs" in results.split("minipage")[1]) == (" FLOPs " in results.split("minipage")[0])
    lost = results.splitlines()[0]
    assert lost.startswith("% left out of Results for its width: 95") and ("train" in lost) == (width == "column")
    assert f"warning: {lost.removeprefix('% ')}".replace("\\", "") in printed.beside
    assert " & verdict " in verdicts and "against" in verdicts
    assert ("SD over the n seeds" in results) == (" n " in results.split(r"\toprule")[1].split(r"\midrule")[0])
    none = table(["outputs"], None, "tex", presentation=Presentation("none")).text
    assert "minipage" not in none
