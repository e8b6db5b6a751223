"""The tables of several runs become one: of each number the mean over the runs, its SD and its t interval."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dynfilt.run.identity import digest

from ..comparing.statistics import Summary, summarise
from ..drawing.sheets import write_text
from ..tables.markdown import table_text
from ..tables.numbers import MISSING
from ..tables.table import Column, Heading, Sheet, column, is_undefined
from .trained import TrainedRun

# Words of a row, then of each field of its numbers the summary over the runs.
Averages = dict[str, Any]
# Columns that say nothing of the mean: which run it is, and intervals over the test images of one run.
OF_ONE_RUN = ("seed", "margin", "reestimated_margin")


class RunTables:
    """Keeps the tables of runs by variant and title, and in the end prints and writes their averages."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], dict[str, list[Sheet[Any]]]] = {}

    def add(self, run: TrainedRun, title: str, sheet: Sheet[Any]) -> None:
        """Keep a run's table."""
        kind = run.study, run.variant, digest(run.config)
        self._kept.setdefault(kind, {}).setdefault(title, []).append(sheet)

    def conclude(self, out: Path, command: str) -> None:
        """Print the averages of each variant of several runs, and write them to `out`/study/variant.

        Runs of one variant whose configs differ are not averaged; each kind has its digest behind its name.
        """
        kinds = Counter((study, variant) for study, variant, _ in self._kept)
        for (study, variant, of_config), tables in self._kept.items():
            label = variant if kinds[study, variant] == 1 else f"{variant}@{of_config[:8]}"
            for title, sheets in tables.items():
                if len(sheets) > 1:
                    average = averaged(sheets)
                    print(f"**{title} of {label}: mean ± SD over {len(sheets)} runs**\n")
                    print(f"{table_text(average.table())}\n")
                    name = f"{command}-{title.lower().replace(' ', '-')}-average.csv"
                    write_text(out / study / label / name, average.csv())


def averaged(sheets: Sequence[Sheet[Any]]) -> Sheet[Averages]:
    """One row for each row of words, `runs` being the number of tables that have it; the columns are the tables'.

    CSV has of each number n, mean, SD and both ends of its 95 % t interval.
    """
    columns = [each for each in sheets[0].columns if each.key not in OF_ONE_RUN]
    rows: dict[tuple[str, ...], list[Any]] = {}
    words = [each for each in columns if each.heading.is_text]
    for entry in (entry for sheet in sheets for entry in sheet.entries):
        rows.setdefault(tuple(each.cell(entry) for each in words), []).append(entry)
    numbers = [each for each in columns if not each.heading.is_text]
    entries = [
        {
            **dict(zip((each.key for each in words), named, strict=True)),
            "runs": len(members),
            **{field: summarise(list(map(value, members))) for each in numbers for field, value in each.values.items()},
        }
        for named, members in rows.items()
    ]
    labels = [_word(each.key, each.heading) for each in words]
    return Sheet([*labels, _word("runs", Heading("runs")), *map(_number, numbers)], entries)


def _word(key: str, heading: Heading) -> Column[Averages]:
    return column(key, heading, lambda row: row[key])


def _number(of_runs: Column[Any]) -> Column[Averages]:
    """Mean ± SD as the column itself prints a number; a number that all runs share stands alone, a dash for none."""

    def values(field: str) -> Iterable[tuple[str, Callable[[Averages], float]]]:
        for name in ("mean", "sd", "low", "high"):
            yield f"{field}_{name}", lambda row, name=name: getattr(row[field], name)  # type: ignore[misc]

    def cell(row: Averages) -> str:
        summary: Summary = row[next(iter(of_runs.values))]
        if is_undefined(summary.mean):
            return MISSING
        if summary.sd > 0:
            return f"{of_runs.form(summary.mean)} ± {of_runs.form(summary.sd).lstrip('+')}"
        return of_runs.form(int(summary.mean) if summary.mean.is_integer() else summary.mean)

    fields = dict(pair for field in of_runs.values for pair in values(field))
    return Column(of_runs.key, of_runs.heading, fields, cell)
