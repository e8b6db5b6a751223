"""`python -m analysis diff`: what differs and nothing else."""

import pytest

from analysis.__main__ import main
from analysis.tables.diff import diff
from tests.conftest import ROOT

RUNS = ROOT / "docs" / "runs_h100" / "label_guided"
CPU_RUNS = ROOT / "docs" / "runs" / "label_guided"


def cells(text: str, key: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {key} ")]
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_two_variants_differ_in_model_and_numbers_alone() -> None:
    text = diff(str(RUNS / "static_1x1"), str(RUNS / "static_1x1_shared"))
    assert cells(text, "variant") == ["static_1x1", "static_1x1_shared"]
    assert [float(cell.partition(" ")[0]) for cell in cells(text, "test_accuracy")] == pytest.approx(
        [0.793686, 0.7472], abs=1e-6
    )
    assert "optimizer" not in text and "split_seed" not in text
    assert "versions" not in text and "no difference" in text  # of code and machine


def test_two_machines_are_told_apart() -> None:
    text = diff(str(RUNS / "static_1x1" / "seed0"), str(CPU_RUNS / "static_1x1" / "seed0"))
    assert cells(text, "device")[0] == "NVIDIA H100 80GB HBM3"
    assert cells(text, "versions.torch")[0] == "2.11.0"


def test_a_run_against_itself_has_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(RUNS / "static_1x1"), str(RUNS / "static_1x1")]) == 0
    assert capsys.readouterr().out.count("no difference") == 3
    assert main(["diff", str(RUNS / "static_1x1"), "nowhere"]) == 2
