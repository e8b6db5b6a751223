"""Every quantity that a table can show of a row, and which of them each table shows by default."""

from collections.abc import Callable, Sequence

from ..comparing.statistics import Summary
from ..comparing.variants import Row
from . import numbers
from .columns import Column, Entry, Heading
from .numbers import MISSING

BASELINE = "baseline"


def chosen(keys: Sequence[str]) -> tuple[Column, ...]:
    """The columns of these keys, in the given order. Raises ValueError for an unknown one or none at all."""
    known = {column.key: column for column in COLUMNS}
    unknown = [key for key in keys if key not in known]
    if unknown or not keys:
        raise ValueError(f"no column {', '.join(unknown) or 'chosen'}; the columns are: {', '.join(known)}")
    return tuple(known[key] for key in dict.fromkeys(keys))


def _number(key: str, heading: Heading, number: str, form: Callable[[float], str], field: str = "") -> Column:
    """A column of the mean of one of result.json's numbers."""

    def mean(row: Row) -> float:
        return row.mean(number)

    return Column(key, heading, lambda e: form(mean(e.row)), (field or f"{number}_mean",), best=mean)


def _difference(entry: Entry) -> str:
    difference = entry.claim.paired.difference
    if entry.row.is_baseline:
        return BASELINE
    mean, interval = numbers.points(difference.mean), _interval(difference)
    return mean if interval == MISSING else f"{mean} {interval}"


def _interval(difference: Summary) -> str:
    return numbers.points_interval(difference.low, difference.high)


def _against(entry: Entry) -> str:
    return f"{entry.claim.rival} (control)" if entry.claim.is_control else entry.claim.rival or MISSING


def _count(n: int) -> str:
    return f"{n:,}" if n else MISSING


