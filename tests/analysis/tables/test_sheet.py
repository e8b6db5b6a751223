"""A sheet in its three formats."""

import math

import pytest

from analysis.tables.sheet import Column, Sheet, document

SHEET = Sheet(
    [Column("layer", "layer", left=True), Column("size", "size"), Column("cost, %", "cost", "{:.1f}".format)],
    [("conv_1", "3×3", 1 / 3), ("fc*", "", None)],
    ("sum", None, 100.0),
)


def test_markdown_is_aligned_and_escaped() -> None:
    assert document(SHEET, "md", "Network a_b") == (
        "**Network a_b**\n\n"
        "| layer  | size | cost, % |\n"
        "| ------ | ---: | ------: |\n"
        "| conv_1 |  3×3 |     0.3 |\n"
        "| fc\\*   |      |         |\n"
        "| sum    |      |   100.0 |\n"
    )


def test_latex_has_rules_and_no_bare_signs() -> None:
    text = document(SHEET, "tex", "Network a_b")
    assert r"conv\_1 & 3$\times$3 & 0.3 \\" in text and r"cost, \%" in text and "×" not in text
    assert text.index(r"\midrule" + "\n  sum") < text.index(r"\bottomrule")
    assert r"\caption{Network a\_b}" in text


def test_csv_has_full_precision_and_no_sum() -> None:
    assert document(SHEET, "csv", "unused") == f"layer,size,cost\nconv_1,3×3,{1 / 3!r}\nfc*,,\n"
    assert document(Sheet(SHEET.columns, [("a", "b", math.nan)]), "csv", "") == "layer,size,cost\na,b,\n"


def test_every_row_is_as_long_as_the_heading() -> None:
    with pytest.raises(ValueError):
        document(Sheet(SHEET.columns, [("a", "b")]), "md", "")
