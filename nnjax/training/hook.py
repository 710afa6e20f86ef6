"""What a run does now and then."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Hook:
    """Something done every so many steps, and after the last."""

    every: int
    act: Callable[[], None]

    def due(self, now: int, total: int) -> bool:
        return now % self.every == 0 or now == total

    def next(self, now: int) -> int:
        return (now // self.every + 1) * self.every
