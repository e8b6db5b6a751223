"""A report as Markdown for a repository, with its pictures as files beside it."""

import re
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

from ..tables import markdown
from ..tables.grids import RESULTS_TITLE, Grid
from ..tables.markdown import escaped
from .arms import Arm
from .contents import Contents, Part
from .embedded import CURVES, Picture
from .failures import Failure

BACKTICKS = re.compile(r"`{3,}")


def document(contents: Contents) -> str:
    """The same as the page, without what only a page can do."""
    several = len(contents.parts) > 1
    blocks = [f"# {escaped(contents.title)}", escaped(contents.extent)]
    blocks += [block for part in contents.parts for block in _answer(part, several)]
    blocks += ["## Results", *(block for grid in contents.grids for block in _titled(grid))]
    blocks += ["**Caveats**", _bullets(contents.caveats)] if contents.caveats else []
    blocks += ["## Curves", *(block for part in contents.parts for block in _curves(part))]
    blocks += ["## Pictures", *_pictures(contents)]
    blocks += ["## Configs and provenance"]
    blocks += [block for part in contents.parts for arm in part.arms for block in _arm(arm, several)]
    blocks += ["## Runs without a result", *_failures(contents.failures)]
    blocks += ["## How to read this", _bullets(contents.footer)]
    return "\n\n".join(blocks) + "\n"


def _answer(part: Part, is_one_of_several: bool) -> Iterator[str]:
    if is_one_of_several:
        yield f"## {escaped(part.heading)}"
    origin = f" ({escaped(part.question.origin)})" if part.question.origin else ""
    yield f"**Question**{origin}: {escaped(part.question.text)}"
    yield f"**Answer**: {escaped(' '.join(part.answer.summaries))}"
    if part.answer.sentences:
        yield "\n".join(
            f"- *{each.verdict}*: **{escaped(each.claim)}**: {escaped(each.evidence)}" for each in part.answer.sentences
        )
    yield from map(escaped, part.answer.notes)
    if "differences" in part.pictures:
        yield _figure(part.pictures["differences"])


def _curves(part: Part) -> Iterator[str]:
    found = [part.pictures[name] for name in CURVES if name in part.pictures]
    yield from map(_figure, found)
    if not found:
        yield f"{escaped(part.heading)}: no run recorded any curve."
    if part.gaps:
        yield _bullets(part.gaps)


def _pictures(contents: Contents) -> Iterator[str]:
    name = "accuracy_against_cost"
    found = [part.pictures[name] for part in contents.parts if name in part.pictures] + contents.pictures
    yield from map(_figure, found) if found else ["None."]


def _figure(picture: Picture) -> str:
    return f"![{escaped(picture.file)}]({quote(picture.file)})\n\n{escaped(picture.caption)}"


def _titled(grid: Grid) -> list[str]:
    """A table, all but that of the results under its title."""
    return [*([] if grid.title == RESULTS_TITLE else [f"**{escaped(grid.title)}**"]), _table(grid)]


def _table(grid: Grid) -> str:
    return "\n".join(markdown.table(grid))


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _arm(arm: Arm, names_study: bool) -> Iterator[str]:
    """Folded, as GitHub shows it; what it holds is Markdown."""
    name = f"{arm.group}: {arm.label}" if names_study else arm.label
    yield f"<details><summary>{escape(name)}{' (baseline)' * arm.is_baseline}</summary>"
    yield "\n".join(f"- {name}: {escaped(fact)}" for name, fact in arm.facts.items())
    yield _table(arm.runs)
    yield _code("\n".join(line.yaml for line in arm.config), "yaml")
    yield "</details>"


def _failures(failures: list[Failure]) -> Iterator[str]:
    if not failures:
        yield "None: every run has a result."
    for each in failures:
        error = f": {escaped(' '.join(each.error.split()))}" if each.error else ""
        yield f"- {escaped(f'{each.study}, {each.who}, {each.state}')}{error} ({escaped(each.place)})"
        if each.traceback:
            yield f"<details><summary>traceback</summary>\n\n{_code(each.traceback.rstrip(), 'text')}\n\n</details>"


def _code(text: str, language: str) -> str:
    """A fenced block whose fence is longer than any inside."""
    fence = "`" * max([3, *(len(found) + 1 for found in BACKTICKS.findall(text))])
    return f"{fence}{language}\n{text}\n{fence}"
