"""The answer to a study's question, made from its claims and nothing else: no sentence says more than a verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..comparing.claims import REFUTED, SUPPORTED, UNDECIDED, Claim
from ..comparing.statistics import POWER
from ..comparing.variants import Row
from ..tables import numbers

# What a summary says of one variant, and of several, by verdict and in this order.
SAID = {
    SUPPORTED: ("is better", "are better"),
    REFUTED: ("is not", "are not"),
    UNDECIDED: ("is undecided", "are undecided"),
}


@dataclass(frozen=True)
class Sentence:
    """What the seeds say to one claim: the claim as its verdict leaves it, and the numbers behind it."""

    verdict: str
    claim: str
    evidence: str


@dataclass(frozen=True)
class Answer:
    """A summary for each rival, a sentence for each claim, and what is missing for more."""

    summaries: list[str]
    sentences: list[Sentence]
    notes: list[str]


def answer_of(rows: Sequence[Row]) -> Answer:
    """The answer that the rows of one group give."""
    compared = [row for row in rows if row.runs]
    claims = [(row, claim) for row in compared for claim in row.claims]
    if not compared:
        return Answer(["No run has a result yet, so there is no answer."], [], [])
    if not claims:
        return Answer([f"{_alone(compared[0])} There is nothing to compare it with."], [], [])
    rivals = dict.fromkeys((claim.is_control, claim.rival) for _, claim in claims)
    summaries = [_summary(rival, is_control, claims) for is_control, rival in sorted(rivals)]
    return Answer(summaries, [_sentence(row.label, claim) for row, claim in claims], _without_control(compared))


def _summary(rival: str, is_control: bool, claims: Sequence[tuple[Row, Claim]]) -> str:
    """`Against static_3x3: a is better; b and c are not; d is undecided.`"""
    found: dict[str, list[str]] = {}
    for row, claim in claims:
        if (claim.rival, claim.is_control) == (rival, is_control):
            found.setdefault(claim.verdict, []).append(row.label)
    told = [
        f"{_listed(found[verdict])} {said[len(found[verdict]) > 1]}"
        for verdict, said in SAID.items()
        if verdict in found
    ]
    whom = f"{rival}, the control of equal capacity" if is_control else rival
    return f"Against {whom}: {'; '.join(told)}."


def _sentence(label: str, claim: Claim) -> Sentence:
    rival = f"{claim.rival} (control of equal capacity)" if claim.is_control else claim.rival
    return Sentence(claim.verdict, _claim(label, rival, claim), _evidence(claim))


def _claim(label: str, rival: str, claim: Claim) -> str:
    difference = claim.paired.difference
    match claim.verdict:
        case "supported":
            return f"{label} beats {rival}"
        case "refuted":
            return f"{label} does not beat {rival}"
    if difference.low <= 0 <= difference.high:
        return f"{label} is not shown to differ from {rival}"
    return f"{label} is not shown to beat {rival}"


def _evidence(claim: Claim) -> str:
    difference, detectable = claim.paired.difference, claim.paired.detectable
    pairs = _pairs(difference.n)
    tuned = f"; tuned alike: {claim.tuned.replace(': ', ', ')}."
    if not difference.n:
        return f"they share no seed{tuned}"
    interval = "no interval" if math.isnan(difference.low) else f"95 % interval {_interval(claim)}"
    parts = [f"{numbers.points(difference.mean)} points", interval, f"n = {pairs}"]
    if not math.isnan(claim.p_holm):
        parts.append(f"p (Holm) {numbers.p_value(claim.p_holm)}")
    found = "" if math.isnan(detectable) else _reach(claim)
    return f"{', '.join(parts)}{found}{tuned}"


def _reach(claim: Claim) -> str:
    n, smallest = claim.paired.difference.n, numbers.percent(claim.paired.detectable)
    return f"; {_pairs(n)} find a difference of {smallest} points or more with power {POWER:g}"


def _interval(claim: Claim) -> str:
    return numbers.points_interval(claim.paired.difference.low, claim.paired.difference.high)


def _without_control(rows: Sequence[Row]) -> list[str]:
    """Which variants no control of equal capacity tells apart from their size."""
    controls = {claim.rival for row in rows for claim in row.claims if claim.is_control}
    lacking = [row.label for row in rows if row.claims and not row.against_control and row.label not in controls]
    if not lacking:
        return []
    return [f"No control of equal capacity was run for {_listed(lacking)}: a difference may come from size alone."]


def _alone(row: Row) -> str:
    n, mean, sd = row.accuracy.n, row.accuracy.mean, row.accuracy.sd
    reached = numbers.mean_and_sd(mean, sd) if n > 1 else numbers.percent(mean)
    return f"{row.label} reaches {reached} % test accuracy (n = {n})."


def _pairs(n: int) -> str:
    return f"{n} pair" if n == 1 else f"{n} pairs"


def _listed(labels: Sequence[str]) -> str:
    *most, last = labels
    return f"{', '.join(most)} and {last}" if most else last
