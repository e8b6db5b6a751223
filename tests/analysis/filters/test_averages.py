"""Tables of several runs become one: means, SDs and intervals against scipy, rows matched by their words."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy

from analysis.filters.averages import RunTables, averaged
from analysis.tables.table import Heading, Sheet, column

COLUMNS = (
    column("layer", Heading("layer", is_text=True), lambda row: row[0]),
    column("seed", Heading("seed"), lambda row: row[1]),
    column("share", Heading("share", "%"), lambda row: row[2], lambda share: f"{100 * share:+.1f}"),
    column("images", Heading("images"), lambda row: row[3], "{:,}".format),
)
SHARES = {"conv1": [0.10, 0.14, 0.18], "conv2": [0.5, 0.4, 0.6]}


def sheets() -> list[Sheet[tuple[str, int, float, int]]]:
    names = [list(SHARES), list(reversed(SHARES)), ["conv1", "conv2"]]
    return [
        Sheet(COLUMNS, [(name, seed, SHARES[name][seed], 1000) for name in names[seed]], total=("all", "", "", ""))
        for seed in range(3)
    ]


def test_a_row_is_the_mean_over_the_runs_whatever_their_order() -> None:
    (rows,) = averaged(sheets()).table().blocks.values()
    assert [row.cells for row in rows] == [
        ("conv1", "3", "+14.0 ± 4.0", "1,000"),
        ("conv2", "3", "+50.0 ± 10.0", "1,000"),
    ]


def test_runs_of_other_configs_are_another_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = RunTables()
    for epochs in (10, 10, 20, 20):
        run: Any = SimpleNamespace(study="lab", variant="dyconv", config={"trainer": {"epochs": epochs}})
        tables.add(run, "Checks", Sheet(COLUMNS, [("conv1", 0, epochs / 100, 1000)]))
    tables.conclude(tmp_path, "attention")
    printed = capsys.readouterr().out
    assert printed.count("over 2 runs") == 2 and "+10.0" in printed and "+20.0" in printed
    assert len({path.parent for path in tmp_path.rglob("*.csv")}) == 2


def test_a_number_that_a_run_lacks_is_a_dash_as_in_its_own_table() -> None:
    columns = (*COLUMNS[:1], column("saturated", Heading("saturated"), lambda row: row[1], "{:.4f}".format))
    apart = [
        Sheet(columns, [("conv1", 0.25), ("conv2", np.nan)]),
        Sheet(columns, [("conv1", np.nan), ("conv2", np.nan)]),
    ]
    (rows,) = averaged(apart).table().blocks.values()
    assert [row.cells for row in rows] == [("conv1", "2", "–"), ("conv2", "2", "–")]


def test_csv_has_the_t_interval_of_scipy() -> None:
    header, first, _ = averaged(sheets()).csv().splitlines()
    found = dict(zip(header.split(","), first.split(","), strict=True))
    shares = SHARES["conv1"]
    low, high = scipy.stats.t.interval(0.95, 2, loc=np.mean(shares), scale=scipy.stats.sem(shares))
    expected = {"mean": np.mean(shares), "sd": np.std(shares, ddof=1), "low": low, "high": high}
    assert {name: float(found[f"share_{name}"]) for name in expected} == pytest.approx(expected)
    assert "seed_mean" not in found and found["images_low"] == ""
