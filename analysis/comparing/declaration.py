"""What a study declared, as its runs keep it under `about` or a sweep file says it; the default rules do the rest."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from dynfilt.config.about import METRICS, About, check_about, controls_of, gains_of, is_row, rows_meant

from ..reading.metrics import TEST_ACCURACY, Metric, metric_named
from ..reading.run import Run
from .looks import boundaries
from .statistics import ALPHA
from .sweep_file import study_and_about

ABOUT_KEYS = tuple(f"about.{key.name}" for key in fields(About))


class UnusableAbout(ValueError):
    """A declaration that cannot be meant."""


class NoDeclaration(ValueError):
    """A file that declares nothing, or of another study."""


@dataclass(frozen=True)
class Declaration:
    """A study's declaration; what is empty was not declared.

    `margin` is in the metric's own scale, of accuracies a fraction, and NaN where there is none.
    `gains` are (over, row, over of that row) for each claim that a variant gains more over a row than the second does.
    `ratio` is the part of the baseline's mean that a row claims to reach (of a metric where less is better: not to
    exceed), NaN where it claims to beat the baseline.

    `tuning` are seeds of the study, or the name of another study; None where the default rule tells which runs tuned.
    `origin` is the file that was given instead of what the runs recorded, `flaw` why what they recorded is none.
    """

    question: str = ""
    baseline: str = ""
    controls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gains: Mapping[str, tuple[tuple[str, str, str], ...]] = field(default_factory=dict)
    metric: Metric = TEST_ACCURACY
    margin: float = math.nan
    ratio: float = math.nan
    looks: tuple[int, ...] = ()
    tuning: tuple[int, ...] | str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    flaw: str = ""

    @property
    def names_claims(self) -> bool:
        """Whether it says what is compared with what, so that all else is exploratory."""
        return bool(self.baseline or self.controls or self.gains)

    def makes_claims_of(self, other: "Declaration") -> bool:
        """Whether it declares what another does, beside its words: the same comparisons, read alike."""
        keys = ("baseline", "controls", "gains", "metric", "looks", "margin", "ratio")
        pairs = [(getattr(self, key), getattr(other, key)) for key in keys]
        return all(ours == theirs or (ours != ours and theirs != theirs) for ours, theirs in pairs)  # NaN is no margin

    @property
    def rows(self) -> set[str]:
        """The names of all rows of which it says something."""
        named = itertools.chain(*self.controls.values(), *itertools.chain(*self.gains.values()))
        return {self.baseline, *self.controls, *self.gains, *named} - {""}

    def rows_meant(self, name: str, rows: Iterable[str]) -> list[str]:
        """The rows that one of its names means, of those of a table."""
        return rows_meant(name, rows, self.rows)

    def controls_of(self, variant: str, rows: Sequence[str]) -> tuple[str, ...]:
        """The names of what a variant, one of a table's rows, must beat beside the baseline."""
        named = (name for name in self.controls if variant in self.rows_meant(name, rows))
        return self.controls.get(next(named, ""), ())

    def gains_of(self, variant: str, rows: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
        """The names of the rows of each claim on a gain of a variant, one of a table's rows."""
        named = (name for name in self.gains if variant in self.rows_meant(name, rows))
        return self.gains.get(next(named, ""), ())

    @property
    def margin_in_words(self) -> str:
        """The margin with its unit: `0.5 points`."""
        return f"{self.metric.scale * self.margin:g} {self.metric.difference_unit}"

    def level(self, n: int) -> float:
        """The largest p of one claim that decides at n pairs; NaN where n is between looks."""
        if not self.looks:
            return ALPHA
        return dict(zip(self.looks, boundaries(self.looks), strict=True)).get(n, math.nan)

    def display_name(self, variant: str) -> str:
        """A variant's declared name, else its own; settings beside the named ones are kept."""
        named = [name for name in self.names if is_row(name, variant)]
        if not named:
            return variant
        longest = max(named, key=len)
        said = longest.split(",")
        return ",".join([self.names[longest], *(part for part in variant.split(",") if part not in said)])

    def next_look(self, n: int) -> int | None:
        """The first look after n pairs, None after the last."""
        return next((look for look in self.looks if look > n), None)


UNDECLARED = Declaration()
NONE_DECLARED: Mapping[str, Declaration] = {}


def declarations_of(runs: Sequence[Run]) -> dict[str, Declaration]:
    """Each study's declaration: of its runs with the lowest seed that counts, the commonest.

    Looks are counted from the first seeds on, so what later runs declare comes too late. One that cannot be meant is
    none, with a `flaw`. Raises ValueError for a metric that there is not.
    """
    by_study: dict[str, list[Run]] = {}
    for run in runs:
        by_study.setdefault(run.study, []).append(run)
    found = {}
    for study, members in by_study.items():
        first = min(run.seed for run in ([run for run in members if run.counts] or members))
        said = [str(run.config.get("about")) for run in members if run.seed == first]
        commonest = max(said, key=said.count)
        speaker = next(run for run in members if run.seed == first and str(run.config.get("about")) == commonest)
        found[study] = recorded(speaker)
    return found


def recorded(run: Run) -> Declaration:
    """What a run declares; one that cannot be meant is none, with a `flaw`. Raises ValueError for an unknown metric."""
    try:
        return _declaration(run.config.get("about"))
    except UnusableAbout as error:
        return Declaration(flaw=f"what {run.place} declares does not count: {error}")


def read_declaration(path: str, studies: Iterable[str]) -> dict[str, Declaration]:
    """The declaration of a sweep, given by name or file, for the study that it names.

    Raises ValueError for a file that cannot be read or declares what cannot be meant, NoDeclaration for one that
    declares nothing or is of no such study.
    """
    content = study_and_about(path, "--about")
    about = content.get("about")
    known = [key.name for key in fields(About)]
    if not isinstance(about, Mapping) or not about.keys() <= set(known):
        flaw = ValueError if isinstance(about, Mapping) else NoDeclaration
        raise flaw(f"--about {path}: is no sweep file with a block `about:`; its keys may be {', '.join(known)}")
    study = str(content.get("study"))
    if study not in (there := sorted(set(studies))):
        raise NoDeclaration(f"--about {path}: is of the study {study}; the sources hold {', '.join(there)}")
    try:
        return {study: _declaration(about, path)}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _complete(about: Mapping[str, Any]) -> dict[str, Any]:
    """All keys; an empty one is as good as none."""
    empty = {"controls": {}, "gains": {}, "names": {}, "metric": METRICS[0]}
    return {key.name: about.get(key.name, None) or empty.get(key.name) for key in fields(About)} | {
        key: about[key] for key in ("margin", "looks", "tuning") if key in about
    }


def _declaration(about: Any, origin: str = "") -> Declaration:
    if not isinstance(about, Mapping):
        return UNDECLARED
    complete = _complete(about)
    metric = metric_named(str(complete["metric"]))
    try:
        check_about(complete)
    except ValueError as error:
        raise UnusableAbout(str(error)) from error
    tuning, margin = complete["tuning"], complete["margin"]
    ratio = complete["ratio"]
    return Declaration(
        question=complete["question"] or "",
        baseline=complete["baseline"] or "",
        controls={variant: tuple(controls_of(complete, variant)) for variant in complete["controls"]},
        gains={variant: tuple(gains_of(complete, variant)) for variant in complete["gains"]},
        metric=metric,
        margin=math.nan if margin is None else margin / metric.scale,
        ratio=math.nan if ratio is None else ratio,
        looks=tuple(complete["looks"] or ()),
        tuning=tuple(tuning) if isinstance(tuning, list) else tuning,
        names=complete["names"],
        origin=origin,
    )
