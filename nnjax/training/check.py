"""Whether a config's data, model and task fit one another, before a run begins: one line where not."""

from collections.abc import Callable, Iterable

import numpy as np
from ml_collections import ConfigDict

from nnjax import config as configs
from nnjax.data import augment, spec
from nnjax.data.augment import chain
from nnjax.data.description import SPLITS, Described
from nnjax.data.preparation import FIT_BYTES, Preparation, empty
from nnjax.data.source import ROWS, Arrays, Dataset
from nnjax.data.text.vocabulary import BEGIN, END
from nnjax.errors import UserError

Check = Callable[[Arrays], tuple[int, str] | None]  # arrays [N, ...] -> (a bad row, what of it)


def examples(dataset: Dataset, wrong: Check, size: int) -> None:
    """Refuses the first example that `wrong` finds, by its split and row.

    Of a split of more than 256 MiB, `size` bytes an example, so much of it is read, evenly spaced.

    Raises:
      UserError: there is one.
    """
    for split in SPLITS:
        source = getattr(dataset, split)
        if source is None or isinstance(source, Described):
            continue
        count = min(len(source), max(1, FIT_BYTES // max(1, size)))
        rows = np.arange(count) * len(source) // count
        for start in range(0, count, ROWS):
            some = rows[start : start + ROWS]
            if found := wrong(source[some]):
                row, what = found
                raise UserError(f'{split} example {some[row]}: {what}')


def rate(config: ConfigDict, dataset: Dataset) -> None:
    """Operations on sounds are of one rate, the data's.

    Raises:
      UserError: they are not.
    """
    views = spec.parse(config.tta, augment, 'tta')
    found = chain.rate([*spec.parse(config.augment, augment), *views])
    if None not in (found, dataset.rate) and found != dataset.rate:
        raise UserError(
            f'augment={config.augment!r} reads sounds at {found} samples a second, those of the '
            f'data have {dataset.rate}: write rate={dataset.rate} in its operations'
        )


def model(config: ConfigDict, dataset: Dataset, preparation: Preparation) -> None:
    """The model has an output for every class, and a vector for every category and token.

    Raises:
      UserError: it has not.
    """
    labels, classes = dataset.labels, config.model.get('classes')
    if labels and classes is not None and classes != len(labels):
        raise UserError(
            f'the data has {len(labels)} classes, the model {classes}: '
            f'set --config.model.classes={len(labels)}'
        )
    most = 1 + max(map(len, dataset.categories.values()), default=0)  # and none of them
    room = config.model.get('categories')
    if isinstance(room, int) and room < most:
        raise UserError(
            f'a column of the table has {most} categories with that of none, the model {room}: '
            f'set --config.model.categories={most}'
        )
    for field, vocabulary in preparation.vocabularies.items():
        known = (name for name in (f'{field}_vocabulary', 'vocabulary') if name in config.model)
        name = next(known, None)
        room = name and config.model[name]
        if room is not None and room < vocabulary.size:
            raise UserError(
                f'the vocabulary of {field!r} has {vocabulary.size} tokens, the model {room}: '
                f'set --config.model.{name}={vocabulary.size}'
            )


def labels(config: ConfigDict, field: str, dataset: Dataset, size: int) -> None:
    """Labels whose classes have no names are numbers below the model's classes.

    Raises:
      UserError: one is not, see `examples`.
    """
    classes = config.model.get('classes')
    if dataset.labels or classes is None or field not in dataset.train.spec:
        return

    def wrong(arrays: Arrays) -> tuple[int, str] | None:
        found = arrays.get(field)
        if found is None or found.ndim != 1 or found.dtype.kind not in 'iu':
            return None
        bad = (found < 0) | (found >= classes)
        if not bad.any():
            return None
        row = int(bad.argmax())
        return row, (
            f'its {field!r} is {found[row]}, the classes of the model are 0 to {classes - 1}: '
            'set --config.model.classes, or number them from 0'
        )

    examples(dataset, wrong, size)


def frames(config: ConfigDict, framed: tuple[str, ...], preparation: Preparation, raw) -> None:
    """An empty text of the `framed` fields is <bos> <eos>; `raw` is the spec of raw examples.

    Raises:
      UserError: it is not.
    """
    for field in {*framed} & {*preparation.vocabularies}:
        found = preparation(empty(raw, 1))
        if found[field][0, : found[f'{field}_length'][0]].tolist() != [BEGIN, END]:
            raise UserError(
                f'{config.task.fn}: the texts of {field!r} must begin with <bos> and end with '
                f'<eos>: give its tokenizer in prepare={config.prepare!r} begin=True, end=True'
            )


def metrics(config: ConfigDict, known: Iterable[str], scored: bool, validated: bool) -> None:
    """What scores on the way and what marks the best exist; `known` are the task's metrics.

    Raises:
      UserError: they do not.
    """
    often = config.score_every
    if often and not (scored and validated):
        lacking = 'no validation split' if scored else 'a task without scores'
        raise UserError(f'score_every={often!r}: the run has {lacking}; leave it None')
    if not often:  # else the first scoring says whether it is a score
        best(config, known, '; scores by score_every' * scored)


def best(config: ConfigDict, known: Iterable[str], more: str = '') -> None:
    """The metric that marks the best is among the `known` ones.

    Raises:
      UserError: it is not; names them, and what `more` there is.
    """
    known = sorted(known)
    _, metric = configs.schema.best(config.best)
    if metric not in known:
        raise UserError(
            f'best={config.best!r}: the task has no metric {metric!r} '
            f'(it has: {", ".join(known)}{more})'
        )
