"""Tests of a difference of two means, and what several of them at once cost."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import special

from nnjax.sweep.estimate import Estimate, t_quantile

EXACT = 1e-9  # a spread that is smaller than this share of the values is rounding


@dataclasses.dataclass(frozen=True)
class Test:
    """A difference of means, a minus b.

    Attributes:
      name: of the test, in words.
      over: what the values were drawn from.
      counts: how many of these there were: (n,) of pairs, (n, m) in two groups.
      difference: a's mean minus b's.
      low: lower end of the difference's 95 % interval; NaN where the values do not spread.
      high: upper end.
      p: probability of so large a difference, of either sign, where there is none.
      effect: the difference over the standard deviation: of the differences where values are
        paired (Cohen's d_z), else of the values (Cohen's d); NaN where they do not spread.
      pairs: the paired differences; of seeds alone.
      alone: test examples that a alone has right, and b alone; of right and wrong answers alone.
    """

    __test__ = False  # it is none of pytest's

    name: str
    over: Literal['seeds', 'test examples']
    counts: tuple[int, ...]
    difference: float
    low: float
    high: float
    p: float
    effect: float
    pairs: tuple[float, ...] = ()
    alone: tuple[int, int] | None = None

    @property
    def symbol(self) -> str:
        """The effect's: 'd_z' of paired values, else 'd'."""
        return 'd_z' if len(self.counts) == 1 else 'd'


def paired(a: Sequence[float], b: Sequence[float], over: str = 'seeds') -> Test:
    """a[i] and b[i] of the same seed, two or more -> Student's paired t test.

    Differences that are all the same leave no spread to judge by: p is then that of their signs.
    """
    differences = np.subtract(a, b, dtype=np.float64)
    found, scale = Estimate.of(differences), max(np.abs(a).max(), np.abs(b).max())
    kept = found.values if over == 'seeds' else ()
    name, count = 'paired t test', len(differences)
    if found.deviation <= EXACT * scale:
        p = 2.0 ** (1 - count) if abs(found.mean) > EXACT * scale else 1.0
        return Test(name, over, (count,), found.mean, math.nan, math.nan, p, math.nan, kept)
    p = _two_sided(found.mean / found.deviation * math.sqrt(count), count - 1)
    effect = found.mean / found.deviation
    return Test(name, over, (count,), found.mean, found.low, found.high, p, effect, kept)


def welch(a: Sequence[float], b: Sequence[float]) -> Test:
    """Two groups of independent values -> the t test of Welch (1947), spreads may differ.

    A group of one value takes the other's spread (Student, 1908). Where no value differs from its
    group's, p is that of all ways to deal the values into two groups.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    counts = (len(a), len(b))
    sizes = np.array(counts)
    variances = np.array([x.var(ddof=1) if len(x) > 1 else math.nan for x in (a, b)])
    difference, scale = float(a.mean() - b.mean()), max(np.abs(a).max(), np.abs(b).max())
    count = min(counts)
    name = "Welch's t test" if count > 1 else "Student's t test, one value against several"
    spread = math.sqrt(np.nanmean(variances))
    if spread <= EXACT * scale:
        ways = math.comb(sum(counts), count)
        p = min(1.0, 2 / ways) if abs(difference) > EXACT * scale else 1.0
        return Test(name, 'seeds', counts, difference, math.nan, math.nan, p, math.nan)
    if count > 1:
        shares = variances / sizes
        freedom = float(shares.sum() ** 2 / (shares**2 / (sizes - 1)).sum())
    else:
        shares, freedom = spread**2 / sizes, float(sizes.max() - 1)
    error = math.sqrt(shares.sum())
    half = error * t_quantile(freedom)
    p = _two_sided(difference / error, freedom)
    low, high = difference - half, difference + half
    return Test(name, 'seeds', counts, difference, low, high, p, difference / spread)


def mcnemar(a: np.ndarray, b: np.ndarray) -> Test:
    """Right answers of two models to the same examples (bool [N]) -> exact test of McNemar (1947).

    Of the examples that one alone has right, each is a fair coin where the models are equal. The
    interval of the difference in accuracy is that of Bonett and Price (2012).
    """
    count = len(a)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    fewer, either = min(only_a, only_b), only_a + only_b
    p = min(1.0, 2 * float(special.bdtr(fewer, either, 0.5))) if either else 1.0
    share_a, share_b = (only_a + 1) / (count + 2), (only_b + 1) / (count + 2)
    middle = share_a - share_b
    half = float(special.ndtri(0.975)) * math.sqrt((share_a + share_b - middle**2) / (count + 2))
    differences = a.astype(np.float64) - b
    difference, spread = float(differences.mean()), float(differences.std(ddof=1))
    effect = difference / spread if spread else math.nan
    ends, alone = (middle - half, middle + half), (only_a, only_b)
    name, over = 'exact McNemar test', 'test examples'
    return Test(name, over, (count,), difference, *ends, p, effect, alone=alone)


def _two_sided(t: float, freedom: float) -> float:
    return float(2 * special.stdtr(freedom, -abs(t)))


def bonferroni(p: float, tried: int) -> float:
    """The p value of the best of so many tries."""
    return min(1.0, p * tried)


def holm(values: Sequence[float]) -> list[float]:
    """p values of several tests -> corrected ones: below 0.05, not one in 20 families errs.

    Holm, A simple sequentially rejective multiple test procedure, 1979.
    """
    corrected, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(np.argsort(values, kind='stable').tolist()):
        largest = max(largest, min(1.0, values[index] * (len(values) - rank)))
        corrected[index] = largest
    return corrected
