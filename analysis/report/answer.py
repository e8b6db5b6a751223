"""The question of a study, and an answer made from its claims alone: no sentence goes beyond a verdict."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..comparing.claims import EQUIVALENT, EXPLORATORY, INTERIM, REFUTED, SUPPORTED, UNDECIDED, Claim
from ..comparing.comparison import is_equal_in_size
from ..comparing.declaration import UNDECLARED, Declaration, read_declaration
from ..comparing.statistics import POWER
from ..comparing.variants import Variant
from ..comparing.words import enumerated, number_of
from ..reading.metrics import Metric
from ..reading.run import Run
from ..tables import numbers

SWEEPS = "sweeps"
# Summary of one variant, and of several, by verdict and in this order.
SUMMARY_WORDS = {
    SUPPORTED: ("is better", "are better"),
    REFUTED: ("is not better", "are not better"),
    EQUIVALENT: ("is equivalent", "are equivalent"),
    UNDECIDED: ("is undecided", "are undecided"),
    INTERIM: ("has no verdict at its number of seeds", "have no verdict at their number of seeds"),
}
# The same of a claim to reach a part of the rival.
PART_WORDS = {**SUMMARY_WORDS, SUPPORTED: ("reaches it", "reach it"), REFUTED: ("does not", "do not")}


@dataclass(frozen=True)
class Question:
    """A study's question, and the file that asks it; no file where it is made from the variants."""

    text: str
    origin: str = ""


@dataclass(frozen=True)
class Sentence:
    """The outcome of one claim of a variant: the claim as its verdict leaves it, and the numbers behind it."""

    variant: str
    verdict: str
    claim: str
    evidence: str


@dataclass(frozen=True)
class Answer:
    """A summary for each rival, a sentence for each claim, and what is missing for more."""

    summaries: list[str]
    sentences: list[Sentence]
    notes: list[str]


def question_of(study: str, variants: Sequence[Variant], declared: Declaration = UNDECLARED) -> Question:
    """The study's declared question; of one that declared none that in `sweeps/<study>.yaml`, else a plain one.

    The sweep file is looked for here and above the runs. Nothing else of it counts for runs that did not record it.
    """
    if declared.question:
        return Question(declared.question, declared.origin or "declared")
    for path in sweep_files(study, [run for variant in variants for run in variant.runs]):
        with suppress(ValueError):
            if asked := read_declaration(str(path), [study])[study].question:
                return Question(asked, f"{SWEEPS}/{path.name}")
    return Question(_plain_question(variants))


def answer_of(variants: Sequence[Variant]) -> Answer:
    """The answer that the variants of one group give."""
    compared = [variant for variant in variants if variant.runs]
    claims = [(variant, claim) for variant in compared for claim in variant.claims if claim.verdict != EXPLORATORY]
    if not compared:
        return Answer(["No run has a result yet, so there is no answer."], [], [])
    if not claims and any(variant.claims for variant in compared):
        return Answer([f"No comparison by {compared[0].metric.words} is a claim that the study declares."], [], [])
    if not claims:
        return Answer([f"{_alone(compared[0])} There is nothing to compare it with."], [], [])
    against: dict[tuple[bool, bool, str], list[tuple[Variant, Claim]]] = {}
    for variant, claim in claims:
        against.setdefault((bool(claim.over), claim.is_control, claim.rival), []).append((variant, claim))
    summaries = [_summary(against[rival]) for rival in sorted(against)]
    sentences = [_sentence(variant.label, claim, variant.metric) for variant, claim in claims]
    return Answer(summaries, sentences, _without_control(compared))


def sweep_files(study: str, runs: Sequence[Run]) -> Iterator[Path]:
    """The files that may hold the sweep of a study; a study whose name is no file's name has none."""
    if study != Path(study).name:
        return
    place = runs[0].place if runs else ""
    for folder in dict.fromkeys([Path.cwd(), *Path(place).resolve().parents]):
        yield folder / SWEEPS / f"{study}.yaml"


def _plain_question(variants: Sequence[Variant]) -> str:
    baseline = next((variant.label for variant in variants if variant.is_baseline), "")
    metric = variants[0].metric
    better = "higher" if metric.higher_is_better else "lower"
    others = [variant.label for variant in variants if variant.runs and not variant.is_baseline]
    match others:
        case []:
            return f"What {metric.words} does {baseline} reach?" if baseline else f"What {metric.words} is reached?"
        case [other]:
            return f"Does {other} have a {better} {metric.words} than {baseline}?"
    return f"Which of {len(others)} variants have a {better} {metric.words} than {baseline}?"


