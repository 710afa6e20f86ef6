"""Steps of many lanes in one device program: every device takes its share of them.

A lane is a point on its way: its state, its numbers, its rows of data. Lanes share nothing but the
data, so they need no collective; with one lane a device, the program is a lone run's.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nnjax.training import runner, step
from nnjax.training.parallel import Placement
from nnjax.training.state import State

LANES, SHARED = True, False  # which arguments have an axis of lanes in front


def many(program: step.Program) -> tuple[Callable, tuple[bool, ...]]:
    """(carry [W], data, batches [W, CHUNK, B], numbers [W], count) -> carry after `count` steps."""
    advance, _ = one(program)

    def run(carry: runner.Carry, data, batches, numbers, count):
        def body(item):
            number, carry = item
            batch = jax.tree.map(lambda x: x[:, number], batches)
            return number + 1, advance(carry, data, batch, numbers)

        def going(item):
            return (item[0] < count) & jnp.any(item[1].bad < 0)

        return jax.lax.while_loop(going, body, (jnp.int32(0), carry))[1]

    return run, (LANES, SHARED, LANES, LANES, SHARED)


def one(program: step.Program) -> tuple[Callable, tuple[bool, ...]]:
    """(carry [W], data, batch [W, B], numbers [W]) -> carry after one step."""
    advance = runner.one(program)
    axes = (LANES, SHARED, LANES, LANES)
    return _each(lambda carry, data, batch, n: advance(carry, data, batch, (n,), None), axes), axes


def evaluate(program: step.Program) -> tuple[Callable, tuple[bool, ...]]:
    """(state [W], sums [W], batch, numbers [W]) -> sums with this batch's added."""
    add = runner.evaluate(program)
    axes = (LANES, LANES, SHARED, LANES)
    return _each(lambda state, sums, batch, n: add(state, sums, batch, (n,), None), axes), axes


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

    def keep(now, before):
        return jnp.where(wins.reshape(wins.shape + (1,) * (now.ndim - 1)), now, before)

    return jax.tree.map(keep, new, best)


class Programs:
    """A sweep's executables: each is compiled when it is first needed, and counted."""

    def __init__(self, placement: Placement):
        self.placement = placement
        self.count, self.seconds = 0, 0.0  # of train steps
        self._made: dict[Any, Callable] = {}

    def __call__(self, kind: Callable, program: step.Program, *arguments) -> Any:
        """Runs `many`, `one` or `evaluate` of a program; the first argument of a step is donated."""
        shapes = jax.tree.map(lambda x: (jnp.shape(x), jnp.result_type(x)), arguments)
        key = kind, program, str(shapes)
        if key not in self._made:
            began = time.monotonic()
            function, axes = kind(program)
            donated = (0,) if kind is not evaluate else ()
            placed = self.placement.spread(function, axes, donated)
            self._made[key] = placed.lower(*arguments).compile()
            if kind is not evaluate:
                self.count += 1
                self.seconds += time.monotonic() - began
        return self._made[key](*arguments)


def _each(function: Callable, axes: tuple[bool, ...]) -> Callable:
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
