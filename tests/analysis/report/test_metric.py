"""A metric of an evaluation is declared on one page: figures, reports and readers follow, in a copy of analysis."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

WriteRun = Callable[..., Path]
DECLARED = "METRICS = (LOSS, ACCURACY)"
WITH_ONE_MORE = f"""\
ECE = Metric("ece", "Calibration error", "ECE", higher_is_better=False, is_in_result=False)
{DECLARED.rstrip(")")}, ECE)"""


@pytest.fixture
def python(study: WriteRun) -> Callable[..., str]:
    """Runs Python with a copy of analysis that knows one metric more, which the study's runs have logged."""
    for path in Path("outputs").rglob("metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        logged = [{**row, "train_ece": row["train_loss"] / 9, "val_ece": row["val_loss"] / 8} for row in rows]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in logged))
    shutil.copytree(ROOT / "analysis", "copy/analysis", ignore=shutil.ignore_patterns("__pycache__"))
    page = Path("copy/analysis/reading/metrics.py")
    assert page.read_text().count(DECLARED) == 1
    page.write_text(page.read_text().replace(DECLARED, WITH_ONE_MORE))
    environment = {**os.environ, "PYTHONPATH": f"copy{os.pathsep}{ROOT}"}

    def run(*words: str) -> str:
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.slow
def test_it_is_drawn_with_its_own_axis_and_caption(python: Callable[..., str]) -> None:
    python("-m", "analysis", "figures", "outputs", "--out", "drawn", "--format", "svg")
    assert {"ece.svg", "ece_by_variant.svg"} <= {path.name for path in Path("drawn/lab_3x3").iterdir()}
    captions = Path("drawn/lab_3x3/captions.md").read_text()
    assert "**ece** lab_3x3: training and validation ece over epochs." in captions


@pytest.mark.slow
def test_it_is_in_the_report_after_what_should_be_high(python: Callable[..., str]) -> None:
    python("-m", "analysis", "report", "outputs", "--out", "written")
    assert Path("written/lab_3x3_ece.png").is_file()
    page = Path("written/report.html").read_text()
    chart = json.loads(page.split('<script type="application/json">')[1].split("</script>")[0])
    assert [metric["name"] for metric in chart["metrics"]] == ["accuracy", "loss", "ece"]
    assert chart["metrics"][2]["title"] == "Calibration error (ECE)" and len(chart["metrics"][2]["panels"]) == 2


def test_its_last_value_in_a_summary_is_no_number_of_the_result(python: Callable[..., str]) -> None:
    code = (
        "from analysis.reading.wandb.mirrored import MirroredRun, to_run\n"
        "summary = {'test_accuracy': 0.5, 'val_loss': 0.7, 'val_ece': 0.1, 'train_ece': 0.2, 'seed': 0}\n"
        "run = to_run(MirroredRun('abc', state='finished', summary=summary), 'source', 'place', tuple)\n"
        "print(sorted(run.numbers))"
    )
    assert python("-c", code) == "['seed', 'test_accuracy', 'val_loss']\n"
