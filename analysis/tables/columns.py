"""Every column of a table of variants, declared once in COLUMNS, and which of them each table shows."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from ..comparing.claims import NO_CLAIM, Claim
from ..comparing.crossed import NO_CROSSED, Crossed
from ..comparing.image_level import ImageLevel
from ..comparing.statistics import Interval, Summary, summarise
from ..comparing.variants import Variant
from ..reading import metrics
from . import numbers
from .numbers import MISSING
from .table import Column, Heading, column

NO_SUMMARY = summarise([])
MEAN_CHOICE_ACCURACY = "test_accuracy_mean_choice"


@dataclass(frozen=True)
class Entry:
    """The subject of a table's row: a variant, one of its claims, and the statistics of both over the test images."""

    variant: Variant
    claim: Claim
    accuracy_over_images: Summary
    difference_over_images: Summary
    accuracy_over_both: Crossed
    difference_over_both: Crossed

    @property
    def is_baseline(self) -> bool:
        """Whether it is the baseline itself, and not one of its claims."""
        return self.variant.is_baseline and self.claim is NO_CLAIM


def entry(variant: Variant, claim: Claim | None, images: ImageLevel) -> Entry:
    """An entry of the variant, whose claim may be None."""
    claim = claim or NO_CLAIM
    return Entry(
        variant,
        claim,
        images.accuracy.get((variant.group, variant.label), NO_SUMMARY),
        images.differences.get((variant.group, variant.label, claim.rival), NO_SUMMARY),
        images.accuracy_both.get((variant.group, variant.label), NO_CROSSED),
        images.differences_both.get((variant.group, variant.label, claim.rival), NO_CROSSED),
    )


def chosen(keys: Sequence[str]) -> tuple[Column[Entry], ...]:
    """The columns of these keys, in the given order. Raises ValueError for an unknown one or none at all."""
    columns = {column.key: column for column in COLUMNS}
    unknown = [key for key in keys if key not in columns]
    if unknown or not keys:
        raise ValueError(f"no column {', '.join(unknown) or 'chosen'}; the columns are: {', '.join(columns)}")
    return tuple(columns[key] for key in dict.fromkeys(keys))


def compared_by(metric: metrics.Metric, columns: Sequence[Column[Entry]]) -> tuple[Column[Entry], ...]:
    """The columns as they are where variants are compared by another metric than test accuracy."""
    own = {} if metric == metrics.TEST_ACCURACY else _compared_by(metric)
    return tuple(own.get(column.key, column) for column in columns)


_of_variant: Callable[..., Column[Entry]] = column
_of_claim: Callable[..., Column[Entry]] = partial(column, compares=True)


def _mean(key: str, heading: Heading, number: str, form: Callable[[float], str]) -> Column[Entry]:
    """The mean over the seeds of one of result.json's numbers."""
    return _of_variant(key, heading, {f"{number}_mean": lambda e: e.variant.mean(number)}, form)


def _measured(key: str, name: str, number: str, metric: metrics.Metric) -> Column[Entry]:
    """The mean over the seeds of what a metric measured for the result."""
    heading = Heading(name, "%" if metric.is_fraction else "", metric.direction)
    return _mean(key, heading, number, numbers.percent if metric.is_fraction else numbers.loss)


def _constant(key: str, name: str, number: str) -> Column[Entry]:
    """A cost that is the same for every seed; the less the better."""
    return _of_variant(key, Heading(name, "", "↓"), {number: lambda e: e.variant.mean(number)}, numbers.count)


def _difference_of(e: Entry) -> Summary:
    return e.claim.paired.difference


def _against(e: Entry) -> str:
    if e.claim.over:
        return f"gain over {e.claim.over} against that of {e.claim.rival}"
    return f"{e.claim.rival} (control)" if e.claim.is_control else e.claim.rival or MISSING


def _ends(
    field: str, interval_of: Callable[[Entry], Summary | Interval | Crossed]
) -> dict[str, Callable[[Entry], float]]:
    """The fields of an interval's two ends."""
    return {f"{field}_low": lambda e: interval_of(e).low, f"{field}_high": lambda e: interval_of(e).high}


def _boundary(e: Entry) -> float:
    """Where a study declared looks, what p is compared with at this one."""
    return e.claim.declared.level(e.claim.n) if e.claim.declared.looks else math.nan


DIFFERENCE_MEAN: dict[str, Callable[[Entry], float]] = {"difference_mean": lambda e: _difference_of(e).mean}
DIFFERENCE_ENDS = _ends("difference_ci95", _difference_of)


