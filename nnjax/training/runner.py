"""The step as the loop calls it: many steps in one device program where that wins, else one a call.

Both forms run the same step on the same batches. Resident data stays on the device and a batch is
its row numbers; streamed data arrives as the batch itself.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from nnjax import schema
from nnjax.data.lengths import Cut
from nnjax.training import step
from nnjax.training.parallel import Placement
from nnjax.training.setup import Setup
from nnjax.training.state import State

CHUNK = 256  # steps in one device program, at most: the size of its table of row numbers


@dataclasses.dataclass(frozen=True)
class Carry:
    """What passes from step to step: the state, the log window's sums, the first bad step."""

    state: State
    sums: step.Sums
    bad: jax.Array  # int32: the first step whose loss was not finite, or -1


jax.tree_util.register_dataclass(Carry, ['state', 'sums', 'bad'], [])


def one(program: step.Program) -> Callable:
    """(carry, data, batch, (hyperparameters,)) -> carry after one step.

    Resident sequences are cut in here, each bucket in a branch of its own: one program serves all.
    """

    def advance(lengths: Cut, carry: Carry, data, batch, control, axis):
        (hyperparameters,) = control
        examples = gather(data, batch, dict(lengths))
        state, sums = step.train_step(program, carry.state, examples, hyperparameters, axis)
        bad = jnp.where(
            (carry.bad < 0) & ~jnp.isfinite(sums['loss'][0]), carry.state.step, carry.bad
        )
        return Carry(state, jax.tree.map(jnp.add, carry.sums, sums), bad)

    def run(carry: Carry, data, batch, control, axis):
        if not data or not program.cuts:
            return advance((), carry, data, batch, control, axis)
        branches = [functools.partial(advance, cut, axis=axis) for cut in program.cuts]
        return jax.lax.switch(batch['bucket'][0], branches, carry, data, batch, control)

    return run


def many(program: step.Program) -> Callable:
    """(carry, data, batches [CHUNK, B], (hyperparameters, count)) -> carry after `count` steps.

    A while loop with the count as an argument: one compilation for every length, so numbers do not
    depend on where a chunk ends. It stops after a step whose loss is not finite.
    """
    advance = one(program)

    def run(carry: Carry, data, batches, control, axis):
        hyperparameters, count = control

        def body(item):
            number, carry = item
            batch = jax.tree.map(lambda x: x[number], batches)
            return number + 1, advance(carry, data, batch, (hyperparameters,), axis)

        def going(item):
            return (item[0] < count) & (item[1].bad < 0)

        return jax.lax.while_loop(going, body, (jnp.int32(0), carry))[1]

    return run


def gather(data, batch, longest: Mapping[str, int]):
    """Row numbers into resident arrays -> the batch, sequences cut; a streamed batch passes through."""
    if not data:
        return batch
    index = batch['index']
    rows = {
        name: array[index, : longest[name]] if name in longest else array[index]
        for name, array in data.items()
    }
    return {**rows, 'mask': batch['mask']}


def chunked(made: Setup) -> bool:
    """Whether many steps in one program win here: not with a stock convolution on a CPU.

    XLA:CPU runs a convolution inside a loop as a naive one, 12 to 30 times slower; everything else
    gains from saved dispatches. A rule, not a measurement, so that a resumed run plans the same.
    """
    stock = 'conv_general_dilated' in made.jaxpr
    return made.resident and not (stock and jax.default_backend() == 'cpu')


def start(made: Setup, given: Mapping | None = None) -> tuple[Carry, dict]:
    """The carry before step 0, and the best parameters so far, {} without a validation split."""
    return first(made, initial(made, made.config.seed, made.hyperparameters, given or {}))


def initial(made: Setup, seed: int, hyperparameters: dict, given: Mapping) -> State:
    """The state before step 0.

    `given` are initial values by name, see `step.init`: data, so that other values compile nothing.
    """
    init = compiled(made.program, made.placement, 'init')
    batch = {n: np.zeros(s.shape, s.dtype) for n, s in made.batch_shapes(1).items()}
    return init(np.uint32(seed), batch, hyperparameters, given)


def first(made: Setup, state: State) -> tuple[Carry, dict]:
    """What `start` gives of a state; traceable: its shapes are the template of a checkpoint."""
    carry = Carry(state, empty(made.train_sums), np.int32(-1))
    if not made.dataset.valid:
        return carry, {}
    worst = np.inf if schema.best(made.config.best)[0] == 'min' else -np.inf
    return carry, {
        'step': np.int32(0),
        'value': np.float32(worst),
        'params': state.best_params,
        'model_state': state.model_state,
    }


def best_state(state: State, best: dict) -> State:
    """The state with the best parameters so far; of lanes [L, ...] each has its own.

    Where no evaluation gave a number there are none: the parameters stay as they are.
    """
    found = np.isfinite(jax.device_get(best['value'])) if best else np.bool_(False)
    if not found.any():
        return state
    kept = {'params': best['params'], 'model_state': best['model_state']}
    if not found.all():
        own = {'params': state.best_params, 'model_state': state.model_state}
        rows = lambda x: found.reshape(found.shape + (1,) * (x.ndim - found.ndim))
        kept = jax.tree.map(lambda a, b: jnp.where(rows(a), a, b), kept, own)
    return state.replace(ema=None, **kept)


def empty(sums: step.Sums) -> step.Sums:
    """Shapes of sums -> the sums of a window that has seen nothing."""
    return jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), sums)


def compiled(program: step.Program, placement: Placement, kind: str) -> Callable:
    """The compiled 'init', 'one', 'many' ... of `step` and this module, one for equal programs."""
    shared = kind in ('one', 'many', 'evaluate')
    return _shared(program, placement, kind) if shared else _alone(program, kind)


def forget() -> None:
    """Drops what is compiled: kernels that were there, or were not, are asked for anew."""
    _shared.cache_clear()
    _alone.cache_clear()


@functools.lru_cache(maxsize=32)
def _shared(program: step.Program, placement: Placement, kind: str) -> Callable:
    """What all devices of a run compute together."""
    if kind == 'one':
        return placement.compile(one(program))
    if kind == 'many':
        return placement.compile(many(program), split_axis=1)
    return placement.compile(evaluate(program), donate=False)


@functools.lru_cache(maxsize=32)
def _alone(program: step.Program, kind: str) -> Callable:
    """What one device computes, however many the run has."""
    if kind == 'init':
        # It runs once: a third of the time to compile is worth more than speed.
        cpu = jax.default_backend() == 'cpu'
        options = {'xla_backend_optimization_level': 0} if cpu else None
        return jax.jit(functools.partial(step.init, program), compiler_options=options)
    return jax.jit(functools.partial(getattr(step, kind), program))


def evaluate(program: step.Program) -> Callable:
    """(state, sums, batch, (hyperparameters,)) -> sums with this batch's added."""

    def run(state: State, sums, batch, control, axis):
        return jax.tree.map(jnp.add, sums, step.eval_step(program, state, batch, *control, axis))

    return run
