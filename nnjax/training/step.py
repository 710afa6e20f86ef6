"""The train step and the evaluation step: pure functions, compiled once, for every task and model.

Only this module averages. Losses and metrics come as (values, weights); the step masks padded
rows, sums over microbatches and devices, and divides once. Only this module reduces over devices:
`axis` is the name of the device axis under pmap, None elsewhere (a sharded jit needs none).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from nnjax.data import augment, lengths, spec
from nnjax.data.augment import chain
from nnjax.models import layers
from nnjax.tasks.task import Batch, Task, Weighted
from nnjax.training import freeze, parallel, paths
from nnjax.training.state import State

VIEWS = 2**32 - 1  # the number of no step: views have keys of their own
ALONE = ('lr', 'grad_norm')  # what the train step sums up and evaluation does not
Sums = dict[str, tuple[jax.Array, jax.Array]]  # name -> (sum of values * weights, sum of weights)


@dataclasses.dataclass(frozen=True)
class Program:
    """The static half of a run: all that a compiled step depends on besides its arguments.

    A value: equal programs share their compiled functions.

    Attributes:
      model: linen module.
      task: hyperparameters -> Task.
      optimizer: hyperparameters -> Optimizer.
      augment: operations on training examples, as `nnjax.data.spec` reads them.
      labels: (field, classes) of what operations on pairs mix besides images; None without them.
      tta: operations that make the views of an example whose predictions are averaged.
      accumulate: microbatches in a step.
      ema: whether the state carries a moving average of the parameters.
      freeze: regular expression of the paths of parameters that do not train, or None.
      cuts: how each bucket's batches are cut; () for batches of one length.
      padded: whether a training batch may have rows that only fill it up.
    """

    model: nn.Module
    task: Callable[[dict], Task]
    optimizer: Callable[[dict], Any]
    augment: str = ''
    labels: chain.Labels | None = None
    tta: str = ''
    accumulate: int = 1
    ema: bool = False
    freeze: str | None = None
    cuts: tuple[lengths.Cut, ...] = ()
    padded: bool = False


def init(
    program: Program, seed: jax.Array, batch: Batch, hyperparameters: dict, given: Mapping
) -> State:
    """uint32 seed, a batch (its shapes count, not its values) -> the state before step 0.

    The arrays {'params/Dense_0/kernel': ...} that are `given` take the place of random ones.
    """
    variables = program.model.init(
        jax.random.key(seed), *inputs(program, batch, hyperparameters), train=False
    )
    variables = paths.replaced(variables, given)
    params = variables.pop('params', {})
    optimizer = program.optimizer(hyperparameters['optim'])
    opt_state = optimizer.init(freeze.trained(program.freeze, params))
    ema = jax.tree.map(jnp.copy, params) if program.ema else None
    return State(jnp.int32(0), jnp.uint32(seed), params, variables, opt_state, ema)


def train_step(
    program: Program, state: State, batch: Batch, hyperparameters: dict, axis: str | None = None
) -> tuple[State, Sums]:
    """One update from a batch of examples [B, ...] (this device's share under `axis`).

    Returns the next state and the sums of loss, the task's metrics, lr and grad_norm. Gradients are
    those of the parameters that train; the optimizer sees no others.
    """
    task = program.task(hyperparameters['task'])
    optimizer = program.optimizer(hyperparameters['optim'])
    key = step_key(state.seed, state.step)
    rows = batch['mask'].shape[0]
    first = jax.lax.axis_index(axis) * rows if axis else 0
    trained = freeze.trained(program.freeze, state.params)

    def gradients(model_state, microbatch, offset):
        def loss_sum(values):
            params = freeze.whole(program.freeze, state.params, values)
            real = examples['mask'] if program.padded else None
            with layers.shard(offset, axis, real, train=True):
                outputs, updated = _forward(
                    program.model, params, model_state, task.inputs(examples), key
                )
                sums = {'loss': _sum(task.loss(outputs, examples), examples['mask'])}
                metrics = task.metrics(outputs, examples)
            sums |= {n: _sum(m, examples['mask']) for n, m in metrics.items()}
            return sums['loss'][0], (sums, updated)

        examples = _augmented(program, key, microbatch, offset)
        grads, (sums, updated) = jax.grad(loss_sum, has_aux=True)(trained)
        return grads, sums, updated

    if program.accumulate == 1:
        grads, sums, model_state = gradients(state.model_state, batch, first)
    else:
        grads, sums, model_state = _accumulate(
            gradients, state.model_state, batch, first, program.accumulate
        )
    if axis:
        grads, sums = jax.lax.psum((grads, sums), axis)
    grads = jax.tree.map(lambda g: g / _at_least_tiny(sums['loss'][1]), grads)

    total = hyperparameters['total']
    updates, opt_state = optimizer.update(grads, state.opt_state, trained, state.step, total)
    trained = optax.apply_updates(trained, updates)
    params = freeze.whole(program.freeze, state.params, trained)
    one = jnp.float32(1)
    sums['lr'] = (jnp.float32(optimizer.lr(state.step, total)), one)
    sums['grad_norm'] = (optax.global_norm(grads), one)
    return state.replace(
        step=state.step + 1,
        params=params,
        model_state=model_state,
        opt_state=opt_state,
        ema=_average(state.ema, params, hyperparameters.get('ema'), state.step),
    ), sums


def eval_step(
    program: Program, state: State, batch: Batch, hyperparameters: dict, axis: str | None = None
) -> Sums:
    """Sums of the loss and the task's metrics over a batch's real rows, in evaluation mode."""
    task = program.task(hyperparameters['task'])
    batch = _seen(program, batch)
    outputs = apply(program, state)(*task.inputs(batch))
    with layers.shard(axis=axis):
        sums = {n: _sum(m, batch['mask']) for n, m in task.metrics(outputs, batch).items()}
        sums['loss'] = _sum(task.loss(outputs, batch), batch['mask'])
    return jax.lax.psum(sums, axis) if axis else sums


def predict(
    program: Program, state: State, batch: Batch, hyperparameters: dict, view: jax.Array
) -> dict[str, jax.Array]:
    """The task's predictions {name: [B, ...]} for one view of a batch; view 0 is the batch itself.

    The other views are a function of (seed, view), the same for every example: what is predicted
    for an example depends on no other.
    """
    task = program.task(hyperparameters['task'])
    batch = _seen(program, _viewed(program, state.seed, batch, view))
    return task.predict(apply(program, state), batch) if task.predict else {}


def predict_step(
    program: Program, state: State, batch: Batch, hyperparameters: dict, view: jax.Array
) -> dict[str, jax.Array]:
    """`predict`, and each row's mean 'loss' [B] in this view."""
    task = program.task(hyperparameters['task'])
    seen = _seen(program, _viewed(program, state.seed, batch, view))
    weighted = task.loss(apply(program, state)(*task.inputs(seen)), seen)
    values, weights = (x.astype(jnp.float32) for x in weighted)
    rest = tuple(range(1, values.ndim))
    loss = jnp.sum(values * weights, rest) / _at_least_tiny(jnp.sum(weights, rest))
    return {'loss': loss, **predict(program, state, batch, hyperparameters, view)}


def gallery(
    program: Program, state: State, batch: Batch, hyperparameters: dict
) -> dict[str, jax.Array]:
    """The task's pictures of a few examples, {} where it has none."""
    task = program.task(hyperparameters['task'])
    seen = _seen(program, batch)
    return task.gallery(apply(program, state), seen) if task.gallery else {}


def step_key(seed: jax.Array, step: jax.Array) -> jax.Array:
    """The key of everything random in a step."""
    return jax.random.fold_in(jax.random.key(seed), step)


def augmented(program: Program, seed: jax.Array, step: jax.Array, batch: Batch) -> Batch:
    """A training batch as the model sees it in `step`."""
    return _augmented(program, step_key(seed, step), batch, 0)


def apply(program: Program, state: State) -> Callable:
    """The model in evaluation mode as a function of its inputs, or of those of another method."""
    variables = {'params': parallel.whole(state.best_params), **state.model_state}

    def call(*inputs, method=None, **options):
        options = options if method else {'train': False}
        return program.model.apply(variables, *inputs, method=method, **options)

    return call


def inputs(program: Program, batch: Batch, hyperparameters: dict) -> tuple[jax.Array, ...]:
    """What the model reads of a batch as evaluation sees it."""
    return program.task(hyperparameters['task']).inputs(_seen(program, batch))


def outputs(program: Program, state: State, batch: Batch, hyperparameters: dict) -> Any:
    """What the model gives for a batch as evaluation sees it."""
    return apply(program, state)(*inputs(program, batch, hyperparameters))


def means(sums: Sums) -> dict[str, float]:
    """Sums -> averages, on the host."""
    sums = jax.device_get(sums)
    return {name: float(total / max(weight, 1e-30)) for name, (total, weight) in sums.items()}


def _forward(model, params, model_state, inputs, key):
    """Training mode: (outputs, updated collections)."""
    return model.apply(
        {'params': parallel.whole(params), **model_state},
        *inputs,
        train=True,
        rngs={'dropout': jax.random.fold_in(key, 1)},
        mutable=list(model_state),
    )


def _augmented(program: Program, key, batch: Batch, first) -> Batch:
    """Rows `first`, first + 1 ... of a training batch, augmented."""
    operations = spec.parse(program.augment, augment)
    return chain.train(operations, key, batch, first, program.labels)


def _seen(program: Program, batch: Batch) -> Batch:
    """A batch as evaluation gives it to the model."""
    return chain.evaluate(spec.parse(program.augment, augment), batch)


def _viewed(program: Program, seed, batch: Batch, view) -> Batch:
    """One of the batch's views."""
    operations = spec.parse(program.tta, augment, 'tta')
    if not operations:
        return batch
    key = jax.random.fold_in(step_key(seed, jnp.uint32(VIEWS)), view)
    changed = chain.view(operations, key, batch)
    return jax.tree.map(lambda plain, new: jnp.where(view == 0, plain, new), batch, changed)


def _accumulate(gradients, model_state, batch: Batch, first, count: int):
    """Sums of gradients and metrics over `count` microbatches, one after another."""
    rows = batch['mask'].shape[0] // count
    split = jax.tree.map(lambda x: x.reshape(count, rows, *x.shape[1:]), batch)

    def add(carry, item):
        model_state, total = carry
        number, microbatch = item
        grads, sums, model_state = gradients(model_state, microbatch, first + number * rows)
        return (model_state, jax.tree.map(jnp.add, total, (grads, sums))), None

    shapes = jax.eval_shape(
        lambda b: gradients(model_state, b, first)[:2], jax.tree.map(lambda x: x[0], split)
    )
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    (model_state, (grads, sums)), _ = jax.lax.scan(
        add, (model_state, zeros), (jnp.arange(count), split)
    )
    return grads, sums, model_state


def _sum(weighted: Weighted, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(values, weights) [B, ...], mask [B] -> (sum of values * weights, sum of weights).

    Padded rows are replaced, not multiplied by zero: they may hold NaN.
    """
    values, weights = (x.astype(jnp.float32) for x in weighted)
    real = (mask > 0).reshape(mask.shape + (1,) * (values.ndim - 1))
    weights = jnp.where(real, weights, 0)
    return jnp.sum(jnp.where(real, values, 0) * weights), jnp.sum(weights)


def _average(ema, params, decay, step):
    """Moving average with the bias of its start removed: min(decay, (1 + step) / (10 + step))."""
    if ema is None:
        return None
    now = step.astype(jnp.float32)
    decay = jnp.minimum(decay, (1 + now) / (10 + now))
    # Of a difference, so that a parameter that does not change is exactly its average.
    return jax.tree.map(lambda e, p: e + (1 - decay) * (p - e), ema, params)


def _at_least_tiny(x):
    return jnp.maximum(x, 1e-30)
