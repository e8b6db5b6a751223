"""A report as one HTML file: nothing is fetched, and without JavaScript the pictures stand in for the curves."""

import re
from collections.abc import Callable, Iterable, Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

from ..tables import webpage
from ..tables.table import RESULTS_TITLE
from .contents import Contents, Failure, Part
from .details import ConfigLine, Details
from .embedded import CONFUSION, COST, CURVES, DIFFERENCES, Picture

HERE = Path(__file__).parent
STYLE = "report.css"
# Each line is one script: what tables need, and what curves need.
SCRIPTS = (
    ("state.js", "sorting.js", "saving.js", "filtering.js"),
    ("scales.js", "panel.js", "curves.js"),
)
# The browser itself refuses whatever would ask the network.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
HEAD = f'\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
# An address in a config or an error is shown, but is none in the file.
ADDRESS = re.compile(r"(?<=https:)//|(?<=http:)//(?!www\.w3\.org/)")
# Bytes that pictures may take in the page; what is beyond lies beside it only.
PICTURE_BYTES = 1_500_000
SECTIONS = {
    "answer": "Question and answer",
    "results": "Results",
    "curves": "Curves",
    "pictures": "Pictures",
    "configs": "Configs and provenance",
    "failed": "Runs without a result",
    "reading": "How to read this",
}


def render(contents: Contents) -> str:
    """The page."""
    embedded, studies = Embedded(contents), contents.parts
    pictures = [*contents.named([COST, CONFUSION]), *contents.pictures]
    parts = [
        "<header>",
        f'<h1>{escape(contents.title)}</h1><p class="soft">{escape(contents.extent)}</p>',
        f'<p class="soft">Made by <code>{escape(contents.command)}</code>. {escape(contents.newest)}</p>',
        _navigation(),
        "</header>",
        *_section("answer", _each(studies, lambda part: _answer(part, embedded, "h4" if len(studies) > 1 else "h3"))),
        *_section("results", _tables(contents)),
        *_section("curves", _each(studies, lambda part: _curves(part, embedded))),
        *_section("pictures", map(embedded.figure, pictures) if pictures else ['<p class="soft">None.</p>']),
        *_section("configs", _each(studies, _configs)),
        *_section("failed", _failures(contents.failures)),
        *_section("reading", webpage.bullets(contents.footer)),
        *(f"<script>\n{''.join(map(_asset, names))}</script>" for names in SCRIPTS),
    ]
    return ADDRESS.sub("&#47;&#47;", webpage.page(f"Report of {contents.title}", parts, _asset(STYLE), HEAD))


class Embedded:
    """Which pictures fit the page, taken in order, the stand-ins for the curves last; the others lie beside it."""

    def __init__(self, contents: Contents) -> None:
        curves = [part.pictures[name] for part in contents.parts for name in CURVES if name in part.pictures]
        self._files, size = set[str](), 0
        for picture in [*contents.named([DIFFERENCES, COST, CONFUSION]), *contents.pictures, *curves]:
            if size + picture.embedded_size <= PICTURE_BYTES:
                size += picture.embedded_size
                self._files.add(picture.file)

    def figure(self, picture: Picture) -> str:
        """The picture with its caption, or the words that it is not in the page."""
        caption = f"<figcaption>{escape(picture.caption)}</figcaption>"
        if picture.file not in self._files:
            words = f"{picture.file} is beside this page: with it the page would be too large."
            return f'<figure><p class="soft">{escape(words)}</p>{caption}</figure>'
        if not picture.wide:
            return f'<figure><img alt="{escape(picture.caption)}" src="{picture.data}">{caption}</figure>'
        drawings = f'<div class="on-screen">{picture.wide}</div><div class="on-phone">{picture.narrow}</div>'
        return f"<figure>{drawings}{caption}</figure>"


def _anchor(*words: str) -> str:
    """An id for what these words name, which an address can hold as it is."""
    return "-".join(quote(word, safe="") for word in words)


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _navigation() -> str:
    links = "\n".join(f'<a href="#{name}">{escape(title)}</a>' for name, title in SECTIONS.items())
    return f'<nav aria-label="Sections">\n{links}\n</nav>'


def _section(name: str, lines: Iterable[str]) -> list[str]:
    return [f'<section id="{name}">', f"<h2>{escape(SECTIONS[name])}</h2>", *lines, "</section>"]


