"""The mean of a few values and how well they fix it."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % t interval.

    Attributes:
      values: one a seed.
      mean: their mean; NaN of none.
      deviation: their standard deviation (n - 1); NaN of fewer than two.
      half: half the interval's length; NaN of fewer than two values.
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    half: float

    @classmethod
    def of(cls, values: Iterable[float]) -> 'Estimate':
        """Independent, about normal values -> their mean and Student's interval of it."""
        values = tuple(map(float, values))
        count = len(values)
        mean = float(np.mean(values)) if count else math.nan
        deviation = float(np.std(values, ddof=1)) if count > 1 else math.nan
        half = deviation / math.sqrt(count) * t_quantile(count - 1) if count > 1 else math.nan
        return cls(values, mean, deviation, half)

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half


def t_quantile(freedom: float, confidence: float = 0.95) -> float:
    """The t within which Student's distribution of so many degrees has that share: 12.7, 4.3 ..."""
    from scipy import special  # of all of scipy, a small part

    return float(special.stdtrit(freedom, (1 + confidence) / 2))
