"""Numbers as people read them in a printed table; NaN is an en dash."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..comparing.equivalence import MOST_PAIRS
from ..reading.metrics import LOSS, Metric

MISSING = "–"
MOST_DECIMALS = 4
LARGEST_AMOUNT = 1e12
PREFIXES = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, ""))


@dataclass(frozen=True)
class Form:
    """How values of one kind are printed: multiplied by `scale`, with so many decimals."""

    scale: float
    decimals: int

    def value(self, value: float) -> str:
        """`74.31`."""
        return MISSING if math.isnan(value) else f"{self._shown(value):.{self.decimals}f}"

    def difference(self, value: float) -> str:
        """`+0.52`, with its sign."""
        return MISSING if math.isnan(value) else f"{self._shown(value):+.{self.decimals}f}"

    def mean_and_sd(self, mean: float, sd: float) -> str:
        """`74.31 ± 0.42`."""
        return MISSING if math.isnan(mean) else f"{self.value(mean)} ± {self.value(sd)}"

    def interval(self, low: float, high: float) -> str:
        """`[73.27, 75.35]`."""
        return MISSING if math.isnan(low) else f"[{self.value(low)}, {self.value(high)}]"

    def difference_interval(self, low: float, high: float) -> str:
        """`[-0.21, +1.25]`."""
        return MISSING if math.isnan(low) else f"[{self.difference(low)}, {self.difference(high)}]"

    def _shown(self, value: float) -> float:
        shown = self.scale * value
        return 0.0 if abs(shown) < 0.5 * 10**-self.decimals else shown


def form_of(metric: Metric) -> Form:
    """How a metric's values are printed."""
    return Form(metric.scale, metric.decimals)


# Fractions in percent, and their differences in percentage points.
PERCENT = Form(100.0, 2)
percent, points = PERCENT.value, PERCENT.difference
mean_and_sd, percent_interval, points_interval = PERCENT.mean_and_sd, PERCENT.interval, PERCENT.difference_interval
loss = form_of(LOSS).value
# For correlations and effect sizes.
signed = Form(1.0, 2).difference


def ratio(mean: float, low: float, high: float) -> str:
    """`0.953 [0.921, 0.986]`."""
    return f"{mean:.3f}" if math.isnan(low) else f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def p_value(p: float) -> str:
    """Three decimals, `<0.001` below."""
    if math.isnan(p):
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def small_p(p: float) -> str:
    """A limit for p, four decimals."""
    return MISSING if math.isnan(p) else f"{p:.4f}"


def pairs(n: float) -> str:
    """A number of pairs that may be out of reach."""
    return f"{n:,.0f}" if math.isfinite(n) else f">{MOST_PAIRS:,}"


def whole(value: float) -> str:
    """A whole number, thousands separated."""
    return f"{value:,}"


def count(value: float) -> str:
    """Three significant digits with a prefix: `2.36 M`, `390 k`; whole numbers below 1,000 as they are."""
    if math.isnan(value):
        return MISSING
    # 999,700 is 1.00 M, not 1000 k: the prefix is chosen for the number as it will be printed.
    rounded = float(f"{value:.3g}") if value >= 1000 else value
    scale, prefix = next((pair for pair in PREFIXES if rounded >= pair[0]), PREFIXES[-1])
    return f"{_three_digits(rounded / scale)}{prefix}" if scale > 1 else f"{rounded:g}"


def amount(value: float) -> str:
    """Three significant digits, thousands separated; what is larger than anything counted here as a power of ten."""
    if math.isnan(value):
        return MISSING
    if value >= LARGEST_AMOUNT:
        return f"{value:.2e}"
    return f"{value:,.0f}" if value >= 99.95 else _three_digits(value)


def counts(values: Sequence[float]) -> tuple[str, list[str]]:
    """Counts in the unit of the largest, and that unit: `0.085` and `2.445` in `M`."""
    known = [value for value in values if not math.isnan(value)]
    scale, prefix = next((pair for pair in PREFIXES if known and max(known) >= pair[0]), PREFIXES[-1])
    return prefix.strip(), amounts([value / scale for value in values])[1]


def amounts(values: Sequence[float]) -> tuple[str, list[str]]:
    """Numbers with the decimals that give the smallest two significant digits and the largest three; no unit."""
    sizes = [math.floor(math.log10(value)) for value in values if math.isfinite(value) and value > 0]
    is_whole = all(float(value).is_integer() for value in values if math.isfinite(value))
    decimals = 0 if is_whole or not sizes else min(max(1 - min(sizes), 2 - max(sizes), 0), MOST_DECIMALS)
    return "", [MISSING if math.isnan(value) else _amount(value, decimals) for value in values]


def _amount(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}" if value < LARGEST_AMOUNT else f"{value:.2e}"


# How a number is printed by itself -> how a column of such numbers is printed in one unit.
IN_ONE_UNIT: Mapping[Callable[..., str], Callable[[Sequence[float]], tuple[str, list[str]]]] = {
    count: counts,
    amount: amounts,
}


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - int(math.log10(value)))}f}" if value >= 1 else f"{value:.2f}"
