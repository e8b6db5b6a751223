"""Statistics over a handful of seeds: pure functions of numbers, Student t throughout, NaN where undefined.

Bootstrap intervals are left out on purpose: with 3 seeds a nominal 95 % one covers 3 times in 4. Only scipy.special is
imported: scipy.stats, against which all this is tested, takes longer to load than a table to print.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import nctdtrinc, stdtr, stdtrit

ALPHA = 0.05
POWER = 0.8
# An exact (sign-flip) test of n pairs has p >= 2^(1 - n), which is below ALPHA from here on.
EXACT_PAIRS = 6
# Beyond, 2^n sign patterns are too many to count, and t needs no check.
MOST_EXACT_PAIRS = 40


@dataclass(frozen=True)
class Summary:
    """Mean of n values with sample SD (ddof = 1) and the ends of its t interval; NaN where n is too small."""

    n: int
    mean: float
    sd: float
    low: float
    high: float

    @property
    def standard_error(self) -> float:
        """Standard error of the mean."""
        return self.sd / math.sqrt(self.n) if self.n else math.nan


@dataclass(frozen=True)
class Paired:
    """Differences treatment - baseline over shared seeds, their two-sided p, and what pairing was worth.

    `ahead` is in how many of them the treatment is better, `sign_flip_p` the exact p of the same differences.
    """

    difference: Summary
    p: float
    ahead: int
    sign_flip_p: float
    detectable: float
    effect_size: float
    correlation: float


@dataclass(frozen=True)
class Interval:
    """An estimate between the two ends of its confidence interval."""

    mean: float
    low: float
    high: float


def spread(values: np.ndarray, scale: float) -> float:
    """Sample SD (ddof = 1), NaN below 2 values or if one is not finite; 0 where it is but the rounding of numbers of
    size `scale`."""
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    sd = float(np.std(values, ddof=1))
    return 0.0 if sd <= 1e-12 * scale else sd


def half_width(standard_error: float, df: float, alpha: float = ALPHA) -> float:
    """Half of a 1 - alpha t interval; NaN where no spread was seen, as equal values prove no certainty."""
    if not standard_error > 0 or df < 1:
        return math.nan
    return float(stdtrit(df, 1 - alpha / 2)) * standard_error


def summarise(values: Sequence[float]) -> Summary:
    """Summary of the values."""
    numbers = np.asarray(values, dtype=np.float64)
    return _summary(numbers, float(np.max(np.abs(numbers), initial=0.0)))


def _summary(numbers: np.ndarray, scale: float) -> Summary:
    n = len(numbers)
    if n == 0:
        return Summary(0, math.nan, math.nan, math.nan, math.nan)
    mean, sd = float(np.mean(numbers)), spread(numbers, scale)
    half = half_width(sd / math.sqrt(n), n - 1)
    return Summary(n, mean, sd, mean - half, mean + half)


def paired(treatment: Sequence[float], baseline: Sequence[float], *, higher_is_better: bool = True) -> Paired:
    """Compare two arms of the same seeds, entry i of both being seed i; d_z = mean / SD of the differences.

    Raises ValueError when the lengths differ.
    """
    if len(treatment) != len(baseline):
        raise ValueError(f"paired arms need the same seeds, got {len(treatment)} and {len(baseline)} values")
    ours, theirs = np.asarray(treatment, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinite losses of both
        differences = ours - theirs
    difference = _summary(differences, float(np.max(np.abs([ours, theirs]), initial=0.0)))
    effect = difference.mean / difference.sd if difference.sd > 0 else math.nan
    return Paired(
        difference=difference,
        p=paired_p(effect, difference.n),
        ahead=int(np.sum(ours > theirs if higher_is_better else ours < theirs)),
        sign_flip_p=sign_flip_p(differences),
        detectable=detectable_difference(difference.sd, difference.n),
        effect_size=effect,
        correlation=correlation(ours, theirs),
    )


def paired_p(effect_size: float, n: int) -> float:
    """Two-sided p of the paired t test, from d_z and the number of pairs; NaN where d_z is."""
    if math.isnan(effect_size):
        return math.nan
    return 2 * float(stdtr(n - 1, -abs(effect_size) * math.sqrt(n)))


def detectable_difference(sd: float, n: int, alpha: float = ALPHA) -> float:
    """Smallest true mean difference that a paired t test of n pairs finds with POWER at two-sided `alpha`.

    It is sd * ncp / sqrt(n), where ncp solves P(T > t_crit) = POWER for T noncentral t with n - 1 degrees
    of freedom and noncentrality ncp, and t_crit is the 1 - alpha/2 quantile of Student t (Cohen 1988,
    chapter 2, solved exactly). The far tail P(T < -t_crit) is below 1e-6 there and left out.
    `sd` is the SD of the differences that were seen, itself an estimate.
    """
    if n < 2 or not sd > 0:
        return math.nan
    critical = float(stdtrit(n - 1, 1 - alpha / 2))
    return sd * float(nctdtrinc(n - 1, 1 - POWER, critical)) / math.sqrt(n)


def correlation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Pearson correlation over seeds; NaN below 3 pairs (2 always give 1 or -1) or without spread."""
    if len(ours) < 3 or not all(spread(arm, float(np.max(np.abs(arm)))) > 0 for arm in (ours, theirs)):
        return math.nan
    return float(np.corrcoef(ours, theirs)[0, 1])


