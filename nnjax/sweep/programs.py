"""Steps of many lanes in one device program: every device takes its share of them.

A lane is a point on its way: its state, its numbers, its rows of data. A device steps its lanes in
groups, one group after another, the lanes of a group side by side; a group of one lane runs a lone
run's program. How many groups there are is an argument. Lanes need no collective.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.sweep.seats import Seats
from nnjax.training import runner, step
from nnjax.training.parallel import Placement
from nnjax.training.setup import Setup
from nnjax.training.state import State

LANES, SHARED = True, False  # which arguments have an axis of lanes in front

# The arguments of `many`, `one` and `evaluate`, C seats a device, S seeds:
#   carried: what comes back changed [C, ...]
#   fixed: the same for all lanes
#   batches: of each seed, or one for all
#   mine: each lane's own [C, ...]: numbers, the row of its seed in `batches`, whether it is on
#   number: how many groups there are [1]; not looped, which one to do
AXES = (LANES, SHARED, SHARED, LANES, LANES)


def many(program: step.Program) -> Callable:
    """(carry, (data, count), tables [S, CHUNK, B], mine) -> carry after `count` steps of a group."""
    alone = _one(program)

    def group(carry: runner.Carry, fixed, tables, mine):
        data, count = fixed

        def body(item):
            number, carry = item
            batch = jax.tree.map(lambda x: x[mine['seed'], number], tables)
            return number + 1, alone(carry, data, batch, mine['numbers'])

        def going(item):
            return (item[0] < count) & jnp.any(item[1].bad < 0)

        return jax.lax.while_loop(going, body, (jnp.int32(0), carry))[1]

    return group


def one(program: step.Program) -> Callable:
    """(carry, data, batches [S, B], mine) -> carry after one step of a group."""
    alone = _one(program)

    def group(carry, data, batches, mine):
        batch = jax.tree.map(lambda x: x[mine['seed']], batches)
        return alone(carry, data, batch, mine['numbers'])

    return group


def evaluate(program: step.Program) -> Callable:
    """(sums, (), batch, mine and its 'state') -> sums of a group with this batch's added."""
    add = runner.evaluate(program)
    alone = _side_by_side(
        lambda state, sums, batch, numbers: add(state, sums, batch, (numbers,), None),
        (LANES, LANES, SHARED, LANES),
    )
    return lambda sums, _, batch, mine: alone(mine['state'], sums, batch, mine['numbers'])


def _one(program: step.Program) -> Callable:
    advance = runner.one(program)
    return _side_by_side(
        lambda carry, data, batch, numbers: advance(carry, data, batch, (numbers,), None),
        (LANES, SHARED, LANES, LANES),
    )


@jax.jit
def better(best: dict, state: State, value: jax.Array, maximum: jax.Array) -> dict:
    """The best so far of every lane, from its state and validation value [W] now."""
    new = {
        'step': state.step,
        'value': value,
        'params': state.best_params,
        'model_state': state.model_state,
    }
    wins = jnp.where(maximum, value > best['value'], value < best['value'])

    return jax.tree.map(functools.partial(_where, wins), new, best)


class Programs:
    """A sweep's compiled functions; says how many train steps were compiled, in what time."""

    def __init__(self, placement: Placement):
        self.placement = placement
        self.count, self.seconds = 0, 0.0
        self._made: dict[Any, Callable] = {}

    def __call__(
        self, kind: Callable, program: step.Program, seats: Seats, looped: bool, carried, *rest
    ) -> Any:
        """Runs `many`, `one` or `evaluate` of all lanes on their way; `carried` is donated.

        The groups follow one another in the program if `looped`, else in a call each: XLA's own
        convolution is slow inside a loop on a CPU.
        """
        key = kind, program, seats.each, looped
        if key not in self._made:
            over = _over_groups(kind(program), seats.each, looped)
            self._made[key] = self.placement.spread(over, AXES, (0,))
        groups = seats.groups
        calls = [groups] if looped else [np.full_like(groups, n) for n in range(groups.max())]
        before = _compilations.count, _compilations.seconds
        for number in calls:
            carried = self._made[key](carried, *rest, number.astype(np.int32))
        if kind is not evaluate:
            self.count += _compilations.count - before[0]
            self.seconds += _compilations.seconds - before[1]
        return carried


class _Compilations:
    """What XLA has compiled in this process."""

    def __init__(self):
        self.count, self.seconds = 0, 0.0
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, seconds: float, **_) -> None:
        if event == '/jax/core/compile/backend_compile_duration':
            self.count, self.seconds = self.count + 1, self.seconds + seconds


_compilations = _Compilations()


def template(made: Setup, count: int) -> Any:
    """The shapes of a checkpoint of so many lanes."""
    carry, best = jax.eval_shape(lambda s: runner.first(made, s), made.state)
    one = {'carry': carry, 'best': best, 'numbers': made.hyperparameters, 'on': np.bool_(True)}
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *jnp.shape(x)), jnp.result_type(x)), one
    )
    return {**shapes, 'step': jax.ShapeDtypeStruct((), np.int32)}


def _over_groups(group: Callable, each: int, looped: bool) -> Callable:
    """group(carried, fixed, batches, mine) -> the same over the groups of a device's seats."""

    def run(carried, fixed, batches, mine, number):
        def body(number, carried):
            first = number * each
            rows = lambda x: jax.lax.dynamic_slice_in_dim(x, first, each)
            before, own = jax.tree.map(rows, (carried, mine))
            after = group(before, fixed, batches, own)
            after = jax.tree.map(functools.partial(_where, own['on']), after, before)
            put = lambda x, part: jax.lax.dynamic_update_slice_in_dim(x, part, first, 0)
            return jax.tree.map(put, carried, after)

        if looped:
            return jax.lax.fori_loop(0, number[0], body, carried)
        return body(number[0], carried)

    return run


def _where(on: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(on.reshape(on.shape + (1,) * (new.ndim - 1)), new, old)


def _side_by_side(function: Callable, axes: tuple[bool, ...]) -> Callable:
    """vmap over the arguments with lanes; a lane by itself runs as it would alone."""

    def run(*arguments):
        lanes = [a for a, has in zip(arguments, axes) if has]
        if len(jax.tree.leaves(lanes)[0]) > 1:
            return jax.vmap(function, [0 if has else None for has in axes])(*arguments)
        alone = [
            jax.tree.map(lambda x: jnp.squeeze(x, 0), a) if has else a
            for a, has in zip(arguments, axes)
        ]
        return jax.tree.map(lambda x: x[None], function(*alone))

    return run
