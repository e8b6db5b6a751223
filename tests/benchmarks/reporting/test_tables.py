"""Timings as text: columns, ratios, failures."""

import torch

from benchmarks.reporting.report import Result, Timing
from benchmarks.reporting.tables import render, spread, text_table, three_digits

CPU = torch.device("cpu")


def cells(text: str, arm: str) -> dict[str, str]:
    """An arm's first row of the rendered tables, by column."""
    header: list[str] = []
    for line in text.splitlines():
        row = [cell.strip() for cell in line.strip("| ").split(" | ")]
        header = row if row[0] == "arm" else header
        if row[0] == arm:
            return dict(zip(header, row, strict=True))
    raise AssertionError(f"no row of {arm}")


def test_a_row_holds_what_was_measured_and_the_paired_ratios() -> None:
    timings = [
        Timing("c", "twin", "static", ms=[1.0, 10.0, 4.0], images=2, floor_ms=0.5),
        Timing("c", "dynamic", "ours", path="taps", ms=[2.0, 20.0, 12.0], images=2, peak_mb=7.4, floor_ms=1250.0),
        Timing("c", "loop", "public", ms=[4.0, 80.0, 24.0], figures={"data, ms": [0.5, 0.5, 0.6]}),
    ]
    row = cells(render(Result("step", CPU, timings)), "dynamic")
    assert row["ms, median (min .. max)"] == "12.0 (2.0 .. 20.0)"
    assert row["images/s"] == "167 (100 .. 1000)"
    assert row["/ static"] == "2.00 (2.00 .. 3.00)"
    assert row["/ public"] == "0.500 (0.250 .. 0.500)"
    assert (row["path"], row["n"], row["peak MB"], row["floor, ms"]) == ("taps", "3", "7", "1,250")
    assert row["data, ms"] == "-"
    assert cells(render(Result("step", CPU, timings)), "twin")["/ static"] == "-"


def test_cases_have_tables_of_their_own_without_empty_columns() -> None:
    timings = [Timing("first", "a", ms=[1.0]), Timing("second", "b", ms=[2.0], peak_mb=1.0)]
    first, second = render(Result("step", CPU, timings)).split("\n\nsecond\n\n")
    assert "peak MB" not in first and "peak MB" in second
    assert "/ static" not in first + second


def test_a_failure_stands_where_the_time_would() -> None:
    text = render(Result("step", CPU, [Timing("c", "a", ms=[1.0]), Timing("c", "b", failure="no memory")]))
    row = cells(text, "b")
    assert (row["ms, median (min .. max)"], row["n"]) == ("failed: no memory", "-")


def test_facts_stand_first() -> None:
    assert render(Result("x", CPU, [], {"GB/s": 12.345})) == "GB/s 12.35"


def test_numbers_have_about_three_digits() -> None:
    assert [spread([value]).split()[0] for value in (1234.5, 99.44, 1.234, 0.1234, 0.012)] == [
        *("1234", "99.4", "1.23", "0.123", "0.0120"),
    ]
    assert spread([]) == "-"
    assert three_digits(70123.4) == "70,123"


def test_columns_of_a_table_are_aligned() -> None:
    assert len({len(line) for line in text_table(["a", "long"], [["longer", "b"], ["c", "d"]]).splitlines()}) == 1
