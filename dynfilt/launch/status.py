"""`status`: how far the runs under some folders are, told by the folders alone, wherever they were started."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dynfilt.launch.view import duration
from dynfilt.run.folder import RESULT, STATUS, RunFolder, RunState, is_run_folder
from dynfilt.run.parsing import DamagedFile
from dynfilt.run.plan import epochs_of, number_in
from dynfilt.wording import OneLineParser

SECONDS_BETWEEN_LOOKS = 2.0
MOST_ROWS = 40


@dataclass(frozen=True)
class Unfinished:
    """A run without a result as its folder shows it; None is what the folder does not tell."""

    name: str
    state: RunState
    epoch: float
    epochs: float
    val_accuracy: float | None
    images_per_second: float | None
    seconds_left: float | None
    reason: str


GAP = 2  # between two columns
COLUMNS: dict[str, tuple[int, Callable[[Unfinished], str]]] = {
    "state": (11, lambda run: run.state.value),
    "epoch": (9, lambda run: f"{run.epoch:.4g}" + (f"/{run.epochs:.4g}" if run.epochs else "")),
    "val accuracy": (12, lambda run: "" if run.val_accuracy is None else f"{run.val_accuracy:.1%}"),
    "images/s": (8, lambda run: "" if run.images_per_second is None else f"{run.images_per_second:,.0f}"),
    "time left": (11, lambda run: "" if run.seconds_left is None else duration(run.seconds_left)),
}
DROPPED = ("images/s", "val accuracy", "epoch")  # where names are long, in this order
UNCUT = 10_000  # characters of a line in a file or a pipe


def run(words: Sequence[str], program: str) -> int:
    """Print the state of all runs under some folders; 0, or 2 when there is none to print once. Its help calls it
    `program`."""
    parser = OneLineParser(prog=program, description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("outputs")], help="default: outputs")
    parser.add_argument("--watch", action="store_true", help="keep it fresh until Ctrl-C")
    console = Console()
    if not console.is_terminal:
        console.width = UNCUT
    try:
        arguments = parser.parse_args(list(words))
        if not arguments.watch:
            console.print(look(arguments.folders, console.width))
            return 0
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(_look_again(arguments.folders, console.width, _rows_that_fit(console)), refresh=True)
                time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        return 0
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def look(folders: Sequence[Path], most_columns: int, most_rows: int = MOST_ROWS) -> Group:
    """The runs at or below some folders: those without a result in a table, then how many there are in each state.

    The table has at most so many characters in a line, unless a name is longer.

    Raises ValueError when there is no run.
    """
    counts: Counter[RunState] = Counter()
    unfinished: list[Unfinished] = []
    for root in folders:
        for path in run_folders(root):
            folder = RunFolder(path)
            state = folder.state()
            counts[state] += 1
            if state != RunState.COMPLETED and len(unfinished) < most_rows:
                unfinished.append(_unfinished(str(path.relative_to(root)), folder, state))
    if not counts:
        where = ", ".join(map(str, folders))
        raise ValueError(f"no runs in {where}: looked at any depth for folders with {STATUS} or {RESULT}")
    reasons = [Text(f"{run.name}: {run.reason}") for run in unfinished if run.reason]
    return Group(
        *([_table(unfinished, most_columns)] if unfinished else []), *reasons, _sentence(counts, len(unfinished))
    )


def _look_again(folders: Sequence[Path], most_columns: int, most_rows: int) -> Group | Text:
    """The same, or that there is no run yet: whoever watches may have begun before the sweep."""
    try:
        return look(folders, most_columns, most_rows)
    except ValueError as error:
        return Text(f"{error}; looking again every {SECONDS_BETWEEN_LOOKS:g} s")


def _rows_that_fit(console: Console) -> int:
    """Rows of a table that leave room on a terminal for a reason each and the last line, which is cut off otherwise."""
    return max(1, min(MOST_ROWS, console.height // 2 - 2)) if console.is_terminal else MOST_ROWS


def run_folders(folder: Path, visited: set[tuple[int, int]] | None = None) -> Iterator[Path]:
    """Run folders at or below a folder, in order and once, whatever links lead there; hidden ones, and what cannot be
    listed, are left out."""
    visited = set() if visited is None else visited
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        place = os.stat(folder)
    except OSError:
        return
    if (place.st_dev, place.st_ino) in visited:
        return
    visited.add((place.st_dev, place.st_ino))
    if is_run_folder(folder.name, {entry.name for entry in entries}):
        yield folder
        return
    for entry in entries:
        if not entry.name.startswith(".") and os.path.isdir(entry.path):
            yield from run_folders(Path(entry.path), visited)


def _unfinished(name: str, folder: RunFolder, state: RunState) -> Unfinished:
    try:
        trainer = dict(folder.config()["trainer"])
        error = (folder.status() or {}).get("error") or {}
        reason = str(error.get("message", ""))
    except (DamagedFile, KeyError, TypeError, ValueError, AttributeError) as flaw:
        trainer, reason = {}, str(flaw)
    row = folder.last_evaluation()
    epochs, epoch = epochs_of(trainer, row), number_in(row, "epoch")
    left = number_in(row, "seconds") / epoch * max(0.0, epochs - epoch) if epochs and epoch else None
    return Unfinished(
        name,
        state,
        epoch,
        epochs,
        number_in(row, "val_accuracy") if "val_accuracy" in row else None,
        number_in(row, "images_per_second") if "images_per_second" in row else None,
        left,
        " ".join(reason.split()),
    )


def _table(runs: Sequence[Unfinished], most_columns: int) -> Table:
    """The runs in a table of at most so many characters, in which a name comes before what may be left out."""
    left_out = 0
    while left_out < len(DROPPED) and _width_of(runs, DROPPED[:left_out]) > most_columns:
        left_out += 1
    columns = {heading: column for heading, column in COLUMNS.items() if heading not in DROPPED[:left_out]}
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold")
    for heading, (width, _) in columns.items():
        table.add_column(heading, width=width, no_wrap=True, justify="left" if heading == "state" else "right")
    for run in runs:
        table.add_row(Text(run.name), *(cell(run) for _, cell in columns.values()))
    return table


def _width_of(runs: Sequence[Unfinished], without: Sequence[str]) -> int:
    widths = [GAP + width for heading, (width, _) in COLUMNS.items() if heading not in without]
    return max(len(run.name) for run in runs) + sum(widths)


def _sentence(counts: Counter[RunState], shown: int) -> Text:
    words = [f"{number} {state}" for state, number in counts.items()]
    more = counts.total() - counts[RunState.COMPLETED] - shown
    return Text(
        f"{counts.total()} runs: {', '.join(words)}" + (f"; {more} unfinished ones are not shown" if more else "")
    )
