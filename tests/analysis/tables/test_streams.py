"""What goes into the printed table, and what beside it to standard error."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.tables.command import table

WriteRun = Callable[..., Path]


def test_csv_sends_footer_and_caveats_beside_the_table(troubled: WriteRun) -> None:
    beside = table(["outputs"], None, "csv").beside
    assert any(line.startswith("Source: outputs") for line in beside)
    assert any(line.startswith("warning: not counted: dynamic_3x3 seed 3, failed") for line in beside)


@pytest.mark.parametrize("form", ["md", "tex"])
def test_printed_tables_carry_their_caveats_with_them(troubled: WriteRun, form: str) -> None:
    printed = table(["outputs"], None, form)
    assert "loss is NaN at step 7" in printed.text
    assert printed.beside and all(line.startswith("warning: ") for line in printed.beside)
