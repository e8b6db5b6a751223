"""Timings as text: one table a case, with medians, spreads and ratios to the case's twin and its public form."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.reporting.report import Result, Timing, paired_ratios, reference

ABSENT = "-"
HEADER = ("arm", "run", "path", "n", "ms, median (min .. max)", "images/s")
RATIOS = ("static", "public")
COSTS = ("peak MB", "floor, ms")


def render(result: Result) -> str:
    """The machine's facts, then one table a case; columns in which no arm has a figure are left out."""
    facts = ", ".join(f"{name} {value:.4g}" for name, value in result.facts.items())
    cases = dict.fromkeys(timing.case for timing in result.timings)
    tables = [_case_table(case, [timing for timing in result.timings if timing.case == case]) for case in cases]
    return "\n\n".join([*([facts] if facts else []), *tables])


def spread(samples: Sequence[float]) -> str:
    """`median (minimum .. maximum)` of some samples, the median with about three digits; `-` for none."""
    if not samples:
        return ABSENT
    median = statistics.median(samples)
    digits = _digits(median)
    return f"{median:.{digits}f} ({min(samples):.{digits}f} .. {max(samples):.{digits}f})"


def three_digits(value: float) -> str:
    """A number with about three digits, never as a power of ten."""
    return f"{value:,.{_digits(value)}f}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned."""
    lines = [list(header), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    rendered = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in (rendered[0], rule, *rendered[1:]))


def _case_table(case: str, timings: list[Timing]) -> str:
    figures = list(dict.fromkeys(name for timing in timings for name in timing.figures))
    header = [*HEADER, *(f"/ {role}" for role in RATIOS), *COSTS, *figures]
    rows = [
        [*_cells(timing, timings), *(spread(timing.figures.get(name, [])) for name in figures)] for timing in timings
    ]
    shown = [i for i in range(len(header)) if any(row[i] != ABSENT for row in rows)]
    return f"{case}\n\n" + text_table([header[i] for i in shown], [[row[i] for i in shown] for row in rows])


def _cells(timing: Timing, timings: list[Timing]) -> list[str]:
    failure = f"failed: {timing.failure}" if timing.failure else ABSENT
    rates = [timing.images / ms * 1e3 for ms in timing.ms] if timing.images else []
    ratios = [_ratio(timing, reference(timings, timing, role)) for role in RATIOS]
    count = str(len(timing.ms)) if timing.ms else ABSENT
    return [
        *(timing.arm, timing.run, timing.path, count, spread(timing.ms) if timing.ms else failure, spread(rates)),
        *ratios,
        ABSENT if timing.peak_mb is None else f"{timing.peak_mb:.0f}",
        ABSENT if timing.floor_ms is None else three_digits(timing.floor_ms),
    ]


def _digits(value: float) -> int:
    return next((digits for digits, least in enumerate((100, 10, 1, 0.1)) if abs(value) >= least), 4)


def _ratio(timing: Timing, other: Timing | None) -> str:
    return ABSENT if other is None or other is timing else spread(paired_ratios(timing, other))
