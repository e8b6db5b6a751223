"""Markdown: whole rows, and names that hold its own signs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.tables import markdown
from analysis.tables.command import table

WriteRun = Callable[..., Path]


def test_markdown_rows_have_as_many_cells_as_the_header(troubled: WriteRun) -> None:
    troubled("a|b", 0, 0.5)
    blocks = [block for block in table(["outputs"], None, "md").text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 4
    for block in blocks:
        lines = block.split("\n")
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
        assert len({len(line) for line in lines}) == 1
        assert all(set(cell.strip()) <= {"-", ":"} and "--" in cell for cell in lines[1].strip("|").split("|"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dynamic_3x3,lr=0.1", "dynamic_3x3,lr=0.1"),
        ("a\x1b[31mred\x07", "a\ufffd[31mred\ufffd"),
        ("_hidden_ a|b", r"\_hidden\_ a\|b"),
        ("*x* `y` <b> a\\b", r"\*x\* \`y\` \<b> a\\b"),
        ("+0.52 [-0.21, +1.25] <0.001", "+0.52 [-0.21, +1.25] <0.001"),
        ("Is it\n\n# so,\r\n  - or\tnot?\n", "Is it # so, - or not?"),
    ],
)
def test_markdown_escapes(text: str, expected: str) -> None:
    assert markdown.escaped(text) == expected
