"""A metric as a shade: the best value is the strongest."""

import dataclasses
from collections.abc import Sequence

from nnjax.report.svg import Markup, score, tag

KEPT = 0.75  # of the values; a few disasters would leave one shade for all the rest


@dataclasses.dataclass(frozen=True)
class Scale:
    """From values to shares between 0 (pale) and 1 (strong).

    Attributes:
      pale: the value from which on everything worse is equally pale.
      strong: the best value.
    """

    pale: float
    strong: float

    @classmethod
    def of(cls, values: Sequence[float], higher: bool) -> 'Scale':
        """Finite values, at least one, and whether higher is better -> the scale of the best ones."""
        ordered = sorted(values, reverse=higher)
        return cls(ordered[round(KEPT * (len(ordered) - 1))], ordered[0])

    def share(self, value: float) -> float:
        if self.pale == self.strong:
            return 1.0 if value == self.strong else 0.0
        return min(max((value - self.pale) / (self.strong - self.pale), 0.0), 1.0)

    def style(self, value: float) -> str:
        """The style attribute that the sheet's .shade mixes a colour of."""
        return f'--share:{self.share(value):.3f}'

    def legend(self, higher: bool) -> Markup:
        """A strip of the shades with its ends' values."""
        sign = '≤' if higher else '≥'
        ends = (f'{sign} {score(self.pale)}', score(self.strong))
        strip = tag('span', class_='ramp')
        return tag('span', ends[0], strip, ends[1], class_='key')
