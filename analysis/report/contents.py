"""All that a report says, whatever it is written as."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..comparing.caveats import caveats
from ..comparing.comparison import Comparison
from ..comparing.test_images import image_level
from ..comparing.variants import Row
from ..figures.palette import looks
from ..figures.study import Choice, StudyFigures
from ..tables.footer import footer
from ..tables.grids import Grid, grids
from ..tables.quantities import RESULTS
from .answer import Answer, answer_of
from .arms import Arm, arms_of
from .chart import VALUES, Chart, chart_of
from .embedded import Picture, drawn
from .failures import Failure, failures_of
from .question import Question, question_of

FIGURES = Choice(x="epochs", width="page", before=None, after=None)


@dataclass(frozen=True)
class Part:
    """What a report says of one study: question, answer, curves, pictures by name, what was run, what is not drawn."""

    heading: str
    question: Question
    answer: Answer
    chart: Chart | None
    pictures: dict[str, Picture]
    arms: list[Arm]
    gaps: list[str]


@dataclass(frozen=True)
class Contents:
    """A report: its title and a line on its extent, a part for each study, and what they share."""

    title: str
    extent: str
    parts: list[Part]
    grids: list[Grid]
    footer: list[str]
    caveats: list[str]
    failures: list[Failure]
    pictures: list[Picture]

    @property
    def all_pictures(self) -> list[Picture]:
        """The pictures of all parts, then those that were there already."""
        return [*(picture for part in self.parts for picture in part.pictures.values()), *self.pictures]


def contents_of(comparison: Comparison, question: str | None, pictures: Sequence[Picture]) -> Contents:
    """The report of a comparison; `question`, where given, is the question of every study."""
    images = image_level(comparison)
    variants = looks(row.label for row in comparison.rows)
    budget = VALUES // len(comparison.groups)
    parts = []
    for heading, rows in comparison.groups.items():
        study = StudyFigures(heading, rows, variants, FIGURES)
        asked = Question(question) if question else question_of(heading, rows)
        parts.append(
            Part(
                heading=heading,
                question=asked,
                answer=answer_of(rows),
                chart=chart_of(study, budget),
                pictures=drawn(study),
                arms=arms_of(rows),
                gaps=study.gaps(),
            )
        )
    return Contents(
        title=", ".join(comparison.groups),
        extent=_extent(comparison),
        parts=parts,
        grids=grids(comparison, RESULTS, images),
        footer=footer(comparison, images, RESULTS),
        caveats=caveats(comparison),
        failures=failures_of(comparison.runs),
        pictures=list(pictures),
    )


def _extent(comparison: Comparison) -> str:
    """`15 runs of 5 variants, 1 run without a result`."""
    rows: list[Row] = [row for row in comparison.rows if row.runs]
    counted = sum(len(row.runs) for row in rows)
    lacking = sum(not run.counts for run in comparison.runs)
    told = [f"{_number_of(counted, 'run')} of {_number_of(len(rows), 'variant')}"]
    if len(comparison.groups) > 1:
        told.append(f"{len(comparison.groups)} studies")
    if lacking:
        told.append(f"{_number_of(lacking, 'run')} without a result")
    return ", ".join(told)


def _number_of(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"
