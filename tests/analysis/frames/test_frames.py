"""Data frames against the files they come from and the tables they must agree with."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.__main__ import main
from analysis.frames import comparison_frame, curves_frame, predictions_frame, runs_frame
from tests.conftest import ROOT

WriteRun = Callable[..., Path]
STUDY = str(ROOT / "docs" / "runs_h100" / "label_guided")


def test_a_row_a_run_holds_result_config_and_state() -> None:
    frame = runs_frame(STUDY)
    assert len(frame) == 28 and set(frame["state"]) == {"completed"}
    row = frame[(frame["variant"] == "static_1x1") & (frame["seed"] == 3)].iloc[0]
    result = json.loads((Path(row["place"]) / "result.json").read_text())
    assert {key: row[key] for key in result if isinstance(result[key], float)} == {
        key: value for key, value in result.items() if isinstance(value, float)
    }
    assert row["config.optimizer.lr"] == 1e-3 and row["config.data.num_classes"] == 10


def test_a_row_an_evaluation_holds_the_lines_of_metrics() -> None:
    frame = curves_frame(STUDY)
    one = frame[(frame["variant"] == "label_guided_1x1") & (frame["seed"] == 0)]
    lines = Path(STUDY, "label_guided_1x1/seed0/metrics.jsonl").read_text().splitlines()
    assert one["epoch"].is_monotonic_increasing
    assert one["val_loss"].tolist() == [json.loads(line)["val_loss"] for line in lines]


def test_predictions_give_the_recorded_accuracy_and_the_comparison_its_table() -> None:
    predictions = predictions_frame(STUDY)
    mean = predictions.groupby("variant")["correct"].mean()
    comparison = comparison_frame(STUDY).set_index("variant")
    np.testing.assert_allclose(mean[comparison.index], comparison["test_accuracy_mean"])
    runs = runs_frame(STUDY).pivot(index="seed", columns="variant", values="test_accuracy")
    difference = (runs["label_guided_1x1"] - runs["static_1x1"]).mean()
    assert comparison.loc["label_guided_1x1", "difference_mean"] == pytest.approx(difference)
    assert comparison.loc["label_guided_1x1", "verdict"] == "undecided"


def test_a_key_that_is_a_number_in_some_runs_and_a_word_in_others_is_text(write_run: WriteRun, tmp_path: Path) -> None:
    for seed, split in enumerate((0, "seed", None)):
        write_run("a", seed, 0.5, settings={"data.split_seed": split, "trainer.cuda_graph": bool(seed) or None})
    frame = runs_frame("outputs")
    assert frame["config.data.split_seed"].tolist()[:2] == ["0", "seed"]
    assert frame["config.data.split_seed"].isna().tolist() == [False, False, True]
    assert frame["config.trainer.cuda_graph"].tolist() == [None, True, True]
    assert main(["runs", "outputs", "--format", "parquet", "--out", str(tmp_path / "runs.parquet")]) == 0
    assert pd.read_parquet(tmp_path / "runs.parquet")["config.data.split_seed"].tolist()[:2] == ["0", "seed"]


def test_words_of_a_comparison_are_text_even_where_no_row_has_any(write_run: WriteRun) -> None:
    write_run("a", 0, 0.5)
    frame = comparison_frame("outputs")
    words = ["study", "seeds", "baseline", "verdict", "tuned_alike", "control", "control_tuned_alike"]
    assert {str(frame[name].dtype) for name in words} == {"string"}


def test_the_commands_write_the_same_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", STUDY]) == 0
    assert len(list(csv.DictReader(io.StringIO(capsys.readouterr().out)))) == 28
    assert main(["curves", STUDY, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert main(["curves", STUDY, "--format", "parquet", "--out", str(tmp_path / "curves.parquet")]) == 0
    stored = pd.read_parquet(tmp_path / "curves.parquet")
    assert len(rows) == len(stored) == len(curves_frame(STUDY))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs", "nowhere"], "nowhere"),
        (["runs", STUDY, "--format", "parquet"], "--format parquet is for a file: --out FILE"),
        (["runs", STUDY, "--out", "no/such/folder/runs.csv"], "cannot be written"),
    ],
)
def test_a_bad_command_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_the_code_of_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert "static_1x1_shared" in capsys.readouterr().out


def test_a_metric_that_no_run_can_give_is_a_column_all_the_same(write_run: WriteRun) -> None:
    write_run("static", 0, 0.5)
    assert runs_frame("outputs", metric="calibration_error")["calibration_error"].isna().all()
