"""What a check has found, as lines of text and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

Status = Literal["ok", "note", "FAIL"]


class Measured(NamedTuple):
    """What one property's check has to say: whether it holds, in words with the number; the number, if there is one.

    `remarkable` marks a number that does not fail and that a reader should still look at.
    """

    holds: bool
    words: str
    number: float | None = None
    remarkable: bool = False


@dataclass(frozen=True)
class Finding:
    """One property of a layer. `note` is a failure that was allowed, or a number worth a look."""

    property: str
    status: Status
    words: str
    number: float | None = None

    def __str__(self) -> str:
        return f"{self.status:<5} {self.property:<17} {self.words}"


@dataclass(frozen=True)
class Report:
    """All findings about one layer; it passes when none fails."""

    layer: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def failures(self) -> list[Finding]:
        """The properties that do not hold."""
        return [finding for finding in self.findings if finding.status == "FAIL"]

    @property
    def passed(self) -> bool:
        """Whether every property holds."""
        return not self.failures

    def __getitem__(self, name: str) -> Finding:
        return {finding.property: finding for finding in self.findings}[name]

    def __str__(self) -> str:
        held = len(self.findings) - len(self.failures)
        verdict = f"{held} of {len(self.findings)} properties hold"
        if self.failures:
            verdict += f"; these do not: {', '.join(finding.property for finding in self.failures)}"
        return "\n".join([self.layer, *map(str, self.findings), f"{verdict} ({self.seconds:.1f} s)"])

    def to_json(self) -> str:
        """The report as one JSON object: layer, passed, seconds, findings."""
        content = {"layer": self.layer, "passed": self.passed, "seconds": round(self.seconds, 2)}
        return json.dumps({**content, "findings": [_as_json(finding) for finding in self.findings]}, indent=2)


def _as_json(finding: Finding) -> dict[str, object]:
    """A finding; JSON has no word for infinity."""
    finite = finding.number is not None and math.isfinite(finding.number)
    return {**asdict(finding), "number": finding.number if finite else None}


def short(number: float) -> str:
    """Three significant digits."""
    return f"{number:.3g}"


def percent(share: float) -> str:
    """A share in percent with two significant digits."""
    return f"{100 * share:.2g} %"


def first_line(error: BaseException) -> str:
    """An exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
