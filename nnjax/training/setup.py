"""From a config to everything a run needs, before its folder exists: mistakes surface here."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from nnjax import build, duration, texts
from nnjax import config as configs
from nnjax.data import packing, prepare, spec
from nnjax.data.description import SPLITS
from nnjax.data.order import Order
from nnjax.data.preparation import Preparation, Prepared
from nnjax.data.source import Dataset, Slice, Source
from nnjax.errors import UserError
from nnjax.tasks.task import Task
from nnjax.training import arrange, check, parallel, step
from nnjax.training.parallel import Placement
from nnjax.training.state import State

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
      prepare: host operations on a batch of raw arrays, with what they learned from train.
      train: prepared training examples; packed, several in a row.
      order: which of its rows make the batch of which step.
      rows: rows of a training batch: the config's, rounded up so that all devices get as many.
      padding: the share of positions in training batches that holds nothing.
      example: {field: (shape, dtype)} of a row of `train`.
      resident: whether the training split stays on the device.
      placement: devices and how they share the work.
      state, train_sums, eval_sums: shapes of the state and of what the two steps sum up.
      jaxpr: the text of the train step, for rules on what it contains.
    """

    config: ConfigDict
    dataset: Dataset
    program: step.Program
    hyperparameters: build.Hyperparameters
    total: int
    steps: Callable[[str], int]
    prepare: Preparation
    train: Source
    order: Order
    rows: int
    padding: float
    example: dict[str, tuple[tuple[int, ...], np.dtype]]
    resident: bool
    placement: Placement
    state: State = None
    train_sums: step.Sums = None
    eval_sums: step.Sums = None
    jaxpr: str = ''

    @property
    def views(self) -> int:
        """Views of an example whose predictions are averaged."""
        return self.config.tta_views if self.program.tta else 1

    @property
    def task(self) -> Task:
        """The task with the run's own numbers."""
        return self.program.task(self.hyperparameters['task'])

    @property
    def scored(self) -> bool:
        """Whether the task has scores of a whole split's predictions."""
        return self.task.score is not None

    def scores_at(self, now: int) -> bool:
        """Whether the evaluation after `now` steps also predicts and scores the validation split.

        It is the first one since another `score_every` has passed, and the last one.
        """
        if not self.config.score_every:
            return False
        each, often = (
            max(1, self.steps(text)) for text in (self.config.eval_every, self.config.score_every)
        )
        return now == self.total or now // often > (now - 1) // each * each // often

    def prepared(self, source: Source) -> Source:
        """Raw examples to evaluate -> prepared ones, with the fields of the training rows."""
        name = next((n for n in SPLITS if getattr(self.dataset, n) is source), '')
        made = Prepared(source, self.prepare, name)
        return packing.Apart(made) if self.config.pack else made

    def batch_shapes(self, rows: int) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of a batch of `rows` prepared examples."""
        shapes = {n: jax.ShapeDtypeStruct((rows, *s), d) for n, (s, d) in self.example.items()}
        return {**shapes, 'mask': jax.ShapeDtypeStruct((rows,), np.float32)}


def setup(
    config: ConfigDict,
    statistics: list[Any] | None = None,
    dataset: Dataset | None = None,
    training: bool = True,
) -> Setup:
    """A config -> its Setup; the model is traced for its shapes, nothing is computed.

    `statistics` are those of `prepare`, of a run that has begun; else they are learned from train.
    A `dataset` that is given takes the place of the config's: a described one is enough to predict.
    Without `training` the train step is not traced: files that it alone reads need not be there.

    Raises:
      UserError: whatever in the config cannot run, in one line.
    """
    configs.check(config)
    if dataset is None:
        dataset = build.instantiate(config.data)
        dataset = _tiny(dataset, 2 * config.batch) if config.smoke else dataset
    if len(dataset.train) < 1:
        raise UserError('the training split is empty')
    if config.batch % config.accumulate:
        raise UserError(f'accumulate={config.accumulate} must divide batch={config.batch}')

    check.rate(config, dataset)
    operations = spec.parse(config.prepare, prepare)
    raw = example_bytes(dataset.train.spec)
    for operation in operations:
        if operation.check:
            check.examples(dataset, operation.check, raw)
    preparation = Preparation(operations, dataset.train, statistics or arrange.inherited(config))
    train = Prepared(dataset.train, preparation, 'train')
    small = example_bytes(train.spec) * len(train) <= RESIDENT_BYTES
    train, order, cuts, padding = arrange.rows(config, train, small)

    steps = functools.partial(duration.steps, size=order.epoch * config.batch, batch=config.batch)
    total = steps(config.total)
    if total < 1:
        raise UserError(f'total={config.total!r} is less than one step')
    total = 2 if config.smoke else total
    to_steps = functools.partial(steps, total=total)
    hyperparameters = build.hyperparameters(config, to_steps)
    hyperparameters['total'] = np.float32(total)

    placement = parallel.placement(config.parallel, config.devices)
    labels = arrange.labels(config, dataset, train.spec)
    # All devices get as many rows; where operations mix pairs, every share is even.
    share = placement.devices * config.accumulate * (2 if labels else 1)
    batch = -(-config.batch // share) * share
    program = step.Program(
        model=build.model(config),
        task=build.open_section(config.task, hyperparameters['task']),
        optimizer=build.open_section(config.optim, hyperparameters['optim']),
        augment=config.augment,
        labels=labels,
        cuts=cuts,
        tta=arrange.views(config),
        accumulate=config.accumulate,
        ema=config.ema is not None,
        freeze=config.get('freeze') or None,
        padded=batch != config.batch or bool(cuts),  # a bucket's last batch is a part of one
    )
    made = Setup(
        config=config,
        dataset=dataset,
        program=program,
        hyperparameters=hyperparameters,
        total=total,
        steps=to_steps,
        prepare=preparation,
        train=train,
        order=order,
        rows=batch,
        padding=padding,
        example=train.spec,
        resident=example_bytes(train.spec) * len(train) <= RESIDENT_BYTES,
        placement=placement,
    )
    made = _trace(made, training)
    check.metrics(config, made.eval_sums, made.scored, dataset.valid is not None)
    check.model(config, dataset, preparation)
    check.labels(config, made.task.classes, dataset, raw)
    check.frames(config, made.task.framed, preparation, dataset.train.spec)
    if wrong := made.task.check:
        classes = config.model.get('classes')
        check.examples(dataset, lambda arrays: wrong(preparation(arrays), classes), raw)
    return made


def _trace(made: Setup, training: bool) -> Setup:
    """Runs both steps on shapes alone, so that what does not fit is said in one line."""
    batch, values = made.batch_shapes(made.config.batch), made.hyperparameters
    init, train, evaluate, predict = (
        functools.partial(f, made.program)
        for f in (step.init, step.train_step, step.eval_step, step.predict)
    )
    try:
        seed = np.uint32(made.config.seed)
        state = jax.eval_shape(init, seed, made.batch_shapes(1), values, {})
        eval_sums = jax.eval_shape(evaluate, state, batch, values)
        jaxpr, train_sums = '', {**eval_sums, **dict.fromkeys(step.ALONE, eval_sums['loss'])}
        if training:
            jaxpr, (_, train_sums) = jax.make_jaxpr(train, return_shape=True)(state, batch, values)
        predictions = jax.eval_shape(predict, state, batch, values, 0)  # what is too long, too
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        if made.config.pack:
            raise UserError(
                f'pack=True is for language models that are Transformers: {made.config.model.fn} '
                f'with {made.config.task.fn} takes one example a row; leave out pack'
            ) from error
        if not isinstance(error, KeyError):
            first = (str(error).splitlines() or ['?'])[0]
            raise UserError(
                f'{made.config.model.fn} does not fit the data ({_shapes(made.example)}): {first}'
            ) from error
        raise UserError(
            f'the task wants the field {error} of a batch; the data has: '
            f'{", ".join(made.example)}{_unprepared(made.dataset)}'
        ) from error
    whole = [n for n, a in predictions.items() if not jnp.issubdtype(a.dtype, jnp.floating)]
    if made.program.tta and (whole or not predictions):
        raise UserError(
            f'tta={made.program.tta!r} takes the mean of predictions: '
            + (f'the task predicts {whole[0]!r}, no real number' if whole else 'the task has none')
        )
    return dataclasses.replace(
        made, state=state, train_sums=train_sums, eval_sums=eval_sums, jaxpr=str(jaxpr)
    )


def _unprepared(dataset: Dataset) -> str:
    names = texts.fields(dataset.train.spec)
    return f', and texts that prepare can make numbers of: {", ".join(names)}' if names else ''


def _shapes(example) -> str:
    return ', '.join(f'{n} {"x".join(map(str, s)) or "scalar"}' for n, (s, _) in example.items())


def example_bytes(example: dict[str, tuple[tuple[int, ...], np.dtype]]) -> int:
    """{field: (shape, dtype)} -> bytes of an example."""
    return sum(math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in example.values())


def _tiny(dataset: Dataset, rows: int) -> Dataset:
    """The first rows of every split: a smoke test's data."""

    def first(source: Any):
        return source and Slice(source, np.arange(min(rows, len(source))))

    return dataclasses.replace(
        dataset, train=first(dataset.train), valid=first(dataset.valid), test=first(dataset.test)
    )
