"""`python -m analysis results`: every study of the sources, its question, claims and verdicts, as a page of Markdown.

A study's claims are those that its runs recorded under `about`; of runs that recorded none, those of
sweeps/<study>.yaml, and the page says so.
"""

import argparse
import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dynfilt.run.parsing import attempts_of

from ..comparing.caveats import caveats
from ..comparing.claims import EXPLORATORY
from ..comparing.comparison import Comparison, compare
from ..comparing.declaration import NoDeclaration, declarations_of, read_declaration
from ..comparing.statistics import POWER
from ..comparing.tuned_sweep import described
from ..comparing.tuning import TUNING_SEEDS, choices
from ..comparing.words import counted, number_of, seed_list
from ..drawing.sheets import write_text
from ..reading.run import Run
from ..reading.sources import add_sources, read_runs
from ..tables.columns import chosen
from ..tables.comparison_tables import claims_of
from ..tables.markdown import bullets, escaped, table_text
from ..tables.table import RESULTS_TITLE, Heading, Row, Table
from .answer import SUMMARY_WORDS, SWEEPS, answer_of, question_of, sweep_files
from .document import code

COLUMNS = chosen(["n", "accuracy", "against", "delta", "ratio", "p", "detectable", "tuned", "verdict"])
NOTE = (
    "Δ: difference to the run of the same seed, averaged, with the interval that holds at its number of pairs; p: "
    "adjusted by Holm over the study's claims; detectable Δ: the smallest true difference that so many pairs find with "
    f"power {POWER:g}, before Holm's adjustment. Interim: at no declared look, so there is no verdict. What each "
    "verdict means stands below every table of python -m analysis table, with the caveats, and in the README under "
    "Claims and looks."
)


