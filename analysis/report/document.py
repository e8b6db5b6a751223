"""A report as Markdown for a repository, with its pictures as files beside it."""

import re
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

from ..tables.markdown import bullets, escaped, table_text, titled
from .contents import Contents, Failure, Part
from .details import Details
from .embedded import CONFUSION, COST, CURVES, DIFFERENCES, Picture

BACKTICKS = re.compile(r"`{3,}")


def render(contents: Contents) -> str:
    """The same as the page, without what only a page can do."""
    several = len(contents.parts) > 1
    blocks = [f"# {escaped(contents.title)}", escaped(contents.extent)]
    blocks += [f"Made by this command. {escaped(contents.newest)}".rstrip(), code(contents.command, "text")]
    blocks += [block for part in contents.parts for block in _answer(part, several)]
    blocks += ["## Results", *(block for table in contents.tables for block in titled(table))]
    blocks += [block for part in contents.parts if part.by_class for block in titled(part.by_class)]
    blocks += ["**Caveats**", bullets(contents.caveats)] if contents.caveats else []
    blocks += ["## Curves", *(block for part in contents.parts for block in _curves(part))]
    pictures = [*contents.named([COST, CONFUSION]), *contents.pictures]
    blocks += ["## Pictures", *(map(_figure, pictures) if pictures else ["None."])]
    blocks += ["## Configs and provenance"]
    blocks += [block for part in contents.parts if part.differing for block in titled(part.differing)]
    blocks += [block for part in contents.parts for each in part.details for block in _details(each, several)]
    blocks += ["## Runs without a result", *_failures(contents.failures)]
    blocks += ["## How to read this", bullets(contents.footer)]
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
    if DIFFERENCES in part.pictures:
        yield _figure(part.pictures[DIFFERENCES])


def _curves(part: Part) -> Iterator[str]:
    pictures = [part.pictures[name] for name in CURVES if name in part.pictures]
    yield from map(_figure, pictures)
    if not pictures:
        yield f"{escaped(part.heading)}: no curves are drawn."
    if part.gaps:
        yield bullets(part.gaps)


def _figure(picture: Picture) -> str:
    return f"![{escaped(picture.file)}]({quote(picture.file)})\n\n{escaped(picture.caption)}"


def _details(details: Details, names_study: bool) -> Iterator[str]:
    """Folded, as GitHub shows it; what it holds is Markdown."""
    name = f"{details.group}: {details.label}" if names_study else details.label
    yield f"<details><summary>{escape(name)}{' (baseline)' * details.is_baseline}</summary>"
    yield "\n".join(f"- {name}: {escaped(fact)}" for name, fact in details.facts.items())
    yield table_text(details.runs)
    yield code("\n".join(line.yaml for line in details.config), "yaml")
    yield "</details>"


def _failures(failures: list[Failure]) -> Iterator[str]:
    if not failures:
        yield "None: every run has a result."
    for each in failures:
        error = f": {escaped(' '.join(each.error.split()))}" if each.error else ""
        yield f"- {escaped(f'{each.study}, {each.who}, {each.state}')}{error} ({escaped(each.place)})"
        if each.traceback:
            yield f"<details><summary>traceback</summary>\n\n{code(each.traceback.rstrip(), 'text')}\n\n</details>"


def code(text: str, language: str) -> str:
    """A fenced block whose fence is longer than any inside."""
    fence = "`" * max([3, *(len(inside) + 1 for inside in BACKTICKS.findall(text))])
    return f"{fence}{language}\n{text}\n{fence}"