def _summary(against: Sequence[tuple[Variant, Claim]]) -> str:
    """`Against static_3x3: a is better; b and c are not better; d is undecided.`, of the claims against one rival."""
    labels: dict[str, list[str]] = {verdict: [] for verdict in SUMMARY_WORDS}
    for variant, claim in against:
        labels[claim.verdict].append(claim.subject(variant.label))
    first, claim = against[0]
    parts = [
        f"{enumerated(labels[verdict])} {words[len(labels[verdict]) > 1]}"
        for verdict, words in (PART_WORDS if claim.is_of_a_ratio else SUMMARY_WORDS).items()
        if labels[verdict]
    ]
    if claim.is_of_a_ratio:
        part = f"{claim.part_in_words} {claim.rival}'s {first.metric.words}"
        return f"{part[0].upper()}{part[1:]}: {'; '.join(parts)}."
    kind = _control(claim)
    return f"Against {claim.rival_in_words}{f', the {kind}' if claim.is_control else ''}: {'; '.join(parts)}."


def _sentence(label: str, claim: Claim, metric: Metric) -> Sentence:
    rival = f"{claim.rival} ({_control(claim)})" if claim.is_control else claim.rival_in_words
    difference = claim.paired.difference
    words = {SUPPORTED: "beats", REFUTED: "does not beat", INTERIM: "is not judged yet against"}.get(claim.verdict)
    if claim.verdict == EQUIVALENT:
        words = f"differs by less than {claim.declared.margin_in_words} from"
    if claim.is_of_a_ratio:
        reaches = {SUPPORTED: "reaches", REFUTED: "does not reach", INTERIM: "is not judged yet against"}
        words = f"{reaches.get(claim.verdict, 'is not shown to reach')} {claim.part_in_words}"
        rival = f"{claim.rival}'s {metric.words}"
    if not words:
        words = f"is not shown to {'differ from' if difference.low <= 0 <= difference.high else 'beat'}"
    sentence = f"{claim.subject(label)} {words} {rival}"
    return Sentence(label, claim.verdict_in_words, sentence, _evidence(claim, metric))


def _control(claim: Claim) -> str:
    return "declared control" if claim.is_declared_control else "control of equal capacity"


def _evidence(claim: Claim, metric: Metric) -> str:
    difference, detectable = claim.paired.difference, claim.part.detectable
    tuned = f"; tuned alike: {claim.tuned.replace(': ', ', ')}."
    if not difference.n:
        return f"they share no seed{tuned}"
    form, unit = numbers.form_of(metric), metric.difference_unit
    pairs, interval = number_of(difference.n, "pair"), form.difference_interval(difference.low, difference.high)
    parts = [
        f"{form.difference(difference.mean)} {unit}",
        "no interval" if math.isnan(difference.low) else f"{claim.interval_in_words} {interval}",
        f"n = {pairs}",
    ]
    if claim.is_of_a_ratio:
        parts.append(f"ratio {numbers.ratio(claim.ratio.mean, claim.ratio.low, claim.ratio.high)}")
    if not math.isnan(claim.p_holm):
        parts.append(f"p (Holm) {numbers.p_value(claim.p_holm)}")
    if claim.is_normal_in_doubt:
        parts.append(f"while the exact sign-flip p {numbers.p_value(claim.part.sign_flip_p)} decides otherwise")
    to = f" to {claim.declared.ratio:g} times {claim.rival}" if claim.is_of_a_ratio else ""
    reach = f"; {pairs} find a difference{to} of {form.value(detectable)} {unit} or more with power {POWER:g}"
    needed = (
        f"; {numbers.pairs(claim.pairs_needed)} pairs would decide a difference of {claim.declared.margin_in_words}"
    )
    more = ("" if math.isnan(detectable) else reach) + ("" if math.isnan(claim.pairs_needed) else needed)
    return f"{', '.join(parts)}{more}{tuned}"


def _without_control(variants: Sequence[Variant]) -> list[str]:
    """Name the variants of another size than the baseline's that no control of equal capacity separates from it."""
    baselines = [variant for variant in variants if variant.is_baseline]
    controls = {claim.rival for variant in variants for claim in variant.claims if claim.is_control}
    lacking = [
        variant.label
        for variant in variants
        if variant.against_baseline
        and not variant.against_control
        and variant.label not in controls
        and not any(is_equal_in_size(variant, baseline) for baseline in baselines)
    ]
    if not lacking:
        return []
    return [f"No control of equal capacity was run for {enumerated(lacking)}: a difference may come from size alone."]


def _alone(variant: Variant) -> str:
    n, mean, sd = variant.summary.n, variant.summary.mean, variant.summary.sd
    form, metric = numbers.form_of(variant.metric), variant.metric
    reached = form.mean_and_sd(mean, sd) if n > 1 else form.value(mean)
    return f"{variant.label} reaches {reached} {metric.unit} {metric.words} (n = {n})."
