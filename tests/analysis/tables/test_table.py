"""A sheet in its three formats: one declaration of a column serves them all."""

import math

from analysis.tables import latex, markdown
from analysis.tables.table import Column, Heading, Sheet, column

Entry = tuple[str, str, float | None]
COLUMNS: list[Column[Entry]] = [
    column("layer", Heading("layer", is_text=True), lambda entry: entry[0]),
    column("size", Heading("size"), lambda entry: entry[1]),
    column("cost", Heading("cost", "%"), lambda entry: entry[2], "{:.1f}".format),
]
SHEET = Sheet(COLUMNS, [("conv_1", "3×3", 1 / 3), ("fc*", "", None)], ("sum", "", "100.0"))


def test_markdown_is_aligned_and_escaped() -> None:
    assert markdown.table_text(SHEET.table()) == (
        "| layer  | size | cost, % |\n"
        "| ------ | ---: | ------: |\n"
        "| conv_1 |  3×3 |     0.3 |\n"
        "| fc\\*   |    – |       – |\n"
        "| sum    |      |   100.0 |"
    )


def test_latex_has_rules_and_no_bare_signs() -> None:
    text = latex.long_table(SHEET, "Network a_b")
    assert r"conv\_1 & 3$\times$3 & 0.3 \\" in text and r"cost, \%" in text and "×" not in text
    assert text.index(r"\midrule" + "\n  sum") < text.index(r"\bottomrule")
    assert r"\caption{Network a\_b}" in text


def test_csv_has_full_precision_and_no_sum() -> None:
    assert SHEET.csv() == f"layer,size,cost\nconv_1,3×3,{1 / 3!r}\nfc*,,\n"
    assert Sheet(COLUMNS, [("a", "b", math.nan)]).csv() == "layer,size,cost\na,b,\n"


def test_a_column_of_several_values_has_one_cell_and_a_field_for_each() -> None:
    ends = {"low": lambda entry: entry[0], "high": lambda entry: entry[1]}
    sheet = Sheet([column("interval", Heading("interval"), ends, "[{}, {}]".format)], [(1.5, 2.5)])
    (row,) = sheet.table().blocks[""]
    assert row.cells == ("[1.5, 2.5]",) and sheet.csv() == "low,high\n1.5,2.5\n"
