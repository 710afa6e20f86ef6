"""What a model and a run cost, before any data is read: shapes go in, numbers come out."""

import dataclasses
import functools
import math
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from nnjax.analysis import flops
from nnjax.build import traced_paths
from nnjax.training import paths

_MARK = 'module'  # a named scope `module[3]` marks the equations of the table's row 3


@dataclasses.dataclass(frozen=True)
class Row:
    """A module of a model, without what its own submodules hold and do.

    Attributes:
      path: names from the root, () for the root itself.
      kind: the module's class.
      outputs: shape of each output array for one example, without the batch axis.
      parameters: entries of its own parameters.
      flops: its own arithmetic for one example, forward; a module called twice counts twice.
    """

    path: tuple[str, ...]
    kind: str
    outputs: tuple[tuple[int, ...], ...]
    parameters: int
    flops: int


@dataclasses.dataclass(frozen=True)
class Card:
    """What a run costs.

    Attributes:
      parameters: entries of the state's parameters.
      frozen: how many of them do not train.
      step_flops: arithmetic of one training step: forward, backward, update, all devices.
      steps: training steps in the run.
      steps_per_epoch: or None where a run has no epochs.
      step_bytes: peak memory of the compiled step on a device, or None where the backend is silent.
      resident_bytes: data kept on a device beside it.
      compile_seconds: to compile the step here (less if a persistent cache held it).
      step_seconds: one step, measured here on zeros; None if not measured.
      notes: what the numbers leave out.
      arguments: config fields whose numbers are arguments of the step: a new value compiles nothing.
    """

    parameters: int
    step_flops: int
    steps: int
    steps_per_epoch: int | None
    step_bytes: int | None
    resident_bytes: int
    compile_seconds: float
    step_seconds: float | None
    notes: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    frozen: int = 0

    @property
    def epoch_flops(self) -> int | None:
        return None if self.steps_per_epoch is None else self.step_flops * self.steps_per_epoch

    @property
    def run_flops(self) -> int:
        return self.step_flops * self.steps

    @property
    def peak_bytes(self) -> int | None:
        """The step's memory and the resident data."""
        return None if self.step_bytes is None else self.step_bytes + self.resident_bytes

    @property
    def seconds(self) -> float | None:
        """Predicted: compile once, then every step as long as the measured one."""
        if self.step_seconds is None:
            return None
        return self.compile_seconds + self.steps * self.step_seconds


def model_table(model: nn.Module, *inputs: Any, **settings: Any) -> list[Row]:
    """The modules of a model in the order of their first call, root first.

    inputs: arrays or `jax.ShapeDtypeStruct`s [B, ...] (only shapes count; the table is for B = 1);
    settings: the call's other arguments, such as train=False. Columns add up to the whole model:
    arithmetic between submodules (an activation, a pooling function) is their parent's.
    """
    modules, outputs = {}, {}  # path -> class name; path -> shapes from the first call

    def record(call, args, kwargs, context):
        path = context.module.path
        first = path not in modules and context.method_name != 'setup'
        if first:
            modules[path] = type(context.module).__name__
        with jax.named_scope(f'{_MARK}[{list(modules).index(path) if path in modules else 0}]'):
            result = call(*args, **kwargs)
        if first:
            shapes = [jnp.shape(x) for x in jax.tree.leaves(result)]
            outputs[path] = tuple(s[1:] if s[:1] == (1,) else s for s in shapes)
        return result

    def forward(variables, *inputs):
        with nn.intercept_methods(record):
            return model.apply(variables, *inputs, rngs=jax.random.key(0), **settings)

    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape[1:])[: x.ndim], x.dtype), inputs)
    variables = jax.eval_shape(lambda *xs: model.init(jax.random.key(0), *xs, **settings), *one)
    tally = flops.tally(forward, variables, *one)

    work, size = dict.fromkeys(modules, 0), dict.fromkeys(modules, 0)
    names = list(modules)
    for scope, number in tally.scopes.items():
        marks = re.findall(rf'{_MARK}\[(\d+)\]', scope)
        work[names[int(marks[-1])] if marks else ()] += number
    for path, leaf in flatten_dict(nn.meta.unbox(variables.get('params', {}))).items():
        owner = next(path[:n] for n in reversed(range(len(path))) if path[:n] in modules)
        size[owner] += math.prod(leaf.shape)
    return [Row(p, kind, outputs[p], size[p], work[p]) for p, kind in modules.items()]