def _compared_by(metric: metrics.Metric) -> dict[str, Column[Entry]]:
    """The columns that depend on what variants are compared by, by their keys."""
    form, unit = numbers.form_of(metric), metric.difference_unit

    def difference(e: Entry) -> str:
        difference = _difference_of(e)
        interval = "" if math.isnan(difference.low) else f" {form.difference_interval(difference.low, difference.high)}"
        return "baseline" if e.is_baseline else f"{form.difference(difference.mean)}{interval}"

    columns = (
        _of_variant(
            "accuracy",
            Heading(metric.words, metric.unit, metric.direction),
            {
                f"{metric.name}_mean": lambda e: e.variant.summary.mean,
                f"{metric.name}_sd": lambda e: e.variant.summary.sd,
            },
            form.mean_and_sd,
        ),
        _of_variant(
            "interval",
            Heading("95 % interval", metric.unit),
            _ends(f"{metric.name}_ci95", lambda e: e.variant.summary),
            form.interval,
        ),
        _of_claim("points", Heading("Δ", unit, metric.direction), DIFFERENCE_MEAN, form.difference),
        _of_claim("delta_sd", Heading("SD of Δ", unit), {"difference_sd": lambda e: _difference_of(e).sd}, form.value),
        Column("delta", Heading("Δ", unit, metric.direction), DIFFERENCE_MEAN | DIFFERENCE_ENDS, difference, True),
        _of_claim("paired", Heading("paired 95 % interval", unit), DIFFERENCE_ENDS, form.difference_interval),
        _of_claim(
            "detectable",
            Heading("detectable Δ", unit),
            {"detectable_difference": lambda e: e.claim.part.detectable},
            form.value,
        ),
        _of_claim(
            "welch",
            Heading("Welch 95 % interval", unit),
            {"welch_difference_mean": lambda e: e.claim.welch.mean, **_ends("welch_ci95", lambda e: e.claim.welch)},
            lambda mean, low, high: form.difference_interval(low, high),
        ),
    )
    return {column.key: column for column in columns}


BY_ACCURACY = _compared_by(metrics.TEST_ACCURACY)

# All of them, in the order of the CSV's fields.
COLUMNS: tuple[Column[Entry], ...] = (
    _of_variant("n", Heading("n"), {"n": lambda e: e.variant.summary.n}),
    BY_ACCURACY["accuracy"],
    BY_ACCURACY["interval"],
    Column(
        "against",
        Heading("against", is_text=True),
        {"baseline": lambda e: e.claim.rival if e.claim.is_control or e.claim.over else e.variant.baseline},
        _against,
        compares=True,
    ),
    Column(
        "pairs",
        Heading("pairs"),
        {"pairs": lambda e: math.nan if e.is_baseline else _difference_of(e).n},
        lambda e: str(_difference_of(e).n),
        compares=True,
    ),
    BY_ACCURACY["points"],
    BY_ACCURACY["delta_sd"],
    BY_ACCURACY["delta"],
    BY_ACCURACY["paired"],
    _of_claim(
        "ratio",
        Heading("ratio"),
        {"ratio_mean": lambda e: e.claim.ratio.mean, **_ends("ratio_ci95", lambda e: e.claim.ratio)},
        numbers.ratio,
    ),
    _of_claim("p_unadjusted", Heading("p", "unadjusted"), {"p": lambda e: e.claim.part.p}, numbers.p_value),
    _of_claim("p", Heading("p (Holm)"), {"p_holm": lambda e: e.claim.p_holm}, numbers.p_value),
    _of_claim("boundary", Heading("boundary of p"), {"p_boundary": _boundary}, numbers.small_p),
    _of_claim(
        "equivalence",
        Heading("p of equivalence", "Holm"),
        {"equivalence_p_holm": lambda e: e.claim.equivalence_p_holm},
        numbers.p_value,
    ),
    _of_claim("e_value", Heading("e-value"), {"e_value": lambda e: e.claim.e_value}, numbers.amount),
    Column(
        "ahead",
        Heading("ahead", "seeds"),
        {"seeds_ahead": lambda e: e.claim.paired.ahead if e.claim.n else math.nan},
        lambda e: f"{e.claim.paired.ahead} of {e.claim.n}" if e.claim.n else MISSING,
        compares=True,
    ),
    _of_claim(
        "sign_flip", Heading("sign-flip p"), {"sign_flip_p": lambda e: e.claim.part.sign_flip_p}, numbers.p_value
    ),
    _of_claim("needed", Heading("pairs needed"), {"pairs_needed": lambda e: e.claim.pairs_needed}, numbers.pairs),
    BY_ACCURACY["detectable"],
    _of_claim(
        "effect_size",
        Heading("effect size", "d_z"),
        {"effect_size_dz": lambda e: e.claim.paired.effect_size},
        numbers.signed,
    ),
    _of_claim(
        "correlation",
        Heading("correlation"),
        {"pairing_correlation": lambda e: e.claim.paired.correlation},
        numbers.signed,
    ),
    BY_ACCURACY["welch"],
    _of_claim(
        "verdict",
        Heading("verdict", is_text=True),
        {"verdict": lambda e: e.claim.verdict_in_words if e.claim.rival else ""},
    ),
    _of_claim("tuned", Heading("tuned alike", is_text=True), {"tuned_alike": lambda e: e.claim.tuned}),
    _constant("params", "params", "parameters"),
    _constant("flops", "FLOPs", "flops"),
    _mean("train", Heading("train", "s", "↓"), "train_seconds", numbers.amount),
    _measured("val", "validation accuracy", "val_accuracy", metrics.ACCURACY),
    _measured("last", "last weights' test accuracy", "last_test_accuracy", metrics.ACCURACY),
    _measured("train_accuracy", "training accuracy", "train_accuracy", metrics.ACCURACY),
    _measured("test_loss", "test loss", "test_loss", metrics.LOSS),
    *(
        _measured(
            f"accuracy_{channels}", f"test accuracy, {channels} only", f"test_accuracy_{channels}", metrics.ACCURACY
        )
        for channels in metrics.CHANNEL_SUBSETS
    ),
    _mean("mean_choice", Heading("with mean choice", "%"), MEAN_CHOICE_ACCURACY, numbers.percent),
    _mean("best_epoch", Heading("best epoch"), "best_epoch", numbers.amount),
    _mean("latency", Heading("latency", "ms", "↓"), "latency_ms", numbers.amount),
    _mean("memory", Heading("peak memory", "MiB", "↓"), "peak_memory_mb", numbers.amount),
    _mean("speed", Heading("speed", "images/s", "↑"), "images_per_second", numbers.amount),
    _of_variant("images", Heading("images"), {"images": lambda e: e.accuracy_over_images.n or math.nan}, numbers.whole),
    _of_variant(
        "image_se",
        Heading("image SE", "points"),
        {"image_se": lambda e: e.accuracy_over_images.standard_error},
        numbers.percent,
    ),
    _of_claim(
        "image_delta_se",
        Heading("image SE of Δ", "points"),
        {"image_difference_se": lambda e: e.difference_over_images.standard_error},
        numbers.percent,
    ),
    _of_claim(
        "image_delta",
        Heading("image 95 % interval", "points"),
        {
            "image_difference_mean": lambda e: e.difference_over_images.mean,
            **_ends("image_difference_ci95", lambda e: e.difference_over_images),
        },
        lambda mean, low, high: numbers.points_interval(low, high),
    ),
    _of_variant(
        "both",
        Heading("accuracy over seeds and images", "%"),
        _ends("seed_and_image_ci95", lambda e: e.accuracy_over_both),
        numbers.percent_interval,
    ),
    _of_claim(
        "both_delta",
        Heading("Δ over seeds and images", "points"),
        _ends("seed_and_image_difference_ci95", lambda e: e.difference_over_both),
        numbers.points_interval,
    ),
)

