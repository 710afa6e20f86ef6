"""Seats of lanes: arrays with an axis of lanes in front, a part of it on every device."""

import dataclasses
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.training.parallel import Placement

Tree = Any


class Seats:
    """Where every lane's arrays are. Lanes on their way have each device's first seats.

    So what a lane that has left costs is its memory alone, and nothing is compiled when it leaves.

    Attributes:
      tree: {'carry', 'best'} [S, ...], the seats of one device after another's.
      lanes: the lane in each seat [S], -1 in a spare one.
      on: whether it is on its way [S].
    """

    def __init__(
        self, whole: Tree, on: Collection[int], each: int, room: int, placement: Placement
    ):
        """{'carry', 'best'} of all lanes [L, ...] on the host; groups of at most `each`.

        There are seats for `room` lanes at least, so that fewer lanes run the same program.
        """
        self._placement, self._most, self._room = placement, each, room
        self.count = len(jax.tree.leaves(whole)[0])
        self._sit(on)
        rows = np.maximum(self.lanes, 0)  # a spare seat holds a copy of the first lane
        self.tree = jax.device_put(jax.tree.map(operator.itemgetter(rows), whole), placement.lanes)

    @property
    def alive(self) -> list[int]:
        """The lanes on their way."""
        return sorted(self.lanes[self.on].tolist())

    @property
    def each(self) -> int:
        """How many lanes of a device make a group, a power of two."""
        return min(self._most, _power(self._shares().max(initial=1)))

    @property
    def groups(self) -> np.ndarray:
        """How many groups each device has [D]."""
        return -(-self._shares() // self.each)

    def by_lane(self, tree: Tree) -> dict[int, Tree]:
        """A tree [S, ...] -> {lane on its way: its own, on the host}."""
        tree = jax.device_get(tree)
        seats = np.flatnonzero(self.on)
        return {int(self.lanes[seat]): pick(tree, seat) for seat in seats}

    def whole(self) -> Tree:
        """{'carry', 'best'} of all lanes [L, ...], on the host."""
        return pick(jax.device_get(self.tree), _places(self.lanes, range(self.count)))

    def leave(self, lanes: Collection[int]) -> None:
        """These lanes are on their way no longer."""
        before = self.lanes
        self._sit(set(self.alive) - set(lanes))
        if not np.array_equal(before, self.lanes):
            self.tree = self._taken(self.tree, _places(before, self.lanes))

    def exchange(self, sources: Mapping[int, int]) -> None:
        """Lane `target` gets what lane `sources[target]` has; its seed and its best stay."""
        seed = self.tree['carry'].state.seed
        wanted = [sources.get(lane, lane) for lane in self.lanes.tolist()]
        carry = self._taken(self.tree['carry'], _places(self.lanes, wanted))
        self.tree['carry'] = dataclasses.replace(carry, state=carry.state.replace(seed=seed))

    def _sit(self, on: Collection[int]) -> None:
        devices = self._placement.devices
        length = _power(-(-max(self.count, self._room) // devices))
        on, off = sorted(on), sorted(set(range(self.count)) - set(on))
        share = -(-len(on) // devices)
        off += [-1] * (devices * length - self.count)
        lanes = []
        for device in range(devices):
            mine = on[device * share : (device + 1) * share]
            spare = length - len(mine)
            lanes += mine + off[:spare]
            off = off[spare:]
        self.lanes = np.array(lanes)
        self.on = np.isin(self.lanes, on)

    def _shares(self) -> np.ndarray:
        return self.on.reshape(self._placement.devices, -1).sum(1)

    def _taken(self, tree: Tree, rows: np.ndarray) -> Tree:
        return jax.device_put(_take(tree, rows), self._placement.lanes)


def stack(trees: Sequence[Tree]) -> Tree:
    """Host trees of one lane each -> one tree [L, ...]; an optimizer's keys stay keys."""

    def join(*leaves):
        keys = jax.dtypes.issubdtype(leaves[0].dtype, jax.dtypes.prng_key)
        return (jnp if keys else np).stack(leaves)

    return jax.tree.map(join, *trees)


def pick(tree: Tree, rows: int | np.ndarray) -> Tree:
    """One lane, or some, of a tree [L, ...]."""
    return jax.tree.map(operator.itemgetter(rows), tree)


def _power(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << max(0, int(number) - 1).bit_length()


def _places(seats: np.ndarray, lanes: Iterable[int]) -> np.ndarray:
    """The seat of each of these lanes; of -1, any."""
    where = {int(lane): seat for seat, lane in enumerate(seats)}
    return np.array([where.get(lane, 0) for lane in lanes], np.int32)


@jax.jit
def _take(tree: Tree, rows: jax.Array) -> Tree:
    return jax.tree.map(lambda x: x[rows], tree)
