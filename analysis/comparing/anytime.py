"""What may be read at any number of pairs, however often one looks: e-value and interval of a mean difference.

The e-value compares two models of normal differences whose SD is unknown (right-Haar prior): a standardised effect
drawn from a normal distribution of variance 1 / PRIOR_PAIRS, and none. Under the null it stays below 20 at all n with
probability 0.95 or more (Wang and Ramdas 2023, arXiv 2310.03722), so 1 / e is a p-value at any n.
"""

import math
import sys

from .statistics import ALPHA

# The prior weighs as much as so many pairs. Fixed in advance, as it must be; narrowest intervals at about 10 pairs.
PRIOR_PAIRS = 0.25
# Of a number that a float can hold, with room for rounding.
LARGEST_LOGARITHM = math.log(sys.float_info.max) - 1


def e_value(effect_size: float, n: int) -> float:
    """Evidence of n pairs against a mean of 0, from d_z = mean / SD of the differences; NaN where d_z is.

    With t^2 = n d_z^2, nu = n - 1 and r = f / (f + n) it is sqrt(r) ((1 + t^2/nu) / (1 + r t^2/nu))^(n/2).
    """
    if math.isnan(effect_size):
        return math.nan
    r, ratio = PRIOR_PAIRS / (PRIOR_PAIRS + n), n * effect_size**2 / (n - 1)
    logarithm = math.log(r) / 2 + n / 2 * (math.log1p(ratio) - math.log1p(r * ratio))
    return math.exp(min(logarithm, LARGEST_LOGARITHM))


def anytime_half_width(sd: float, n: int) -> float:
    """Half of the interval of all means with an e-value below 1 / ALPHA.

    NaN where no spread was seen, and where no data could rule out any mean yet, which is so below 4 pairs.
    """
    if n < 2 or not sd > 0:
        return math.nan
    r = PRIOR_PAIRS / (PRIOR_PAIRS + n)
    root = (ALPHA**2 * r) ** (-1 / n)
    return sd * math.sqrt((root - 1) / (1 - r * root) * (n - 1) / n) if r * root < 1 else math.nan
