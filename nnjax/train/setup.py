"""From a config to everything a run needs, before its folder exists: mistakes surface here."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from nnjax import build, duration
from nnjax import config as configs
from nnjax.data import augment, pipeline, prepare, spec
from nnjax.data.source import Dataset, Slice
from nnjax.errors import UserError
from nnjax.train import parallel, step
from nnjax.train.parallel import Placement

RESIDENT_BYTES = 1 << 30  # training data up to this size stays on the device


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run's parts.

    Attributes:
      config: the checked config.
      dataset: sources of examples.
      program: the static half of the step.
      hyperparameters: its traced numbers.
      total: steps in the run.
      steps: a duration -> whole steps of this run.
      prepare: host operations on a batch of raw arrays.
      example: {field: (shape, dtype)} of a prepared example.
      resident: whether the training split stays on the device.
      placement: devices and how they share the work.
    """

    config: ConfigDict
    dataset: Dataset
    program: step.Program
    hyperparameters: build.Hyperparameters
    total: int
    steps: Callable[[str], int]
    prepare: Callable[[dict], dict]
    example: dict[str, tuple[tuple[int, ...], np.dtype]]
    resident: bool
    placement: Placement

    def batch_shapes(self, rows: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of a batch of `rows` prepared examples."""
        shapes = {n: jax.ShapeDtypeStruct((rows, *s), d) for n, (s, d) in self.example.items()}
        return {**shapes, 'mask': jax.ShapeDtypeStruct((rows,), np.float32)}

    def initial_state(self):
        """A function without arguments, to be jitted or traced for its shapes."""
        batch = {n: np.zeros(s.shape, s.dtype) for n, s in self.batch_shapes(1).items()}
        return step.init(self.program, np.uint32(self.config.seed), batch, self.hyperparameters)


def setup(config: ConfigDict) -> Setup:
    """A config -> its Setup; the model is traced for its shapes, nothing is computed.

    Raises:
      UserError: whatever in the config cannot run, in one line.
    """
    configs.check(config)
    dataset = build.instantiate(config.data)
    if config.smoke:
        dataset = _tiny(dataset, 2 * config.batch)
    if len(dataset.train) < 1:
        raise UserError('the training split is empty')
    if config.batch % config.accumulate:
        raise UserError(f'accumulate={config.accumulate} must divide batch={config.batch}')

    steps = functools.partial(duration.steps, size=len(dataset.train), batch=config.batch)
    total = 2 if config.smoke else steps(config.total)
    if total < 1:
        raise UserError(f'total={config.total!r} is less than one step')
    to_steps = functools.partial(steps, total=total)
    hyperparameters = build.hyperparameters(config, to_steps)
    hyperparameters['total'] = np.float32(total)

    spec.parse(config.augment, augment)
    apply = pipeline.fit(spec.parse(config.prepare, prepare), dataset.train)
    program = step.Program(
        model=build.model(config),
        task=build.open_section(config.task, hyperparameters['task']),
        optimizer=build.open_section(config.optim, hyperparameters['optim']),
        augment=config.augment,
        accumulate=config.accumulate,
        ema=config.ema is not None,
    )
    probe = apply(dataset.train[np.zeros(1, np.int64)])
    made = Setup(
        config=config,
        dataset=dataset,
        program=program,
        hyperparameters=hyperparameters,
        total=total,
        steps=to_steps,
        prepare=apply,
        example={n: (a.shape[1:], a.dtype) for n, a in probe.items()},
        resident=_bytes(probe) * len(dataset.train) <= RESIDENT_BYTES,
        placement=parallel.placement(config.parallel),
    )
    _trace(made)
    return made


def _trace(made: Setup) -> None:
    """Runs the step on shapes alone, so that what does not fit is said in one line."""
    direction, metric = configs.schema.best(made.config.best)
    try:
        state = jax.eval_shape(made.initial_state)
        batch = made.batch_shapes(made.config.batch)
        evaluated = jax.eval_shape(
            functools.partial(step.eval_step, made.program), state, batch, made.hyperparameters
        )
    except UserError:
        raise
    except KeyError as error:
        raise UserError(f'the task wants the field {error} of a batch; the data has: '
                        f'{", ".join(made.example)}') from error
    except (TypeError, ValueError) as error:
        first = (str(error).splitlines() or ['?'])[0]
        raise UserError(f'{made.config.model.fn} does not fit the data '
                        f'{_shapes(made.example)}: {first}') from error
    if metric not in evaluated:
        raise UserError(f'best={made.config.best!r}: the task has no metric {metric!r} '
                        f'(it has: {", ".join(sorted(evaluated))})')
    labels, outputs = made.dataset.labels, _outputs(made)
    if labels and outputs and outputs[-1] != len(labels) and 'classes' in made.config.model:
        raise UserError(f'the data has {len(labels)} classes, the model gives {outputs[-1]} '
                        f'outputs: set --config.model.classes={len(labels)}')


def _outputs(made: Setup) -> tuple[int, ...]:
    state, batch = jax.eval_shape(made.initial_state), made.batch_shapes(1)
    inputs = made.program.task(made.hyperparameters['task']).inputs(batch)
    out = jax.eval_shape(lambda s, i: step.apply(made.program, s)(*i), state, inputs)
    return getattr(out, 'shape', ())


def _shapes(example) -> str:
    return ', '.join(f'{n} {"x".join(map(str, s)) or "scalar"}' for n, (s, _) in example.items())


def _bytes(arrays: dict[str, np.ndarray]) -> int:
    return sum(a.nbytes for a in arrays.values())


def _tiny(dataset: Dataset, rows: int) -> Dataset:
    """The first rows of every split: a smoke test's data."""
    def first(source: Any):
        return source and Slice(source, np.arange(min(rows, len(source))))

    return dataclasses.replace(dataset, train=first(dataset.train), valid=first(dataset.valid),
                               test=first(dataset.test))
