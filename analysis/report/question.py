"""What a study asks: the header of its sweep file says it, else it is told plainly from the rows."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..comparing.variants import Row

# `# Question  words`, going on in lines of `#` and more blanks than a new entry has.
QUESTION = re.compile(r"^# Question\s+(.+(?:\n#\s{3,}\S.*)*)", re.MULTILINE)
NEXT_LINE = re.compile(r"\s*\n#\s*")
STUDY = re.compile(r"^study:\s*(\S+)\s*$", re.MULTILINE)
FOLDER = "sweeps"


@dataclass(frozen=True)
class Question:
    """A study's question, and the file that asks it; no file where the rows do."""

    text: str
    origin: str = ""


def question_of(study: str, rows: Sequence[Row]) -> Question:
    """The question in the header of `sweeps/<study>.yaml`, here or above the runs, else a plain one."""
    for path in _sweep_files(study, rows):
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        named = STUDY.search(content)
        asked = QUESTION.match(content)
        if named and named[1].strip("'\"") == study and asked:
            return Question(NEXT_LINE.sub(" ", asked[1]).strip(), f"{FOLDER}/{path.name}")
    return Question(_plain(rows))


def _sweep_files(study: str, rows: Iterable[Row]) -> Iterator[Path]:
    """Where the sweep of a study may lie; a study whose name is no file's name has none."""
    if study != Path(study).name:
        return
    place = next((run.place for row in rows for run in row.runs), "")
    for folder in dict.fromkeys([Path.cwd(), *Path(place).resolve().parents]):
        yield folder / FOLDER / f"{study}.yaml"


def _plain(rows: Sequence[Row]) -> str:
    baseline = next((row.label for row in rows if row.is_baseline), "")
    others = [row.label for row in rows if row.runs and not row.is_baseline]
    match others:
        case []:
            return f"What test accuracy does {baseline} reach?" if baseline else "What test accuracy is reached?"
        case [other]:
            return f"Does {other} have a higher test accuracy than {baseline}?"
    return f"Which of {len(others)} variants have a higher test accuracy than {baseline}?"
