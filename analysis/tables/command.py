"""`python -m analysis table`: test accuracy over seeds, verdicts on differences, cost; a row for each variant."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ..comparing.arrangement import PLAIN, VARIANT, Layout
from ..comparing.caveats import caveats
from ..comparing.comparison import compare
from ..comparing.image_level import image_level
from ..comparing.words import number_of
from ..reading.sources import add_source_arguments, read_runs
from . import latex, markdown, webpage
from .arranged import arranged
from .columns import ABREAST, COLUMNS, Entry, chosen, results
from .comparison_tables import as_json, records, tables_of
from .footer import footer
from .latex import PLAIN_FLOAT, Float
from .narrow import Narrowed
from .short_notes import NotesOf, short_notes
from .table import Column

RENDER = {"md": markdown.render, "html": webpage.render}
FORMATS = ("md", "tex", "html", "csv", "json")
FULL, SHORT, NONE = "full", "short", "none"
NOTES = (FULL, SHORT, NONE)
TERMINAL = "terminal"


@dataclass(frozen=True)
class Presentation:
    """How a comparison is printed, without any effect on its numbers.

    `notes` are NOTES, `variants` and `sort` as in `arranged`, `float` is for LaTeX, `terminal_width` for a terminal.
    """

    notes: str = FULL
    variants: tuple[str, ...] = ()
    sort: str = ""
    float: Float = PLAIN_FLOAT
    terminal_width: int = 80


@dataclass(frozen=True)
class Printed:
    """The text of a table for standard output, and what goes beside it to standard error."""

    text: str
    beside: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `table`."""
    add_source_arguments(parser)
    parser.add_argument(
        "--rows", metavar="KEY", default=VARIANT, help="a row for each value of a config key, e.g. model.num_kernels"
    )
    parser.add_argument(
        "--by", metavar="KEY", help="side by side: study, variant or a config key, e.g. data; a table for each column"
    )
    keys = ", ".join(column.key for column in COLUMNS)
    parser.add_argument("--columns", metavar="A,B", help=f"what the table of results shows, of: {keys}")
    parser.add_argument(
        "--variants",
        nargs="+",
        default=[],
        metavar="V",
        help="what is shown, in this order, whatever it is compared with; p-values stay those of all",
    )
    parser.add_argument("--sort", metavar="COLUMN", help="order the rows by a column, the best first, or by variant")
    parser.add_argument(
        "--format", choices=FORMATS, help="what is printed; default: as wide as the terminal on one, else md"
    )
    parser.add_argument(
        "--notes",
        choices=NOTES,
        help="below the tables: all, three lines (default on a terminal and in tex), none",
    )
    paper = parser.add_argument_group("LaTeX (--format tex)")
    paper.add_argument(
        "--width",
        choices=latex.WIDTHS,
        help="a page (default) or a column of a paper; what does not fit is left out",
    )
    paper.add_argument("--caption", metavar="TEXT", help="caption of the table of results, as LaTeX")
    paper.add_argument("--label", metavar="KEY", help="its label, e.g. tab:results")


def run(arguments: argparse.Namespace) -> None:
    """Print the table to standard output and what goes beside it to standard error.

    Raises ValueError for LaTeX's own arguments with another format, and as `table` does.
    """
    own = {name: getattr(arguments, name) for name in ("width", "caption", "label")}
    for name in own:
        if own[name] is not None and arguments.format != "tex":
            raise ValueError(f"--{name} is for LaTeX: --format tex")
    columns = None
    if arguments.columns is not None:
        columns = chosen([key.strip() for key in arguments.columns.split(",") if key.strip()])
    form = arguments.format or (TERMINAL if sys.stdout.isatty() else "md")
    presentation = Presentation(
        arguments.notes or (SHORT if form in ("tex", TERMINAL) else FULL),
        tuple(arguments.variants),
        arguments.sort or "",
        Float(own["width"] or PLAIN_FLOAT.width, own["caption"] or "", own["label"] or ""),
        shutil.get_terminal_size().columns,
    )
    layout = Layout(arguments.rows, arguments.by)
    printed = table(
        arguments.sources,
        arguments.baseline,
        form,
        layout,
        columns,
        arguments.about,
        arguments.metric,
        presentation,
    )
    print(printed.text, end="", flush=True)
    for line in printed.beside:
        print(line, file=sys.stderr)


def table(
    sources: Sequence[str],
    baseline: str | None,
    form: str,
    layout: Layout = PLAIN,
    columns: Sequence[Column[Entry]] | None = None,
    about: str | None = None,
    metric: str | None = None,
    presentation: Presentation = Presentation(),
) -> Printed:
    """The comparison of all runs in the sources; what its text has no place for goes beside it, caveats once.

    Raises ValueError for an unusable source, declaration, baseline, config key, metric, row or order, and when no run
    has a result.
    """
    assert form in (*FORMATS, TERMINAL)
    comparison = compare(read_runs(sources), baseline, layout, about, metric)
    images = image_level(comparison)
    rows = arranged(comparison, images, presentation.variants, presentation.sort)
    shown = columns or (results(comparison.variants) if layout.by is None else ABREAST)
    doubts = [*caveats(comparison), *images.caveats]
    notes: dict[str, NotesOf] = {
        FULL: lambda keys: footer(comparison, images, shown),
        SHORT: lambda keys: short_notes(comparison, keys),
        NONE: lambda keys: [],
    }
    notes_of = notes[presentation.notes]
    if form == "csv":
        beside = notes_of(column.key for column in shown)
        return Printed(records(rows, columns, images), [*beside, *_warnings(doubts)])
    if form == "json":
        below = notes_of(column.key for column in shown)
        return Printed(as_json(rows, columns, images, below, doubts), _pointer(doubts))
    tables = tables_of(rows, shown, images, one_unit=form == "tex")
    if form == TERMINAL:
        from . import terminal  # rich takes as long to load as a table to print

        return Printed(terminal.render(tables, notes_of, doubts, presentation.terminal_width), [])
    carried, beside = (doubts, _pointer(doubts)) if presentation.notes == FULL else ([], _warnings(doubts))
    if form == "tex":
        fits = latex.fitted(tables, presentation.float, is_chosen=columns is not None)
        text, warnings = _for_paper(fits, notes_of, carried, presentation)
        return Printed(text, [*_warnings(warnings), *beside])
    keys = [key for each in tables for key in each.keys]
    return Printed(RENDER[form](tables, notes_of(keys), carried), beside)


def _for_paper(
    fits: Sequence[Narrowed], notes_of: NotesOf, caveats: list[str], presentation: Presentation
) -> tuple[str, list[str]]:
    """The LaTeX, and what its reader would not see: columns and tables left out, signs without a font.

    Full notes stand below the first table, short ones below each.
    """
    lost = [fit.note for fit in fits if fit.note]
    fits = [fit for fit in fits if not fit.is_empty]
    below = [notes_of(fit.table.keys) for fit in fits]
    if presentation.notes == FULL:
        below[1:] = [[] for _ in below[1:]]
    lines = [*caveats, *(line for lines in below for line in lines)]
    text = latex.render(fits, below, caveats, presentation.float)
    return text, [*lost, *latex.unprintable([fit.table for fit in fits], lines)]


def _warnings(lines: Sequence[str]) -> list[str]:
    return [f"warning: {line}" for line in lines]


def _pointer(doubts: Sequence[str]) -> list[str]:
    """Where the text holds the caveats, that it does."""
    return [f"warning: {number_of(len(doubts), 'caveat')} in what is printed"] if doubts else []
