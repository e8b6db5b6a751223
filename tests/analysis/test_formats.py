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
from analysis.formats.quantities import COLUMNS, chosen
from analysis.layout import PLAIN, Layout
from analysis.table import FORMATS, table

WriteRun = Callable[..., Path]
GOLDEN = Path(__file__).parent / "golden"
ACCURACIES = {
    "static_3x3": [0.6712, 0.6680, 0.6763],
    "dynamic_3x3": [0.6897, 0.6911, 0.6935],
    "detached_3x3": [0.6534, 0.6480, 0.6621],
    "bypass_3x3": [0.6921, 0.6875, 0.6931],
}
FILTERS = {"static_3x3": "SharedConv2d", "bypass_3x3": "SharedConv2d"}
COSTS = {"static_3x3": (157_514, 14_300_000), "bypass_3x3": (2_516_810, 14_302_359)}
AWKWARD = r"100%_&#{x}~^$|*a*<b>\z,lr=-0.1"


def predictions(accuracy: float, shift: int) -> dict[str, list[int]]:
    """10,000 predictions of two classes, of which a fraction `accuracy` is right, another one for each shift."""
    right = [(7919 * image + 311 * shift) % 10_000 < round(10_000 * accuracy) for image in range(10_000)]
    labels = [image % 2 for image in range(10_000)]
    best = [label if is_right else 1 - label for label, is_right in zip(labels, right, strict=True)]
    return {"label": labels, "best_class": best}


@pytest.fixture
def sound(write_run: WriteRun) -> WriteRun:
    """One study as it should be."""
    for variant, accuracies in ACCURACIES.items():
        parameters, flops = COSTS.get(variant, (2_516_810, 16_700_000))
        settings = {
            "model.filter._target_": FILTERS.get(variant, "GeneratedConv2d"),
            "model.filter.gradient": "cut" if variant == "detached_3x3" else "full",
            "model.second_head": {"_target_": "GeneratorHead"} if variant == "bypass_3x3" else None,
        }
        for seed, accuracy in enumerate(accuracies):
            write_run(
                variant,
                seed,
                accuracy,
                parameters=parameters,
                flops=flops,
                train_seconds=512 + 7.5 * seed,
                settings=settings,
                predictions=predictions(accuracy, seed),
            )
    return write_run


@pytest.fixture
def two_way(write_run: WriteRun) -> WriteRun:
    """A grid of kernels and learning rates, with a cell missing and names that TeX would stumble on."""
    for lr, accuracies in {0.01: {1: 0.60, 4: 0.62, 16: 0.61}, 0.1: {1: 0.70, 4: 0.72}}.items():
        for kernels, accuracy in accuracies.items():
            variant = f"dy_conv,model.num_kernels={kernels},optimizer.lr={lr}"
            settings = {"model.num_kernels": kernels, "optimizer.lr": lr}
            for seed, luck in enumerate((0.0, 0.004 * kernels**0.5, -0.002)):
                write_run(
                    variant, seed, accuracy + luck, study="50%_grid", settings=settings, parameters=1000 * kernels
                )
    return write_run


