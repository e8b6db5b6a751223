"""At most three lines on what a table shows, for a paper or a terminal: values, tests, how they were measured."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from ..comparing.claims import EQUIVALENT, Claim
from ..comparing.comparison import Comparison
from ..comparing.statistics import ALPHA, POWER
from ..comparing.words import number_of

# From the keys of the columns that are shown to the lines that explain them.
NotesOf = Callable[[Iterable[str]], list[str]]
# A line each of the keys of columns, in the order in which they are explained.
VALUES, TESTS, COSTS = "values", "tests", "costs"
PHRASES = {
    "accuracy": (VALUES, "{metric}: mean ± SD over {seeds}"),
    "interval": (VALUES, "95 % interval: Student t"),
    "delta": (VALUES, "Δ: difference to {baseline} with the same seed, with its {interval}"),
    "points": (VALUES, "Δ: difference with the same seed"),
    "paired": (VALUES, "paired interval: {interval} of Δ"),
    "ratio": (VALUES, "ratio: of the means, Fieller's interval"),
    "p": (TESTS, "p: paired t test, Holm-adjusted{looks}"),
    "p_unadjusted": (TESTS, "p: paired t test"),
    "e_value": (TESTS, "e-value: may be read at any n, 20 says what p = 0.05 would"),
    "detectable": (TESTS, f"detectable Δ: found with power {POWER:g}"),
    "sign_flip": (TESTS, "sign-flip p: exact, not adjusted"),
    "needed": (TESTS, f"pairs needed: to find the margin with power {POWER:g}"),
    "ahead": (TESTS, "ahead: seeds in which it is better"),
    "verdict": (
        TESTS,
        f"supported: p at most {ALPHA:g} and the interval {{better}} 0; refuted: the same {{worse}} 0",
    ),
    "welch": (TESTS, "Welch: unpaired interval"),
    "correlation": (TESTS, "correlation: of both over the seeds"),
    "effect_size": (TESTS, "effect size: mean / SD of Δ"),
    "image_se": (TESTS, "image SE: over the test images"),
    "both": (TESTS, "over seeds and images: 95 % interval for other seeds and other images"),
    "flops": (COSTS, "FLOPs: one image, forward, in canonical form"),
    "train": (COSTS, "train: wall time"),
}
# Column -> others whose phrase says the same and more.
SAID_BY = {"points": {"delta"}, "p_unadjusted": {"p"}}


def short_notes(comparison: Comparison, keys: Iterable[str]) -> list[str]:
    """The lines for a table with the columns of these keys, or for several tables together."""
    shown = set(keys)
    metric = comparison.metric
    baselines = {variants[0].baseline for variants in comparison.groups.values()}
    counts = sorted({variant.summary.n for variant in comparison.variants if variant.runs})
    number = number_of(counts[-1], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    has_looks = any(claim.declared.looks for claim in comparison.claims)
    words = {
        "metric": metric.label,
        "seeds": "the n seeds" if "n" in shown else number,
        "baseline": next(iter(baselines)) if len(baselines) == 1 else "the baseline",
        "interval": " or ".join(dict.fromkeys(claim.interval_in_words for claim in comparison.claims)),
        "looks": " and adjusted for the declared looks" if has_looks else "",
        "better": "above" if metric.higher_is_better else "below",
        "worse": "below" if metric.higher_is_better else "above",
    }
    lines: dict[str, list[str]] = {VALUES: [], TESTS: [], COSTS: []}
    for key, (line, phrase) in PHRASES.items():
        if key in shown and not shown & SAID_BY.get(key, set()):
            lines[line].append(phrase.format(**words))
    lines[TESTS] += _of_verdicts(comparison.claims) if "verdict" in shown else []
    if "accuracy" in shown:
        lines[VALUES].append("bold: the best of a column, which is no test")
        lines[COSTS].insert(0, metric.meaning.rstrip("."))
    return [f"{'; '.join(phrases)}." for phrases in lines.values() if phrases]


def _of_verdicts(claims: Sequence[Claim]) -> Iterator[str]:
    """What else than Δ against 0 the verdicts of a table may be about."""
    ratios = dict.fromkeys(f"{claim.declared.ratio:g}" for claim in claims if claim.is_of_a_ratio)
    margins = dict.fromkeys(claim.declared.margin_in_words for claim in claims if claim.verdict == EQUIVALENT)
    if ratios:
        yield f"where there is a ratio, p and verdict set it against {' or '.join(ratios)} instead of Δ against 0"
    if margins:
        yield f"equivalent: less than {' or '.join(margins)} apart, by two one-sided t tests, whatever the side of 0"
    if any(claim.is_exploratory for claim in claims):
        yield "exploratory: not declared, so without a verdict"