# What the tables show by default, all of COLUMNS; side by side there is a table for each of ABREAST.
COST_COLUMNS = chosen(["params", "flops", "train"])
RESULTS = (*chosen(["n", "accuracy", "interval", "delta"]), *COST_COLUMNS)
MEAN_CHOICE = chosen(["mean_choice"])
ABREAST = chosen(["accuracy", "delta"])
VERDICTS = chosen(
    [
        "against",
        "pairs",
        "points",
        "ratio",
        "p",
        "e_value",
        "detectable",
        "ahead",
        "sign_flip",
        "needed",
        "tuned",
        "verdict",
    ]
)
PAIRING = chosen(
    ["against", "delta_sd", "paired", "welch", "correlation", "effect_size", "p_unadjusted", "boundary", "equivalence"]
)
# Left out of a printed table where no row has a value.
IF_ANY = chosen(["ratio", "boundary", "equivalence", "sign_flip", "needed"])
ON_IMAGES = chosen(["against", "images", "image_se", "both", "points", "image_delta_se", "image_delta", "both_delta"])
# What a table loses where it is too wide, the first first; then its last column, until two are left.
DISPENSABLE = (
    *("interval", "train", "tuned", "correlation", "effect_size", "images", "welch", "flops", "mean_choice"),
    *("detectable", "sign_flip", "boundary", "equivalence", "n", "e_value", "image_se", "image_delta_se"),
    *("delta_sd", "image_delta", "needed", "ahead", "pairs", "both", "params", "p_unadjusted", "p", "points"),
)
# In CSV these columns, of the test images, their channels and their choices, come only when they are chosen, ...
IMAGE_COLUMNS = chosen(
    ["images", "image_se", "image_delta_se", "image_delta", "both", "both_delta"]
    + [f"accuracy_{channels}" for channels in metrics.CHANNEL_SUBSETS]
    + ["mean_choice"]
)
# ... and these not a second time for the control and gains.
BASELINE_ONLY = chosen(["ratio", "effect_size", "correlation", "welch"])


def results(variants: Iterable[Variant]) -> tuple[Column[Entry], ...]:
    """RESULTS, with the accuracy with the mean choice where all runs of a variant have it."""
    if all(math.isnan(variant.mean(MEAN_CHOICE_ACCURACY)) for variant in variants):
        return RESULTS
    return (*RESULTS[: -len(COST_COLUMNS)], *MEAN_CHOICE, *COST_COLUMNS)
