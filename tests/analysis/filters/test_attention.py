"""The command `attention`: tables, files and pictures of a DY-Conv run and of a run with generated filters."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main


@pytest.mark.slow
def test_a_dyconv_run_has_attention_and_all_checks(
    trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--images", "60", "--train-images", "100", "--out", str(tmp_path), "--device", "cpu"]
    assert main(["attention", str(trained("dyconv_resnet18")), *arguments, "--layer", "layer1.0.conv2"]) == 0
    printed = capsys.readouterr().out
    assert "| layer1.0.conv1 |" in printed and "a temperature above 1 keeps softmax attention near uniform" in printed
    assert "after re-estimation" in printed and "| shuffled within an image |" in printed
    names = {path.name: path for path in tmp_path.rglob("*") if path.is_file()}
    assert set(names) == {
        *(f"attention-{what}.csv" for what in ("choices", "layers", "classes", "checks")),
        *(f"attention-{what}.png" for what in ("choices", "entropy", "classes", "extremes", "checks")),
        "captions-attention.md",
    }
    with names["attention-checks.csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 and rows[0]["difference"] == "" and rows[0]["check"] == "untouched"
    for row in rows[1:]:
        difference = float(row["test_accuracy"]) - float(rows[0]["test_accuracy"])
        assert float(row["difference"]) == pytest.approx(difference)
    with names["attention-classes.csv"].open() as file:
        assert len(list(csv.DictReader(file))) == 2 * 10 * 4


@pytest.mark.slow
def test_a_run_with_generated_filters_has_no_attention(
    trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained("dynamic_3x3"))
    assert main(["attention", run, "--images", "60", "--out", str(tmp_path), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "no BatchNorm layer follows the dynamic layer" in printed and "argmax" not in printed
    assert sorted(path.name for path in tmp_path.rglob("*.*") if path.is_file()) == [
        "attention-checks.csv",
        "attention-checks.png",
        "attention-choices.csv",
        "attention-choices.png",
        "captions-attention.md",
    ]
    assert main(["attention", run, "--layer", "conv9", "--device", "cpu"]) == 2
    assert "--layer conv9: unknown; the layers are none" in capsys.readouterr().err
