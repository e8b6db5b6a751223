"""What a benchmark leaves behind: a table to read, and a small JSON with machine, versions and commit."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynfilt.provenance import collect_provenance
from dynfilt.train.settings import resolve_device


@dataclass(frozen=True)
class Result:
    """One benchmark's figures: `rows` are plain records, `table` the same as text."""

    name: str
    device: str
    rows: list[dict[str, Any]]
    table: str


def write_result(result: Result, path: Path) -> None:
    """Write the figures with where they come from; the host's name is left out."""
    machine = collect_provenance(resolve_device(result.device))
    del machine["host"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"benchmark": result.name, "machine": machine, "rows": result.rows}, indent=2) + "\n")


def spread(samples: Sequence[float], digits: int) -> str:
    """`median (minimum .. maximum)` of some samples."""
    return f"{statistics.median(samples):.{digits}f} ({min(samples):.{digits}f} .. {max(samples):.{digits}f})"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rendered = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (rendered[0], rule, *rendered[1:]))