def welch(treatment: Sequence[float], baseline: Sequence[float]) -> Interval:
    """Unpaired difference of means with Welch's t interval (Welch 1947, Satterthwaite degrees of freedom).

    Uses every seed of both arms, shared or not; without 2 values in each or any spread the ends are NaN.
    """
    arms = summarise(treatment), summarise(baseline)
    mean = arms[0].mean - arms[1].mean
    shares = [arm.sd**2 / arm.n if arm.n else math.nan for arm in arms]
    variance = sum(shares)
    if not variance > 0:
        return Interval(mean, math.nan, math.nan)
    df = variance**2 / sum(share**2 / (arm.n - 1) for share, arm in zip(shares, arms, strict=True))
    half = half_width(math.sqrt(variance), df)
    return Interval(mean, mean - half, mean + half)


def fieller(ours: Sequence[float], theirs: Sequence[float], reach: float) -> Interval:
    """Ratio of the means of two arms of the same seeds, with all ratios that their paired test does not rule out.

    The differences y - r x have mean 0 where r is the true ratio, so that r is, exactly for normal pairs, one of those
    with |mean(y - r x)| <= reach * SD(y - r x), where `reach` is half of the test's interval in SDs (Fieller 1954,
    Some problems in interval estimation, J. R. Stat. Soc. B 16). NaN below 2 pairs; its ends also where no spread was
    seen, and where the mean of x is not told from 0.
    """
    y, x = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if len(y) < 2 or not x.mean():
        return Interval(math.nan, math.nan, math.nan)
    ratio = float(y.mean() / x.mean())
    [[yy, xy], [_, xx]] = np.cov(y, x) * reach**2
    first, middle, last = x.mean() ** 2 - xx, x.mean() * y.mean() - xy, y.mean() ** 2 - yy
    if not (first > 0 and spread(y - ratio * x, float(np.max(np.abs(y)))) > 0):
        return Interval(ratio, math.nan, math.nan)
    half = math.sqrt(middle**2 - first * last)
    return Interval(ratio, float(middle - half) / first, float(middle + half) / first)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979), in the given order; NaN stays NaN and is no comparison."""
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided p of the exact test that takes each difference's sign for chance, normal or not (Fisher 1935).

    It is the share of the 2^n sign patterns whose sum is at least as far from 0. NaN below EXACT_PAIRS pairs, where it
    cannot be small, above MOST_EXACT_PAIRS, where no difference differs from 0, and where one is infinite.
    """
    n, scale = len(differences), float(np.sum(np.abs(differences)))
    if not EXACT_PAIRS <= n <= MOST_EXACT_PAIRS or not 0 < scale < math.inf:
        return math.nan
    halves = []
    for half in (differences[: n // 2], differences[n // 2 :]):
        sums = np.zeros(1)
        for difference in half:
            sums = np.concatenate([sums + difference, sums - difference])
        halves.append(np.sort(sums))
    # Sums that are equal but for rounding are equal.
    limit = abs(float(np.sum(differences))) - 1e-9 * scale
    above = len(halves[1]) - np.searchsorted(halves[1], limit - halves[0])
    below = np.searchsorted(halves[1], -limit - halves[0], side="right")
    return min(1.0, float(np.sum(above) + np.sum(below)) / 2.0**n)


def smallest_exact_p(n: int) -> float:
    """Smallest two-sided p that an exact (sign-flip) test of n pairs can give, 2^(1 - n)."""
    return 2.0 ** (1 - n)
