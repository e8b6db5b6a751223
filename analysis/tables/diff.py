"""`python -m analysis diff A B`: what differs between two runs, variants or studies: config, code, device, numbers."""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..comparing.statistics import Summary, paired, summarise
from ..comparing.words import UNSET, first_of, in_words, number_of
from ..reading.metrics import COMPARED, Metric, metric_named
from ..reading.predicted import with_metric
from ..reading.run import Run
from ..reading.sources import read_runs
from . import markdown, numbers
from .table import Heading, Row, Table

MOST_VALUES = 4
# What the runs of one variant do not share, so that it tells no two sides apart.
OF_EACH_RUN = ("time", "command", "resumed", "differences", "model")
Values = Callable[[Run], Mapping[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `diff`."""
    for name in ("A", "B"):
        parser.add_argument(
            name, help="a folder with runs, an archive, reference:STUDY or wandb:entity/project[/group]"
        )
    parser.add_argument(
        "--metric",
        metavar="M",
        help=f"say also which side is better by it, seed by seed; one of: {', '.join(COMPARED)}",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the differences. Raises ValueError for a source without runs."""
    print(diff(arguments.A, arguments.B, arguments.metric), end="")


def diff(a: str, b: str, metric: str | None = None) -> str:
    """The differences of two sources as Markdown: a row for each key whose values differ, then the numbers.

    With a metric of COMPARED it also says which side is better by it. Raises ValueError for an unknown one.
    """
    sides = read_runs([a]), read_runs([b])
    better = [_better(metric_named(metric), *sides)] if metric else []
    headings = [f"{name} ({number_of(len(runs), 'run')})" for name, runs in zip((a, b), sides, strict=True)]
    kinds: dict[str, Values] = {"Config": _config, "Code and machine": _origin}
    tables = [_table(title, headings, _differing(values_of, *sides)) for title, values_of in kinds.items()]
    tables.append(_table("Numbers, mean ± SD over the runs", headings, _number_rows(*sides)))
    shown = [table for table in tables if table.blocks[""]]
    same = [f"{table.title}: no difference" for table in tables if not table.blocks[""]]
    return markdown.render(shown, [*same, *better], [])


def _better(metric: Metric, a: Sequence[Run], b: Sequence[Run]) -> str:
    """B's gain over A by the metric, over the seeds that both have once."""
    sides = ([run for run in (with_metric(run, metric) for run in runs) if run.counts] for runs in (b, a))
    ours, theirs = (
        {run.seed: run.number(metric.name) for run in runs if sum(other.seed == run.seed for other in runs) == 1}
        for runs in sides
    )
    shared = sorted(ours.keys() & theirs.keys())
    arms = [ours[seed] for seed in shared], [theirs[seed] for seed in shared]
    pairs = paired(*arms, higher_is_better=metric.higher_is_better)
    what, difference, form = metric.words, pairs.difference, numbers.form_of(metric)
    if not difference.n:
        return f"{what}: no seed of which both sides have one run with it"
    interval = "" if math.isnan(difference.low) else f" {form.difference_interval(difference.low, difference.high)}"
    aim = "higher" if metric.higher_is_better else "lower"
    return (
        f"{what}, {aim} is better: B - A {form.difference(difference.mean)}{interval} {metric.difference_unit}, "
        f"paired over {number_of(difference.n, 'seed')} (95 % t interval); B is ahead in {pairs.ahead} of them"
    )


def _table(title: str, headings: Sequence[str], rows: Iterator[tuple[str, ...]]) -> Table:
    columns = tuple(Heading(name, is_text=True) for name in ("key", *headings))
    return Table(title, "", columns, {"": [Row(cells, (False,) * len(cells)) for cells in rows]})


def _differing(values_of: Values, a: Sequence[Run], b: Sequence[Run]) -> Iterator[tuple[str, str, str]]:
    """Key and the values of both sides, for each key that has not the same set of values on both."""
    first, second = _values(values_of, a), _values(values_of, b)
    for key in dict.fromkeys([*first, *second]):
        ours, theirs = (sorted(side.get(key, {UNSET})) for side in (first, second))
        if ours != theirs:
            yield key, first_of(ours, MOST_VALUES, "; "), first_of(theirs, MOST_VALUES, "; ")


def _values(values_of: Values, runs: Sequence[Run]) -> dict[str, set[str]]:
    """Key -> its values, in words, over the runs; a run that lacks a key has it unset."""
    flat = [dict(_flat(values_of(run))) for run in runs]
    keys = dict.fromkeys(key for each in flat for key in each)
    return {key: {in_words(each.get(key)) for each in flat} for key in keys}


def _config(run: Run) -> Mapping[str, Any]:
    return {"study": run.study, "variant": run.variant, **run.config}


def _origin(run: Run) -> Mapping[str, Any]:
    noted = {key: value for key, value in run.provenance.items() if key not in OF_EACH_RUN}
    return {"state": run.state.value, **noted}


def _flat(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _number_rows(a: Sequence[Run], b: Sequence[Run]) -> Iterator[tuple[str, str, str]]:
    """Each number of the results whose mean differs."""
    counted = [[run for run in runs if run.counts] for runs in (a, b)]
    for key in dict.fromkeys(key for runs in counted for run in runs for key in run.numbers if key != "seed"):
        ours, theirs = (summarise([run.number(key) for run in runs if key in run.numbers]) for runs in counted)
        cells = _mean_and_sd(ours), _mean_and_sd(theirs)
        if cells[0] != cells[1]:
            yield key, *cells


def _mean_and_sd(side: Summary) -> str:
    if not side.n:
        return numbers.MISSING
    return f"{side.mean:.6g} ± {side.sd:.2g}" if side.sd > 0 else f"{side.mean:.6g}"
