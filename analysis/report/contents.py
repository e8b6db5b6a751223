"""The contents of a report, whatever format it is written in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..comparing.caveats import caveats
from ..comparing.comparison import Comparison
from ..comparing.image_level import image_level
from ..comparing.variants import Variant
from ..comparing.words import number_of, seed_list
from ..figures.classes import accuracy_by_class
from ..figures.legend import looks_of
from ..figures.selection import drawn as drawn_of
from ..figures.selection import selected
from ..figures.study import FigureOptions, StudyFigures
from ..reading.run import Run, error_message
from ..tables.columns import results
from ..tables.comparison_tables import tables_of
from ..tables.footer import footer
from ..tables.table import Table
from .answer import Answer, Question, answer_of, question_of
from .chart import VALUES, Chart, chart_of
from .details import Details, details_of, differing
from .embedded import Picture, drawn

FIGURES = FigureOptions(x="epochs", width="page")


@dataclass(frozen=True)
class Part:
    """One study in a report: question, answer, curves, pictures by name, what was run, what is not drawn.

    `by_class` holds the accuracies of each class, `differing` the settings in which variants differ.
    """

    heading: str
    question: Question
    answer: Answer
    chart: Chart | None
    pictures: dict[str, Picture]
    by_class: Table | None
    differing: Table | None
    details: list[Details]
    gaps: list[str]


@dataclass(frozen=True)
class Failure:
    """A run without a result: who, in what state, the whole message and the traceback, as far as they are recorded."""

    study: str
    who: str
    state: str
    error: str
    traceback: str
    place: str


@dataclass(frozen=True)
class Contents:
    """A report: title, a line on its extent, the command that made it, how new it is, its studies, what they share."""

    title: str
    extent: str
    command: str
    newest: str
    parts: list[Part]
    tables: list[Table]
    footer: list[str]
    caveats: list[str]
    failures: list[Failure]
    pictures: list[Picture]

    @property
    def all_pictures(self) -> list[Picture]:
        """The pictures of all parts, then those that were there already."""
        return [*(picture for part in self.parts for picture in part.pictures.values()), *self.pictures]

    def named(self, names: Iterable[str]) -> list[Picture]:
        """The pictures of these names, name by name, each of all parts."""
        return [part.pictures[name] for name in names for part in self.parts if name in part.pictures]


def contents_of(
    comparison: Comparison, question: str | None, pictures: Sequence[Picture], names: Sequence[str], command: str
) -> Contents:
    """The report of a comparison, made by a command; `question`, where given, is the question of every study.

    `names` are the variants whose curves and pictures are shown, none means all.
    Raises ValueError as `selected` does.
    """
    images = image_level(comparison)
    groups = selected(comparison.groups, names)
    options, shown = replace(FIGURES, are_named=bool(names)), [drawn_of(each, bool(names)) for each in groups.values()]
    looks = looks_of(comparison.variants, [variant for members in shown for variant in members])
    budget = VALUES // len(comparison.groups)
    parts = []
    for heading, variants in comparison.groups.items():
        study = StudyFigures(heading, groups.get(heading, []), looks, options, variants)
        parts.append(
            Part(
                heading=heading,
                question=Question(question)
                if question
                else question_of(heading, variants, comparison.declared[variants[0].study]),
                answer=answer_of(variants),
                chart=chart_of(study, budget),
                pictures=drawn(study),
                by_class=accuracy_by_class(study.confusions) if study.confusions else None,
                differing=differing(variants),
                details=details_of(variants),
                gaps=study.gaps(),
            )
        )
    return Contents(
        title=", ".join(comparison.groups),
        extent=_extent(comparison),
        command=command,
        newest=_newest(comparison),
        parts=parts,
        tables=tables_of(comparison, results(comparison.variants), images),
        footer=footer(comparison, images, results(comparison.variants)),
        caveats=[*caveats(comparison), *images.caveats],
        failures=failures_of(comparison.runs),
        pictures=list(pictures),
    )


def failures_of(runs: Iterable[Run]) -> list[Failure]:
    """One for each run that does not count, in the given order."""
    return [
        Failure(
            study=run.study,
            who=f"{run.variant} {seed_list([run.seed])}",
            state=run.state,
            error=error_message(run.failure) or run.error,
            traceback=str(run.failure.get("traceback") or ""),
            place=run.place,
        )
        for run in runs
        if not run.counts
    ]


def _newest(comparison: Comparison) -> str:
    """When the newest run began, instead of the hour, which no two files of the same runs would share."""
    times = [str(run.provenance["time"]) for run in comparison.runs if run.provenance.get("time")]
    return f"Its newest run began {max(times)}." if times else ""


def _extent(comparison: Comparison) -> str:
    """`15 runs of 5 variants, 1 run without a result`."""
    variants: list[Variant] = [variant for variant in comparison.variants if variant.runs]
    counted = sum(len(variant.runs) for variant in variants)
    lacking = sum(not run.counts for run in comparison.runs)
    parts = [f"{number_of(counted, 'run')} of {number_of(len(variants), 'variant')}"]
    if len(comparison.groups) > 1:
        parts.append(f"{len(comparison.groups)} studies")
    if lacking:
        parts.append(f"{number_of(lacking, 'run')} without a result")
    return ", ".join(parts)
