"""Whether two arms differ by less than a margin, and how many pairs would tell."""

import math

from scipy.special import stdtr

from .statistics import ALPHA, Summary, detectable_difference

# More would never be run.
MOST_PAIRS = 10_000


def equivalence_p(difference: Summary, margin: float) -> float:
    """p of the claim that the true difference lies within +-margin: two one-sided t tests (Schuirmann 1987).

    It is the larger p of the two. NaN where no spread was seen or no margin is given.
    """
    if math.isnan(margin) or not difference.sd > 0:
        return math.nan
    return float(stdtr(difference.n - 1, (abs(difference.mean) - margin) / difference.standard_error))


def pairs_needed(sd: float, margin: float, alpha: float = ALPHA) -> float:
    """Smallest number of pairs that find a true difference of `margin` with POWER; infinite beyond MOST_PAIRS.

    See `detectable_difference`. NaN where no spread was seen or no margin is given.
    """
    if math.isnan(margin) or not sd > 0:
        return math.nan
    few, many = 1, MOST_PAIRS
    if detectable_difference(sd, many, alpha) > margin:
        return math.inf
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if detectable_difference(sd, middle, alpha) > margin else (few, middle)
    return many
