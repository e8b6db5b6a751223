"""The numbers of the interactive curves: those recorded, few enough, and safe inside a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.comparing.comparison import compare
from analysis.figures.study import StudyFigures
from analysis.reading.sources import read_runs
from analysis.report.chart import Chart, chart_of, safe_json
from analysis.report.contents import FIGURES
from tests.analysis.figures.looks import looks
from tests.analysis.report.conftest import HOSTILE

WriteRun = Callable[..., Path]


def chart(budget: int = 10**6) -> Chart:
    ((heading, rows),) = compare(read_runs(["outputs"]), None).groups.items()
    found = chart_of(StudyFigures(heading, rows, looks(row.label for row in rows), FIGURES), budget)
    assert found is not None
    return found


def lines(found: Chart, metric: int = 0, panel: int = 1) -> list[dict[str, Any]]:
    content = json.loads(found.json)
    return [
        {**line, "x": content["epochs"][line["x"]]} for line in content["metrics"][metric]["panels"][panel]["lines"]
    ]


def recorded(variant: str, seed: int, key: str) -> list[float]:
    text = Path(f"outputs/lab_3x3/{variant}/seed{seed}/metrics.jsonl").read_text()
    return [json.loads(line)[key] for line in text.splitlines()]


def test_the_lines_hold_what_was_recorded_and_their_mean(write_curves: WriteRun) -> None:
    write_curves("static", 0, 0.5)
    write_curves("static", 4, 0.7)
    write_curves("dynamic", 0, 0.6)
    found = chart()
    first, second, mean, alone = lines(found)
    values = [recorded("static", seed, "val_accuracy") for seed in (0, 4)]
    assert (first["label"], first["seed"], second["seed"], mean["n"], alone["label"]) == ("static", 0, 4, 2, "dynamic")
    assert first["x"] == list(range(1, 21)) and first["y"] == [round(100 * value, 2) for value in values[0]]
    assert mean["y"] == pytest.approx([50 * (a + b) for a, b in zip(*values, strict=True)], abs=0.006)
    loss = recorded("dynamic", 0, "train_loss")
    assert lines(found, metric=1, panel=0)[-1]["y"] == pytest.approx(loss, rel=1e-3)
    assert found.thinned == ""


def test_long_curves_are_thinned_to_recorded_values_and_it_is_said(write_curves: WriteRun) -> None:
    write_curves("static", 0, 0.5, evaluations=2000)
    found = chart()
    (line,) = lines(found)
    assert len(line["x"]) == len(line["y"]) == 400 and (line["x"][0], line["x"][-1]) == (1, 2000)
    values = recorded("static", 0, "val_accuracy")
    assert line["y"] == [round(100 * values[int(epoch) - 1], 2) for epoch in line["x"]]
    assert "at most 400 of up to 2,000 evaluations" in found.thinned


def test_many_lines_share_a_budget(write_curves: WriteRun) -> None:
    write_curves("static", 0, 0.5, evaluations=500)
    assert len(lines(chart(budget=4 * 60))[0]["y"]) == 60
    assert len(lines(chart(budget=4))[0]["y"]) == 25


def test_without_curves_there_is_no_chart(write_run: WriteRun) -> None:
    write_run("static", 0, 0.5)
    ((heading, rows),) = compare(read_runs(["outputs"]), None).groups.items()
    assert chart_of(StudyFigures(heading, rows, looks(["static"]), FIGURES)) is None


def test_json_is_safe_inside_html() -> None:
    text = safe_json({HOSTILE: HOSTILE})
    assert json.loads(text) == {HOSTILE: HOSTILE}
    assert not set("<>&\u2028") & set(text) and "//" not in text


def test_steps_and_seconds_are_those_logged_at_each_evaluation_and_their_mean(write_curves: WriteRun) -> None:
    for seed, factor in ((0, 1.0), (1, 3.0)):
        metrics = write_curves("static", seed, 0.5) / "metrics.jsonl"
        rows = [json.loads(line) for line in metrics.read_text().splitlines()]
        metrics.write_text("".join(json.dumps({**row, "seconds": factor * row["seconds"]}) + "\n" for row in rows))
    content = json.loads(chart().json)
    first, second, mean = content["metrics"][0]["panels"][0]["lines"]
    assert content["steps"][first["step"]] == [32 * i for i in range(1, 21)]
    for line, factor in ((first, 1), (second, 3), (mean, 2)):
        assert content["seconds"][line["second"]] == [factor * i for i in range(1, 21)]
    assert content["metrics"][0]["up"] and not content["metrics"][1]["up"]


def test_an_axis_that_some_run_did_not_log_is_not_offered(write_curves: WriteRun) -> None:
    write_curves("static", 0, 0.5)
    metrics = write_curves("dynamic", 0, 0.5) / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('"seconds": 3.0', '"seconds": null'))
    assert {"epochs", "steps", "seconds"} & json.loads(chart().json).keys() == {"epochs", "steps"}


def test_beyond_very_many_lines_only_means_are_shown(write_curves: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        write_curves("static", seed, 0.5)
    write_curves("alone", 0, 0.5)
    monkeypatch.setattr("analysis.report.chart.MOST_LINES", 19)
    found = chart()
    assert [(line["label"], line.get("n")) for line in lines(found)] == [("static", 3), ("alone", None)]
    assert "Single seeds are left out: 20 lines" in found.thinned