LAYOUTS = {"two_way": Layout("model.num_kernels", "optimizer.lr")}


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
@pytest.mark.parametrize("case", ["sound", "troubled", "two_way"])
def test_a_table_is_printed_as_in_its_golden_file(case: str, form: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(case)
    printed = table(["outputs"], None, form, LAYOUTS.get(case, PLAIN)).text
    path = GOLDEN / f"{case}.{form}"
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


def holm_by_definition(p_values: list[float]) -> list[float]:
    """max over all smaller p of min(1, (number of p not smaller) * p)."""
    return [max(min(1.0, sum(q >= r for q in p_values) * r) for r in p_values if r <= p) for p in p_values]


def test_csv_agrees_with_scipy_in_full_precision(sound: WriteRun) -> None:
    found = records()
    claims = [(v, "", "static_3x3") for v in ("bypass_3x3", "detached_3x3", "dynamic_3x3")]
    claims += [(v, "control_", "bypass_3x3") for v in ("detached_3x3", "dynamic_3x3")]
    tests = [stats.ttest_rel(ACCURACIES[ours], ACCURACIES[theirs]) for ours, _, theirs in claims]
    adjusted = holm_by_definition([float(test.pvalue) for test in tests])
    for (ours, prefix, theirs), test, p_holm in zip(claims, tests, adjusted, strict=True):
        record, interval = found[ours], test.confidence_interval()
        expected = {
            "difference_mean": np.mean(ACCURACIES[ours]) - np.mean(ACCURACIES[theirs]),
            "difference_sd": np.std(np.subtract(ACCURACIES[ours], ACCURACIES[theirs]), ddof=1),
            "difference_ci95_low": interval.low,
            "difference_ci95_high": interval.high,
            "p": test.pvalue,
            "p_holm": p_holm,
        }
        assert {key: float(record[prefix + key]) for key in expected} == pytest.approx(expected, rel=1e-9)
        supported = p_holm <= 0.05 and interval.low > 0
        verdict = "supported" if supported else "refuted" if interval.high <= 0 else "undecided"
        assert record[f"{prefix}verdict"] == verdict
    assert {record["control"] for record in found.values()} == {"", "bypass_3x3"}


def test_csv_means_and_intervals_agree_with_scipy(sound: WriteRun) -> None:
    for variant, accuracies in ACCURACIES.items():
        found = {key: value for key, value in records()[variant].items()}
        low, high = stats.t.interval(0.95, 2, np.mean(accuracies), stats.sem(accuracies))
        assert float(found["test_accuracy_mean"]) == pytest.approx(np.mean(accuracies), rel=1e-14)
        assert float(found["test_accuracy_sd"]) == pytest.approx(np.std(accuracies, ddof=1), rel=1e-12)
        assert float(found["test_accuracy_ci95_low"]) == pytest.approx(low, rel=1e-12)
        assert float(found["test_accuracy_ci95_high"]) == pytest.approx(high, rel=1e-12)
        assert found["train_seconds_mean"] == "519.5" and found["images_per_second_mean"] == "1800"
    unpaired = stats.ttest_ind(ACCURACIES["dynamic_3x3"], ACCURACIES["static_3x3"], equal_var=False)
    high = float(records()["dynamic_3x3"]["welch_ci95_high"])
    assert high == pytest.approx(unpaired.confidence_interval().high, rel=1e-12)


def test_chosen_columns_of_csv_are_those_fields_only(sound: WriteRun) -> None:
    columns = chosen(["accuracy", "verdict", "image_se", "image_delta"])
    text = table(["outputs"], None, "csv", PLAIN, columns).text
    header, *lines = list(csv.reader(io.StringIO(text)))
    identity = ["study", "variant", "config_digest", "n", "seeds"]
    assert header == [
        *identity,
        *("test_accuracy_mean", "test_accuracy_sd", "verdict", "image_se"),
        *("image_difference_mean", "image_difference_ci95_low", "image_difference_ci95_high"),
    ]
    dynamic = dict(zip(header, next(line for line in lines if line[1] == "dynamic_3x3"), strict=True))
    correct = {
        v: np.mean([np.equal(*predictions(a, seed).values()) for seed, a in enumerate(ACCURACIES[v])], axis=0)
        for v in ("dynamic_3x3", "static_3x3")
    }
    assert float(dynamic["image_se"]) == pytest.approx(stats.sem(correct["dynamic_3x3"]))
    interval = stats.ttest_rel(correct["dynamic_3x3"], correct["static_3x3"]).confidence_interval()
    assert float(dynamic["image_difference_ci95_low"]) == pytest.approx(interval.low)


def test_every_column_can_be_chosen_in_every_format(troubled: WriteRun) -> None:
    everything = chosen([column.key for column in COLUMNS])
    for form in FORMATS:
        for layout in (PLAIN, Layout("variant", "trainer.epochs")):
            assert "dynamic_3x3" in table(["outputs"], None, form, layout, everything).text.replace("\\", "")


def test_a_column_has_a_key_of_its_own_and_fields_of_the_csv(sound: WriteRun) -> None:
    keys = [column.key for column in COLUMNS]
    assert len(set(keys)) == len(keys) and "" not in keys
    known = records()["dynamic_3x3"].keys()
    unknown = {field for column in COLUMNS for field in column.fields} - known
    assert all(field.startswith("image") and field != "images_per_second_mean" for field in unknown)


def marked(text: str) -> set[str]:
    return {cell.strip() for line in text.splitlines() for cell in line.split("|") if cell.strip().startswith("**")}


def test_the_best_value_of_each_column_with_a_direction_is_marked(write_run: WriteRun) -> None:
    for variant, accuracy, cost, speed in (("static", 0.5, 10, 7.0), ("b", 0.6, 20, 7.0), ("c", 0.6, 30, 7.0)):
        write_run(variant, 0, accuracy, parameters=cost, latency_ms=speed, best_epoch=float(cost))
    write_run("alone", 0, 0.9, study="other")
    write_run("failed", 0, None, state="failed")
    columns = chosen(["accuracy", "params", "latency", "best_epoch"])
    text = table(["outputs"], None, "md", PLAIN, columns).text.split("**Verdicts")[0]
    assert marked(text) == {"**60.00 ± –**", "**10**"} and text.count("**60.00") == 2


def test_studies_stand_side_by_side_each_with_its_own_best_and_baseline(write_run: WriteRun) -> None:
    for study, gain in (("first", 0.1), ("second", -0.1)):
        for seed in range(2):
            write_run("static", seed, 0.5 + seed / 100, study=study)
            write_run("d", seed, 0.5 + gain + seed / 90, study=study)
    write_run("only_here", 0, 0.2, study="second")
    text = table(["outputs"], None, "md", Layout("variant", "study")).text
    accuracy, difference = (block.splitlines() for block in text.split("\n\n")[1:4:2])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in accuracy]
    assert cells[0] == ["variant", "first, % ↑", "second, % ↑"]
    assert cells[2:] == [
        ["static", "50.50 ± 0.71", "**50.50 ± 0.71**"],
        ["d", "**60.56 ± 0.79**", "40.56 ± 0.79"],
        ["only_here", "–", "20.00 ± –"],
    ]
    assert [cell.strip() for cell in difference[2].strip("|").split("|")] == ["static", "baseline", "baseline"]
    assert "second: without seed 1, which others have: only_here" in text


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
    assert len(blocks) == 4
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
