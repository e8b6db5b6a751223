"""Declared looks at paired t tests: how small p must be at each of them, so that all together err as rarely as one.

At the look of n_k pairs the boundary is c (n_k / n_K)^2, which leaves the last look, of n_K pairs, nearly what it would
be alone; c is such that true nulls are rejected with probability ALPHA over all looks (a group-sequential test,
Jennison and Turnbull 2000, chapter 11, by its exact distribution instead of a normal approximation).

That distribution is a chain. For n normal differences x of mean 0 let u_n = sum(x) / sqrt(n sum(x^2)), so that
t^2 = (n - 1) u_n^2 / (1 - u_n^2): the share of x's direction that lies along (1, .., 1). Of d more differences the
direction, sin(eta) of it along (1, .., 1), with density cos(eta)^(d-2), depends neither on u_n nor on the lengths of
both, whose ratio tan(phi) has density cos(phi)^(n-1) sin(phi)^(d-1); and with m = n + d
u_m = (sqrt(n) cos(phi) u_n + sqrt(d) sin(phi) sin(eta)) / sqrt(m).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.special import stdtrit

from .statistics import ALPHA

# Points of arcsin(u), and nodes of an integral over an angle; four times as many change a boundary by less than 0.2 %.
GRID = np.linspace(-math.pi / 2, math.pi / 2, 241)
NODES, WEIGHTS = leggauss(16)
# Beyond so many standard deviations of an angle nothing is left to integrate.
REACH = 8.0
ITERATIONS = 30
PRECISION = 1e-7

Ends = tuple[float, float]


@lru_cache(maxsize=256)
def boundaries(looks: tuple[int, ...], alpha: float = ALPHA) -> tuple[float, ...]:
    """Largest two-sided p of the paired t test that rejects at each look; all together err with probability alpha.

    `looks` are rising numbers of pairs, the first at least 2.
    """
    c = alpha
    # The error is nearly proportional to c, so each iteration leaves a small part of the distance.
    for _ in range(ITERATIONS):
        error = error_over_looks(looks, c)
        if abs(error - alpha) < PRECISION:
            break
        c *= alpha / error
    return _levels(looks, c)


def adjusted_p(p: float, n: int, looks: tuple[int, ...], *, one_sided: bool = False) -> float:
    """The error of all looks together, had they the boundaries on which `p`, seen at the look of n pairs, just lies.

    It is at most alpha exactly when p is at most its boundary at alpha, so it can be adjusted further (Holm) and
    compared like any p. NaN for p NaN and where n is no look.
    """
    if math.isnan(p) or n not in looks:
        return math.nan
    return error_over_looks(looks, p * (looks[-1] / n) ** 2, one_sided=one_sided)


@lru_cache(maxsize=4096)
def error_over_looks(looks: tuple[int, ...], c: float, *, one_sided: bool = False) -> float:
    """Probability that a true null is rejected at any look, with boundaries c (n_k / n_K)^2 for p.

    Of a `one_sided` test p is one-sided, and the null the mean that is hardest to tell from the alternative.
    """
    levels = _levels(looks, c)
    if max(levels) >= 1:
        return 1.0
    ends = [_ends(n, level, one_sided) for n, level in zip(looks, levels, strict=True)]
    stays = np.ones_like(GRID)
    for n, m, of_m in reversed(list(zip(looks[:-1], looks[1:], ends[1:], strict=True))):
        stays = _one_more(n, of_m, stays) if m == n + 1 else _several_more(n, m - n, of_m, stays)
    low, high = np.arcsin(ends[0])
    angles = (low + high) / 2 + (high - low) / 2 * np.linspace(-1, 1, 2001)
    density = np.cos(angles) ** (looks[0] - 2) / _half_turn(looks[0] - 2)
    crossing = float(np.trapezoid(density * (1 - np.interp(angles, GRID, stays)), angles))
    # All looks err at least as often as one of them and at most as often as all apart, however small that is.
    return min(max(levels[0] + crossing, *levels), sum(levels))


def _levels(looks: Sequence[int], c: float) -> tuple[float, ...]:
    return tuple(c * (n / looks[-1]) ** 2 for n in looks)


def _ends(n: int, level: float, one_sided: bool) -> Ends:
    """Between which u a test of n pairs does not reject at this level."""
    # From the lower tail: 1 - level is 1 where the level is tiny.
    t = -float(stdtrit(n - 1, level if one_sided else level / 2))
    end = math.sin(math.atan2(t, math.sqrt(n - 1)))
    return (-1.0 if one_sided else -end), end


def _one_more(n: int, ends: Ends, stays: np.ndarray) -> np.ndarray:
    """Probability, for each u_n of GRID, that u_{n+1} lies between the ends and no later look rejects (`stays`).

    Here sin(eta) is 1 or -1, and sqrt(n) cos(phi) u_n +- sin(phi) is a sine of phi too.
    """
    slope = math.sqrt(n) * np.sin(GRID)
    radius, shift = np.sqrt((1 + slope**2) / (n + 1))[:, None], np.arctan(slope)[:, None]
    low, high = (np.arcsin(np.clip(end / radius, -1, 1)) for end in ends)
    reach = min(math.pi / 2, REACH / math.sqrt(n))
    probability = np.zeros_like(GRID)
    # Where radius * sin(angle) lies between the ends: once as the sine rises, and in two parts as it falls.
    for start, stop in ((low, high), (math.pi - high, math.pi), (-math.pi, -math.pi - low)):
        start = np.maximum(start, shift - reach)
        half = np.maximum(np.minimum(stop, shift + reach) - start, 0) / 2
        angles = start + half * (1 + NODES)
        density = np.cos(angles - shift) ** (n - 1)
        probability += half[:, 0] * ((density * _at(radius * np.sin(angles), stays)) @ WEIGHTS)
    return probability / _half_turn(n - 1)


def _several_more(n: int, d: int, ends: Ends, stays: np.ndarray) -> np.ndarray:
    """The same for u_{n+d}, d > 1."""
    typical, reach = math.atan(math.sqrt(d / n)), REACH / math.sqrt(2 * (n + d))
    start, stop = max(0.0, typical - reach), min(math.pi / 2, typical + reach)
    phi = (start + stop) / 2 + (stop - start) / 2 * NODES
    weights = (stop - start) / 2 * WEIGHTS * np.cos(phi) ** (n - 1) * np.sin(phi) ** (d - 1)
    before = math.sqrt(n / (n + d)) * np.cos(phi) * np.sin(GRID)[:, None]
    added = math.sqrt(d / (n + d)) * np.sin(phi)
    low, high = (np.arcsin(np.clip((end - before) / added, -1, 1)) for end in ends)
    reach = min(math.pi / 2, REACH / math.sqrt(d))
    low, high = np.clip(low, -reach, reach)[..., None], np.clip(high, -reach, reach)[..., None]
    eta = (low + high) / 2 + (high - low) / 2 * NODES
    inner = (np.cos(eta) ** (d - 2) * _at(before[..., None] + added[:, None] * np.sin(eta), stays)) @ WEIGHTS
    norm = _half_turn(d - 2) * math.exp(math.lgamma(n / 2) + math.lgamma(d / 2) - math.lgamma((n + d) / 2)) / 2
    return ((high - low)[..., 0] / 2 * inner) @ weights / norm


def _at(u: np.ndarray, stays: np.ndarray) -> np.ndarray:
    return np.interp(np.arcsin(np.clip(u, -1, 1)), GRID, stays)


def _half_turn(power: int) -> float:
    """Integral of cos^power over half a turn."""
    return math.sqrt(math.pi) * math.exp(math.lgamma((power + 1) / 2) - math.lgamma(power / 2 + 1))
