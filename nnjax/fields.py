"""Field types: what a config field may hold, written once in the signature that uses it.

`bind` reads these annotations; flags, saved configs and `--help` are checked and described by them.
"""

import dataclasses
import math
from typing import Annotated


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; an open end excludes the bound itself."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return bool(above and below)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f'{">" if self.open_low else ">="} {self.low:g}'
        left, right = '(' if self.open_low else '[', ')' if self.open_high else ']'
        return f'in {left}{self.low:.10g}, {self.high:.10g}{right}'


@dataclasses.dataclass(frozen=True)
class Grammar:
    """A string with a grammar of its own, described by `name`."""

    name: str

    def __str__(self) -> str:
        return self.name


Natural = Annotated[int, Range(0)]  # 0, 1, 2 ...
Count = Annotated[int, Range(1)]  # 1, 2, 3 ...
Seed = Annotated[int, Range(0, 2**32 - 1)]  # of JAX's keys
Positive = Annotated[float, Range(0, open_low=True)]
NonNegative = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, open_high=True)]

# A length of training: '60 epochs', '5%', '2000 steps', '1000000 examples'. Whoever declares a
# field of this type receives a number of steps (a traced float inside the compiled step).
Duration = Annotated[
    str, Grammar("a duration such as '3 epochs', '5%', '200 steps', '9000 examples'")
]

# A pipeline of operations: 'pad_crop(2) | flip'. Empty means none.
Operations = Annotated[str, Grammar("operations such as 'pad_crop(2) | flip'")]