def _each(studies: list[Part], lines_of: Callable[[Part], Iterable[str]]) -> Iterator[str]:
    """The lines of each study, under its name where there are several."""
    for part in studies:
        if len(studies) > 1:
            yield f'<h3 class="study">{escape(part.heading)}</h3>'
        yield from lines_of(part)


def _answer(part: Part, embedded: Embedded, level: str) -> Iterator[str]:
    """Question, answer and the differences behind it, under headings of a level."""
    origin = f' <small class="soft">({escape(part.question.origin)})</small>' if part.question.origin else ""
    yield f'<{level}>Question</{level}><p class="question">{escape(part.question.text)}{origin}</p>'
    yield f"<{level}>Answer</{level}>"
    yield from (f'<p class="summary">{escape(summary)}</p>' for summary in part.answer.summaries)
    if part.answer.sentences:
        yield '<ul class="claims">'
        for each in part.answer.sentences:
            verdict = f'<span class="verdict {each.verdict}">{each.verdict}</span>'
            sentence = f"<strong>{escape(each.claim)}</strong>: {escape(each.evidence)}"
            yield f'<li data-variant="{escape(each.variant)}">{verdict} {sentence}</li>'
        yield "</ul>"
    yield from (f'<p class="soft">{escape(note)}</p>' for note in part.answer.notes)
    if DIFFERENCES in part.pictures:
        yield embedded.figure(part.pictures[DIFFERENCES])


def _tables(contents: Contents) -> Iterator[str]:
    for table in contents.tables:
        if table.title != RESULTS_TITLE:
            yield f'<h3 id="{_anchor(table.title)}">{escape(table.title)}</h3>'
        yield from webpage.table_lines(table)
    for part in contents.parts:
        if part.by_class:
            of = f"{part.by_class.title}, {part.heading}" if len(contents.parts) > 1 else part.by_class.title
            yield f'<h3 id="{_anchor(of)}">{escape(of)}</h3>'
            yield from webpage.table_lines(part.by_class)
    if contents.caveats:
        yield "<h3>Caveats</h3>"
        yield from webpage.bullets(contents.caveats)


def _curves(part: Part, embedded: Embedded) -> Iterator[str]:
    """The numbers of the curves for the script to draw, and pictures in their place until it does."""
    if part.chart is None:
        yield '<p class="soft">No curves are drawn.</p>'
    else:
        yield f'<div class="curves"><script type="application/json">{part.chart.json}</script><div class="still">'
        yield from (embedded.figure(part.pictures[each]) for each in CURVES if each in part.pictures)
        yield "</div></div>"
        if part.chart.thinned:
            yield f'<p class="soft">{escape(part.chart.thinned)}</p>'
    yield from webpage.bullets(part.gaps) if part.gaps else ()


def _configs(part: Part) -> Iterator[str]:
    if part.differing:
        yield f'<h3 id="{_anchor(part.heading, part.differing.title)}">{escape(part.differing.title)}</h3>'
        yield from webpage.table_lines(part.differing)
    for each in part.details:
        yield from _details(each)


def _details(details: Details) -> Iterator[str]:
    marked = sum(line.instead is not None for line in details.config)
    note = "baseline" if details.is_baseline else f"{marked} line{'s' * (marked != 1)} unlike the baseline's"
    name, anchor = escape(details.label), _anchor(details.group, details.label)
    yield f'<details id="{anchor}" data-variant="{name}">'
    yield f'<summary>{name} <small class="soft">{note}</small></summary>'
    yield "<dl>"
    yield from (f"<dt>{escape(name)}</dt><dd>{escape(fact)}</dd>" for name, fact in details.facts.items())
    yield "</dl>"
    yield from webpage.table_lines(details.runs)
    yield f'<pre class="config">{"".join(map(_config_line, details.config))}</pre>'
    yield "</details>"


def _config_line(line: ConfigLine) -> str:
    text = escape(line.text)
    if line.instead is not None:
        text = f'<mark>{text}</mark>  <span class="soft"># {escape(line.instead)}</span>'
    return f"{text}\n"


def _failures(failures: list[Failure]) -> Iterator[str]:
    if not failures:
        yield '<p class="soft">None: every run has a result.</p>'
    for each in failures:
        error = f": {escape(each.error)}" if each.error else ""
        yield f"<p><strong>{escape(each.study)}, {escape(each.who)}</strong>, {escape(each.state)}{error}"
        yield f'<br><small class="soft">{escape(each.place)}</small></p>'
        if each.traceback:
            yield f"<details><summary>traceback</summary><pre>{escape(each.traceback)}</pre></details>"
