"""Seats of lanes: arrays with an axis of lanes in front, `width` of them in a slot."""

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
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


def stack(trees: Sequence[Tree]) -> Tree:
    """Host trees of one lane each -> one tree [L, ...]."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def pick(tree: Tree, number: int) -> Tree:
    """One lane of a tree [L, ...]."""
    return jax.tree.map(lambda x: x[number], tree)


def by_lane(slot: Slot, tree: Tree) -> dict[int, Tree]:
    """A host tree [W, ...] -> {lane: its own}, spare seats left out."""
    return {
        int(lane): pick(tree, seat) for seat, lane in enumerate(slot.lanes) if lane in slot.real
    }


def seat(whole: Tree, lanes: Sequence[int], width: int, placement: Placement) -> list[Slot]:
    """{'carry', 'best'} of all lanes [L, ...] -> slots of these lanes."""
    found = []
    for start in range(0, len(lanes), width):
        real = list(lanes[start : start + width])
        seats = np.array(real + real[:1] * (width - len(real)))
        mine = jax.tree.map(operator.itemgetter(seats), {n: whole[n] for n in ('carry', 'best')})
        found.append(Slot(seats, set(real), **jax.device_put(mine, placement.lanes)))
    return found


def fetch(slots: Sequence[Slot], lanes: Sequence[int]) -> dict[int, Tree]:
    """These lanes -> {lane: {'carry', 'best'} on the host}."""
    if not lanes:
        return {}
    whole = jax.device_get(gather(slots, lanes))
    return {lane: pick(whole, number) for number, lane in enumerate(lanes)}


def gather(slots: Sequence[Slot], lanes: Iterable[int]) -> Tree:
    """{'carry', 'best'} [L, ...] of these lanes."""
    seats = _seats(slots)
    order = np.array([seats[lane] for lane in lanes], np.int32)
    trees = [{'carry': slot.carry, 'best': slot.best} for slot in slots]
    return _take(trees, order)


def without(slots: list[Slot], gone: set[int], width: int, placement: Placement) -> list[Slot]:
    """The slots when these lanes have left; the rest moves together where that frees a slot."""
    for slot in slots:
        slot.real -= gone
    slots = [slot for slot in slots if slot.real]
    left = [int(lane) for slot in slots for lane in slot.lanes if lane in slot.real]
    left = list(dict.fromkeys(left))
    if len(slots) <= -(-len(left) // width):
        return slots
    whole = gather(slots, left)
    new = seat(whole, range(len(left)), width, placement)
    for slot in new:
        slot.real = {left[n] for n in slot.real}
        slot.lanes = np.array(left)[slot.lanes]
    return new


def exchange(
    slots: list[Slot], sources: Mapping[int, int], width: int, placement: Placement
) -> list[Slot]:
    """The slots when lane `target` has what lane `sources[target]` had, seed and best apart."""
    lanes = [int(lane) for slot in slots for lane in slot.lanes]
    own, from_ = gather(slots, lanes), gather(slots, [sources.get(lane, lane) for lane in lanes])
    state = from_['carry'].state.replace(seed=own['carry'].state.seed)
    carry = dataclasses.replace(from_['carry'], state=state)
    found = []
    for number, slot in enumerate(slots):
        mine = operator.itemgetter(slice(number * width, (number + 1) * width))
        moved = jax.device_put(jax.tree.map(mine, carry), placement.lanes)
        found.append(dataclasses.replace(slot, carry=moved))
    return found


@jax.jit
def better(best: Tree, state, value: jax.Array, maximum: jax.Array) -> Tree:
    """The best so far of every lane, from its state and validation value [W] now."""
    new = {
        'step': state.step,
        'value': value,
        'params': state.best_params,
        'model_state': state.model_state,
    }
    wins = jnp.where(maximum, value > best['value'], value < best['value'])

    def keep(now, before):
        return jnp.where(wins.reshape(wins.shape + (1,) * (now.ndim - 1)), now, before)

    return jax.tree.map(keep, new, best)


@jax.jit
def _take(trees: list[Tree], order: jax.Array) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[order], *trees)


def _seats(slots: Sequence[Slot]) -> dict[int, int]:
    """{lane: its seat, counted through all slots}."""
    found, start = {}, 0
    for slot in slots:
        for number, lane in enumerate(slot.lanes):
            if lane in slot.real:
                found.setdefault(int(lane), start + number)
        start += len(slot.lanes)
    return found
