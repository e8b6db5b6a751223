"""Printed tables as they were when somebody last looked at them; `WRITE_GOLDEN_FILES=1` renews them."""

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from analysis.comparing.arrangement import PLAIN
from analysis.tables.command import FORMATS, table
from tests.analysis.tables.studies import LAYOUTS

GOLDEN = Path(__file__).parent / "golden"


def same_numbers(text: str, golden: str) -> bool:
    """Equal fields, numbers within what versions of the special functions may differ by."""
    for line, expected in zip(csv.reader(io.StringIO(text)), csv.reader(io.StringIO(golden)), strict=True):
        for found, wanted in zip(line, expected, strict=True):
            if found != wanted and not math.isclose(float(found), float(wanted), rel_tol=1e-6):
                return False
    return True


def approximately(golden: Any) -> Any:
    """What JSON holds, with its numbers within the same."""
    if isinstance(golden, dict):
        return {key: approximately(value) for key, value in golden.items()}
    if isinstance(golden, list):
        return [approximately(value) for value in golden]
    return pytest.approx(golden, rel=1e-6, abs=0) if isinstance(golden, float) else golden


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("case", ["sound", "troubled", "two_way"])
def test_a_table_is_printed_as_in_its_golden_file(case: str, form: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(case)
    printed = table(["outputs"], None, form, LAYOUTS.get(case, PLAIN)).text
    path = GOLDEN / f"{case}.{form}"
    if os.environ.get("WRITE_GOLDEN_FILES"):
        path.write_text(printed, encoding="utf-8")
    golden = path.read_text(encoding="utf-8")
    if form == "json":
        assert json.loads(printed) == approximately(json.loads(golden))
    else:
        assert same_numbers(printed, golden) if form == "csv" else printed == golden
