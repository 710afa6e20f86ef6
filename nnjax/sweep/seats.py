"""Seats of lanes: arrays with an axis of lanes in front, so many of them in a slot."""

import dataclasses
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.training.parallel import Placement
from nnjax.training.runner import Carry

Tree = Any


@dataclasses.dataclass
class Slot:
    """What one call steps.

    Attributes:
      lanes: the lane in each seat [W]; spare seats repeat the first.
      real: the lanes that count: neither spare nor gone.
      carry, best: arrays [W, ...].
    """

    lanes: np.ndarray
    real: set[int]
    carry: Carry
    best: Tree

    def by_lane(self, tree: Tree) -> dict[int, Tree]:
        """A host tree [W, ...] -> {lane: its own}, spare seats left out."""
        return {int(n): pick(tree, s) for s, n in enumerate(self.lanes) if n in self.real}


class Seats:
    """Lanes in slots, which the devices share, and on the host those that have left."""

    def __init__(self, whole: Tree, on: Sequence[int], each: int, placement: Placement):
        """{'carry', 'best'} of all lanes [L, ...] on the host; those that are `on` take seats.

        A slot has `each` lanes of every device, or fewer when that many are no longer there: a
        power of two, so that few widths are ever compiled.
        """
        self._each, self._placement = each, placement
        every = range(len(jax.tree.leaves(whole)[0]))
        self.left = {lane: pick(whole, lane) for lane in every if lane not in on}
        self.slots = self._seated(whole, on, on)

    @property
    def lanes(self) -> list[int]:
        """The lanes that have a seat."""
        return sorted(lane for slot in self.slots for lane in slot.real)

    def whole(self) -> Tree:
        """{'carry', 'best'} of all lanes [L, ...], on the host."""
        trees = {**self.left, **self._fetch(self.lanes)}
        return stack([trees[lane] for lane in sorted(trees)])

    def leave(self, lanes: Collection[int]) -> None:
        """These lanes give up their seats; the rest moves together where that frees a slot."""
        self.left |= self._fetch(sorted(lanes))
        for slot in self.slots:
            slot.real -= set(lanes)
        self.slots = [slot for slot in self.slots if slot.real]
        left, seats = self.lanes, sum(len(slot.lanes) for slot in self.slots)
        if seats > -(-len(left) // self._width(left)) * self._width(left):
            self.slots = self._seated(self._gather(left), left, range(len(left)))

    def exchange(self, sources: Mapping[int, int]) -> None:
        """Lane `target` gets what lane `sources[target]` has; its seed and its best stay."""
        lanes = self.lanes
        own, new = self._gather(lanes), self._gather([sources.get(n, n) for n in lanes])
        state = new['carry'].state.replace(seed=own['carry'].state.seed)
        own['carry'] = dataclasses.replace(new['carry'], state=state)
        self.slots = self._seated(own, lanes, range(len(lanes)))

    def _seated(self, whole: Tree, lanes: Sequence[int], rows: Sequence[int]) -> list[Slot]:
        """Slots of these lanes, whose arrays are `rows` of [N, ...]."""
        found, width = [], self._width(lanes)
        for start in range(0, len(lanes), width):
            here = np.arange(start, start + width)
            here = np.where(here < len(lanes), here, start)
            tree = jax.tree.map(operator.itemgetter(np.array(rows)[here]), whole)
            tree = jax.device_put(tree, self._placement.lanes)
            seats = np.array(lanes)[here]
            found.append(Slot(seats, set(seats.tolist()), tree['carry'], tree['best']))
        return found

    def _width(self, lanes: Sequence[int]) -> int:
        share = -(-len(lanes) // self._placement.devices)
        return self._placement.devices * min(self._each, 1 << max(0, share - 1).bit_length())

    def _fetch(self, lanes: Sequence[int]) -> dict[int, Tree]:
        if not lanes:
            return {}
        whole = jax.device_get(self._gather(lanes))
        return {lane: pick(whole, row) for row, lane in enumerate(lanes)}

    def _gather(self, lanes: Iterable[int]) -> Tree:
        """{'carry', 'best'} [N, ...] of these lanes, on the devices."""
        every = [int(n) if n in slot.real else -1 for slot in self.slots for n in slot.lanes]
        order = np.array([every.index(lane) for lane in lanes], np.int32)
        return _take([{'carry': slot.carry, 'best': slot.best} for slot in self.slots], order)


def stack(trees: Sequence[Tree]) -> Tree:
    """Host trees of one lane each -> one tree [L, ...]."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def pick(tree: Tree, number: int) -> Tree:
    """One lane of a tree [L, ...]."""
    return jax.tree.map(operator.itemgetter(number), tree)


@jax.jit
def _take(trees: list[Tree], order: jax.Array) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[order], *trees)