N = Column("n", Heading("n"), lambda e: str(e.row.accuracy.n), ())
ACCURACY = Column(
    "accuracy",
    Heading("test accuracy", "%", "↑"),
    lambda e: numbers.mean_and_sd(e.row.accuracy.mean, e.row.accuracy.sd),
    ("test_accuracy_mean", "test_accuracy_sd"),
    best=lambda row: row.accuracy.mean,
)
INTERVAL = Column(
    "interval",
    Heading("95 % interval", "%"),
    lambda e: numbers.percent_interval(e.row.accuracy.low, e.row.accuracy.high),
    ("test_accuracy_ci95_low", "test_accuracy_ci95_high"),
)
DIFFERENCE = Column(
    "delta",
    Heading("Δ", "points", "↑"),
    _difference,
    ("difference_mean", "difference_ci95_low", "difference_ci95_high"),
    compares=True,
)
PARAMETERS = _number("params", Heading("params", "", "↓"), "parameters", numbers.count, "parameters")
FLOPS = _number("flops", Heading("FLOPs", "", "↓"), "flops", numbers.count, "flops")
TRAIN = _number("train", Heading("train", "s", "↓"), "train_seconds", numbers.amount)
PAIRS = Column("pairs", Heading("pairs"), lambda e: str(e.claim.paired.difference.n), ("pairs",), compares=True)
P_HOLM = Column("p", Heading("p (Holm)"), lambda e: numbers.p_value(e.claim.p_holm), ("p_holm",), compares=True)
DETECTABLE = Column(
    "detectable",
    Heading("detectable Δ", "points"),
    lambda e: numbers.percent(e.claim.paired.detectable),
    ("detectable_difference",),
    compares=True,
)
TUNED = Column(
    "tuned", Heading("tuned alike", is_text=True), lambda e: e.claim.tuned or MISSING, ("tuned_alike",), compares=True
)
VERDICT = Column(
    "verdict",
    Heading("verdict", is_text=True),
    lambda e: e.claim.verdict if e.claim.rival else MISSING,
    ("verdict",),
    compares=True,
)
SD_OF_DIFFERENCE = Column(
    "delta_sd",
    Heading("SD of Δ", "points"),
    lambda e: numbers.percent(e.claim.paired.difference.sd),
    ("difference_sd",),
    compares=True,
)
PAIRED = Column(
    "paired",
    Heading("paired 95 % interval", "points"),
    lambda e: _interval(e.claim.paired.difference),
    ("difference_ci95_low", "difference_ci95_high"),
    compares=True,
)
WELCH = Column(
    "welch",
    Heading("Welch 95 % interval", "points"),
    lambda e: numbers.points_interval(e.claim.welch.low, e.claim.welch.high),
    ("welch_difference_mean", "welch_ci95_low", "welch_ci95_high"),
    compares=True,
)
CORRELATION = Column(
    "correlation",
    Heading("correlation"),
    lambda e: numbers.signed(e.claim.paired.correlation),
    ("pairing_correlation",),
    compares=True,
)
EFFECT_SIZE = Column(
    "effect_size",
    Heading("effect size", "d_z"),
    lambda e: numbers.signed(e.claim.paired.effect_size),
    ("effect_size_dz",),
    compares=True,
)
P = Column(
    "p_unadjusted", Heading("p", "unadjusted"), lambda e: numbers.p_value(e.claim.paired.p), ("p",), compares=True
)
FURTHER = (
    _number("val", Heading("validation accuracy", "%", "↑"), "val_accuracy", numbers.percent),
    _number("last", Heading("last weights' test accuracy", "%", "↑"), "last_test_accuracy", numbers.percent),
    _number("train_accuracy", Heading("training accuracy", "%", "↑"), "train_accuracy", numbers.percent),
    _number("test_loss", Heading("test loss", "", "↓"), "test_loss", numbers.loss),
    _number("best_epoch", Heading("best epoch"), "best_epoch", numbers.amount),
    _number("latency", Heading("latency", "ms", "↓"), "latency_ms", numbers.amount),
    _number("memory", Heading("peak memory", "MB", "↓"), "peak_memory_mb", numbers.amount),
    _number("speed", Heading("speed", "images/s", "↑"), "images_per_second", numbers.amount),
)
IMAGES = Column("images", Heading("images"), lambda e: _count(e.accuracy_over_images.n), ("images",))
IMAGE_SE = Column(
    "image_se",
    Heading("image SE", "points"),
    lambda e: numbers.percent(e.accuracy_over_images.standard_error),
    ("image_se",),
)
IMAGE_DIFFERENCE_SE = Column(
    "image_delta_se",
    Heading("image SE of Δ", "points"),
    lambda e: numbers.percent(e.difference_over_images.standard_error),
    ("image_difference_se",),
    compares=True,
)
IMAGE_DIFFERENCE = Column(
    "image_delta",
    Heading("image 95 % interval", "points"),
    lambda e: _interval(e.difference_over_images),
    ("image_difference_mean", "image_difference_ci95_low", "image_difference_ci95_high"),
    compares=True,
)

COSTS = (PARAMETERS, FLOPS, TRAIN)
RESULTS = (N, ACCURACY, INTERVAL, DIFFERENCE, *COSTS)
# Side by side there is a table for each of these.
ABREAST = (ACCURACY, DIFFERENCE)
AGAINST = Column("against", Heading("against", is_text=True), _against, ("baseline",), compares=True)
POINTS = Column("", Heading("Δ", "points", "↑"), lambda e: numbers.points(e.claim.paired.difference.mean), ())
VERDICTS = (AGAINST, PAIRS, POINTS, P_HOLM, DETECTABLE, TUNED, VERDICT)
PAIRING = (AGAINST, SD_OF_DIFFERENCE, PAIRED, WELCH, CORRELATION, EFFECT_SIZE, P)
ON_IMAGES = (AGAINST, IMAGES, IMAGE_SE, POINTS, IMAGE_DIFFERENCE_SE, IMAGE_DIFFERENCE)
COLUMNS = (
    *RESULTS,
    *FURTHER,
    AGAINST,
    PAIRS,
    P_HOLM,
    DETECTABLE,
    TUNED,
    VERDICT,
    SD_OF_DIFFERENCE,
    PAIRED,
    WELCH,
    CORRELATION,
    EFFECT_SIZE,
    P,
    IMAGES,
    IMAGE_SE,
    IMAGE_DIFFERENCE_SE,
    IMAGE_DIFFERENCE,
)