@dataclass(frozen=True)
class Study:
    """A study of one source: all its runs; its comparison, None without a result and for one that only tunes."""

    name: str
    source: str
    runs: list[Run]
    comparison: Comparison | None = None
    origin: str = "declared"

    @property
    def counted(self) -> list[Run]:
        """The runs that have a result."""
        return [run for run in self.runs if run.counts]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `results`."""
    add_sources(parser)
    parser.add_argument("--out", metavar="FILE", help="the Markdown file; default: standard output")


def run(arguments: argparse.Namespace) -> None:
    """Write the page. Raises ValueError for a source that cannot be read or holds no run."""
    studies = [study for source in arguments.sources for study in studies_of(source)]
    text = render(studies, arguments.command_line)
    if arguments.out is None:
        print(text, end="")
    else:
        write_text(Path(arguments.out), text)


def studies_of(source: str) -> list[Study]:
    """The studies of a source by name, each compared for itself, beside the study that tuned it."""
    runs = [run for run in read_runs([source]) if run.study]
    by_name = {name: [run for run in runs if run.study == name] for name in sorted({run.study for run in runs})}
    declared = declarations_of(runs)
    tuning = {each.tuning for each in declared.values() if isinstance(each.tuning, str)}
    studies = []
    for name, members in by_name.items():
        if name in tuning or {run.seed for run in members} <= set(TUNING_SEEDS):
            studies.append(Study(name, source, members, origin=""))
            continue
        if not any(run.counts for run in members):
            studies.append(Study(name, source, members))
            continue
        about = None
        if not declared[name].names_claims:
            about = next(_declaring(name, members), None)
        beside = by_name.get(str(declared[name].tuning), [])
        origin = f"{SWEEPS}/{name}.yaml, applied to runs that recorded no claims" if about else "declared"
        studies.append(Study(name, source, members, compare([*members, *beside], None, about=about), origin))
    return studies


def _declaring(study: str, runs: Sequence[Run]) -> Iterator[str]:
    """The sweep files that declare something of the study; one may have none.

    Raises ValueError for a declaration that cannot be meant.
    """
    for path in filter(Path.is_file, sweep_files(study, runs)):
        with suppress(NoDeclaration):
            read_declaration(str(path), [study])
            yield str(path)


def render(studies: Sequence[Study], command: str) -> str:
    """The page: an overview of all studies, then a section for each."""
    blocks = ["# Results", "Every study with the claims that it declared and their verdicts. Made by"]
    blocks += [code(command, "text"), table_text(_overview(studies)), escaped(NOTE)]
    blocks += [block for study in studies for block in _section(study)]
    return "\n\n".join(blocks) + "\n"


def _overview(studies: Sequence[Study]) -> Table:
    texts = [Heading(name, is_text=True) for name in ("study", "runs in", "device")]
    headings = (*texts, Heading("n"), *map(Heading, SUMMARY_WORDS))
    rows = []
    for study in studies:
        claims = study.comparison.claims if study.comparison else []
        verdicts = Counter(claim.verdict for claim in claims)
        each = Counter((run.variant, run.digest) for run in study.counted).values()
        n = f"{min(each)}-{max(each)}" if len(set(each)) > 1 else str(max(each, default=0))
        device = ", ".join(sorted({device for run in study.counted for device in run.devices}))
        cells = (study.name, study.source, device, n, *(str(verdicts[verdict] or "") for verdict in SUMMARY_WORDS))
        rows.append(Row(cells, (False,) * len(cells)))
    return Table(RESULTS_TITLE, "", headings, {"": rows})


def _section(study: Study) -> Iterator[str]:
    yield escaped(f"## {study.name} ({study.source})")
    comparison = study.comparison
    if comparison:
        variants = comparison.variants
        declared = comparison.declared[study.name]
        question = question_of(study.name, variants, declared)
        yield f"**Question** ({escaped(study.origin)}): {escaped(question.text)}"
        yield f"**Answer**: {escaped(' '.join(answer_of(variants).summaries))}"
        yield table_text(claims_of(comparison, COLUMNS))
    elif study.counted:
        try:
            chosen_recipes = [described(choice) for choice in choices(study.runs)]
        except ValueError as error:  # an arm that has only begun must not keep the page from the other studies
            chosen_recipes = [str(error)]
        yield "It chooses recipes and compares nothing:"
        yield bullets(chosen_recipes)
    else:
        yield "No run has a result yet."
    yield bullets([*_facts(study), *(_declared(comparison, study.name) if comparison else [])])
    if commands := _commands(study.counted):
        yield code("\n".join(commands), "text")


def _facts(study: Study) -> Iterator[str]:
    lacking = len(study.runs) - len(study.counted)
    without = f"; {number_of(lacking, 'run')} without a result" if lacking else ""
    yield f"{number_of(len(study.counted), 'run')}, {seed_list(run.seed for run in study.counted)}{without}."
    if study.counted:
        devices = counted(" and ".join(run.devices) or "unknown" for run in study.counted)
        yield f"Device: {devices}. Commit: {counted(run.short_commit for run in study.counted)}."


def _declared(comparison: Comparison, study: str) -> Iterator[str]:
    declared = comparison.declared[study]
    if declared.looks:
        yield f"Verdicts are read at n = {', '.join(map(str, declared.looks))}."
    if not math.isnan(declared.margin):
        yield f"Rows shown to differ by less than {declared.margin_in_words} are equivalent."
    if left_out := sum(claim.verdict == EXPLORATORY for claim in comparison.claims):
        yield f"{number_of(left_out, 'comparison')} that the study did not declare: left out here."
    if doubts := len(caveats(comparison)):
        yield f"{number_of(doubts, 'caveat')}: python -m analysis table prints them."


def _commands(runs: Sequence[Run]) -> list[str]:
    """The commands that made the runs, each with how many it made, the commonest first."""
    words = [
        attempt["command"] for run in runs for attempt in attempts_of(run.provenance)[:1] if attempt.get("command")
    ]
    made = Counter(shlex.join(["python", *map(str, each)]) for each in words)
    return [f"{command}  # {number_of(n, 'run')}" for command, n in sorted(made.items(), key=lambda each: -each[1])]
