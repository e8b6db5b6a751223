"""Numbers as people read them in a printed table; NaN is an en dash."""

import math

from ..comparing.equivalence import MOST_PAIRS

MISSING = "–"
PREFIXES = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, ""))


def percent(fraction: float) -> str:
    """A fraction in percent, 2 decimals."""
    return MISSING if math.isnan(fraction) else f"{_no_negative_zero(100 * fraction):.2f}"


def points(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return MISSING if math.isnan(fraction) else f"{_no_negative_zero(100 * fraction):+.2f}"


def mean_and_sd(mean: float, sd: float) -> str:
    """`74.31 ± 0.42`, fractions in percent."""
    return MISSING if math.isnan(mean) else f"{percent(mean)} ± {percent(sd)}"


def percent_interval(low: float, high: float) -> str:
    """`[73.27, 75.35]`, fractions in percent."""
    return MISSING if math.isnan(low) else f"[{percent(low)}, {percent(high)}]"


def points_interval(low: float, high: float) -> str:
    """`[-0.21, +1.25]`, differences of fractions in percentage points."""
    return MISSING if math.isnan(low) else f"[{points(low)}, {points(high)}]"


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


def signed(value: float) -> str:
    """Two decimals with the sign, for correlations and effect sizes."""
    return MISSING if math.isnan(value) else f"{_no_negative_zero(value):+.2f}"


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


def loss(value: float) -> str:
    """Three decimals."""
    return MISSING if math.isnan(value) else f"{value:.3f}"


def amount(value: float) -> str:
    """Three significant digits, thousands separated."""
    if math.isnan(value):
        return MISSING
    return f"{value:,.0f}" if value >= 99.95 else _three_digits(value)


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - int(math.log10(value)))}f}" if value >= 1 else f"{value:.2f}"


def _no_negative_zero(value: float) -> float:
    return 0.0 if abs(value) < 0.005 else value
