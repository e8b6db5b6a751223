"""What was run: of each variant the config, where its runs come from, and the runs themselves as a table."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..comparing.variants import Row
from ..reading.run import Run, seed_list
from ..tables import numbers
from ..tables.columns import Heading
from ..tables.footer import short_commit
from ..tables.grids import Grid, Line
from .configs import ConfigLine, config_lines

UNKNOWN = "not recorded"
RUNS = (
    Heading("seed"),
    Heading("test accuracy", "%", "↑"),
    Heading("validation accuracy", "%", "↑"),
    Heading("best epoch"),
    Heading("train", "s", "↓"),
    Heading("state", is_text=True),
    Heading("place", is_text=True),
)


@dataclass(frozen=True)
class Arm:
    """One row of the table: its config, with what differs from the baseline's; facts by name; its runs."""

    group: str
    label: str
    is_baseline: bool
    config: list[ConfigLine]
    facts: dict[str, str]
    runs: Grid


def arms_of(rows: Sequence[Row]) -> list[Arm]:
    """The arms of one group that have runs, in the table's order."""
    baseline = next((row for row in rows if row.is_baseline), None)
    return [_arm(row, baseline) for row in rows if row.runs]


def _arm(row: Row, baseline: Row | None) -> Arm:
    other = None if baseline is None or row is baseline else baseline.runs[0].config
    lines = config_lines(row.runs[0].config, other, baseline.label if baseline else "")
    facts = {name: _told(row.runs, fact) for name, fact in FACTS.items()}
    return Arm(row.group, row.label, row.is_baseline, lines, facts, _runs(row))


def _runs(row: Row) -> Grid:
    lines = [_line(run) for run in row.runs]
    return Grid("Runs", row.study, RUNS, {"": lines})


def _line(run: Run) -> Line:
    cells = (
        str(run.seed),
        numbers.percent(run.number("test_accuracy")),
        numbers.percent(run.number("val_accuracy")),
        numbers.amount(run.number("best_epoch")),
        numbers.amount(run.number("train_seconds")),
        run.state,
        run.place,
    )
    return Line(cells, (False,) * len(cells))


def _told(runs: Sequence[Run], fact: Callable[[Run], str]) -> str:
    """A fact of all runs, or each value with the seeds that have it."""
    seeds: dict[str, list[int]] = {}
    for run in runs:
        seeds.setdefault(fact(run) or UNKNOWN, []).append(run.seed)
    if len(seeds) == 1:
        return next(iter(seeds))
    return "; ".join(f"{value} ({seed_list(some)})" for value, some in seeds.items())


def _commit(run: Run) -> str:
    return f"{short_commit(run)}, with uncommitted changes" if run.dirty else short_commit(run)


def _versions(run: Run) -> str:
    versions = run.provenance.get("versions")
    known = versions if isinstance(versions, Mapping) else {}
    return ", ".join(f"{name} {version}" for name, version in known.items() if version)


def _device(run: Run) -> str:
    threads = run.provenance.get("threads")
    device = " + ".join(run.devices)
    return f"{device}, {threads} thread{'s' * (threads != 1)}" if device and threads else device


def _command(run: Run) -> str:
    words = run.provenance.get("command")
    return shlex.join(str(word) for word in words) if isinstance(words, list) else _text(words)


def _platform(run: Run) -> str:
    return _text(run.provenance.get("platform"))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


FACTS: dict[str, Callable[[Run], str]] = {
    "commit": _commit,
    "versions": _versions,
    "device": _device,
    "platform": _platform,
    "command": _command,
}