def card(
    step_function: Callable,
    state: Any,
    batch: Any,
    hyperparameters: Any,
    *,
    steps: int,
    steps_per_epoch: int | None = None,
    resident_bytes: int = 0,
    frozen: int = 0,
    measure: bool = True,
    budget: float = 0.3,
) -> Card:
    """Costs of `steps` calls of step_function(state, batch, hyperparameters) -> (state, sums).

    state (with `params`), batch: trees of `jax.ShapeDtypeStruct`; hyperparameters: also numbers.
    A function that can `.lower` (jit, pmap) is compiled as it is, another under jit with its state
    donated. Memory is the compiler's count: arguments + temporaries + outputs - aliased.

    The predicted time is the compile time plus `steps` times one step's: the median of the steps
    that fit into `budget` seconds (one at least), on zeros, the first left out. It holds for this
    machine as busy as it is now, and leaves out evaluation, checkpoints and input from a disk.
    `measure=False` runs nothing and leaves the time None.
    """
    tally = flops.tally(step_function, state, batch, hyperparameters)
    if not hasattr(step_function, 'lower'):
        step_function = jax.jit(step_function, donate_argnums=0)
    began = time.perf_counter()
    compiled = step_function.lower(state, batch, hyperparameters).compile()
    compile_seconds = time.perf_counter() - began
    memory = compiled.memory_analysis()
    return Card(
        parameters=paths.size(state.params),
        frozen=frozen,
        step_flops=tally.flops,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        step_bytes=memory and _bytes(memory),
        resident_bytes=resident_bytes,
        compile_seconds=compile_seconds,
        step_seconds=_time(compiled, (state, batch, hyperparameters), budget) if measure else None,
        notes=tuple(sorted(tally.notes)),
        arguments=tuple(traced_paths(hyperparameters)),
    )


def of_config(config: ConfigDict, measure: bool = True) -> tuple[Card, list[Row]]:
    """A run's card, its whole batch on one device, and its model's table.

    Of the data only what `setup` needs is touched: an example's shape, the training split's size.
    """
    from nnjax.training import freeze, step
    from nnjax.training.setup import example_bytes, setup

    made = setup(config)
    batch, values = made.batch_shapes(made.config.batch), made.hyperparameters
    params = made.state.params
    inputs = jax.eval_shape(functools.partial(step.inputs, made.program), batch, values)
    costs = card(
        functools.partial(step.train_step, made.program),
        made.state,
        batch,
        values,
        steps=made.total,
        steps_per_epoch=made.steps('1 epoch'),
        resident_bytes=example_bytes(made.example) * len(made.train) if made.resident else 0,
        frozen=paths.size(params) - paths.size(freeze.trained(made.program.freeze, params)),
        measure=measure,
    )
    if made.config.buckets:
        note = 'buckets: a step is counted at full length; those of shorter ones cost less'
        costs = dataclasses.replace(costs, notes=(*costs.notes, note))
    return costs, model_table(made.program.model, *inputs, train=False)


def _bytes(memory: Any) -> int:
    """Peak of a compiled program; an aliased output takes no memory of its own."""
    used = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    return used - memory.alias_size_in_bytes


def _time(compiled: jax.stages.Compiled, args: tuple, budget: float) -> float:
    """Median seconds of a step within a budget; the first, if not alone, warms up."""
    shardings = compiled.input_shardings[0]
    zeros = jax.tree.map(lambda x: jnp.zeros(jnp.shape(x), jnp.result_type(x)), args)
    state, *rest = jax.device_put(zeros, shardings)
    times = []
    while sum(times) < budget and len(times) < 1000:
        state = jax.device_put(state, shardings[0])
        began = time.perf_counter()
        state, sums = compiled(state, *rest)
        jax.block_until_ready((state, sums))
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:] or times)
