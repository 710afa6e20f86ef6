"""What a config makes of the training examples: rows, their order, what is mixed and viewed."""

from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from nnjax.data import augment, lengths, packing, prepare, spec
from nnjax.data.augment import chain
from nnjax.data.augment.operation import Always, Keep, Pairwise
from nnjax.data.description import Described
from nnjax.data.order import Grouped, Order, Shuffled
from nnjax.data.preparation import Operation, Prepared
from nnjax.data.source import Dataset, Source, columns
from nnjax.errors import UserError
from nnjax.training.folder import RunFolder


def rows(
    config: ConfigDict, train: Prepared, small: bool
) -> tuple[Source, Order, tuple[lengths.Cut, ...], float]:
    """Prepared training examples -> (rows, their order, cuts of buckets, share of padding).

    Those of a `small` split are prepared once and kept; of examples that are only described there is
    nothing to arrange.
    """
    if isinstance(train.source, Described):  # nothing of it is read
        alike = packing.Apart(train) if config.pack else train
        return alike, Shuffled(len(train), config.batch), (), 0.0
    if config.group > 1 and (config.pack or config.buckets):
        raise UserError(
            f'group={config.group} needs rows of one length: leave out pack and buckets'
        )
    if config.pack and config.buckets:
        raise UserError('pack=True fills every row to its end: leave out buckets, or pack')
    if config.pack:
        train = packing.Packed(train)
        return train, Shuffled(len(train), config.batch), (), train.padding
    if not lengths.fields(train.spec):
        if config.buckets:
            raise UserError(
                f'buckets={config.buckets}: the data has no sequences with lengths '
                f'(it has: {", ".join(train.spec)})'
            )
        return train, _order(config, train, small), (), 0.0
    if small:
        train.keep()
    elif not config.buckets:  # all of a large set is not read for its share of padding
        return train, _order(config, train, small), (), 0.0
    cuts, found = lengths.cuts(train.spec, config.buckets), lengths.read(train)
    rows = lengths.members(found, cuts)
    full = [(own, one) for own, one in zip(rows, cuts) if len(own)]
    rows, cuts = (tuple(part) for part in zip(*full))
    padding = lengths.padding(found, cuts, rows)
    if not config.buckets:
        return train, _order(config, train, small), (), padding
    return train, lengths.Bucketed(rows, config.batch), cuts, padding


def _order(config: ConfigDict, train: Prepared, small: bool) -> Order:
    """The order of rows of one length: all at random, or `config.group` of a class side by side."""
    if config.group == 1:
        return Shuffled(len(train), config.batch)
    label = config.task.get('label')
    if label not in train.spec or train.spec[label][0]:
        raise UserError(
            f"group={config.group} takes one class for each example as the task's label"
        )
    if small:
        train.keep()
    grouped = Grouped(columns(train, [label])[label], config.group, config.batch)
    if not grouped.epoch:
        raise UserError(f'group={config.group}: no class has so many training examples')
    return grouped


def inherited(config: ConfigDict) -> list[Any] | None:
    """What operations learned in the run that `init_from` names, see `kept`."""
    folder = Path(config.get('init_from') or '')
    return kept(config, RunFolder(folder)) if (folder / RunFolder.FILE).is_file() else None


def kept(config: ConfigDict, folder: RunFolder) -> list[Any] | None:
    """What the operations of a run had learned, for those of `config.prepare`.

    All of it where they are the same. Else vocabularies alone, for the model's ids are theirs; None
    stands for what is learned anew.

    Raises:
      UserError: an operation here makes other ids of the run's fields.
    """
    statistics, before = folder.statistics(), folder.saved('config')['config'].get('prepare')
    if before == config.prepare:
        return statistics
    held = {}
    for operation, own in zip(spec.parse(before, prepare), statistics):
        if operation.vocabularies and operation.learn:
            held |= dict.fromkeys(operation.vocabularies(own), own)
    if not held:
        return None
    problem = (
        f'{folder.path} was trained with the tokens of prepare={before!r}: keep its tokenizers'
    )
    return [
        _vocabulary(operation, held, problem)
        if operation.vocabularies and operation.learn
        else None
        for operation in spec.parse(config.prepare, prepare)
    ]


def _vocabulary(operation: Operation, held: dict[str, Any], problem: str) -> Any:
    """The statistics among those of fields that an operation can take for its own fields."""
    why = 'the same fields share another one'
    different = [own for n, own in enumerate(held.values()) if own not in [*held.values()][:n]]
    for statistics in different:
        try:
            fields = operation.vocabularies(statistics)
        except UserError as error:
            why = str(error).removeprefix('prepare: ')
            continue
        if all(own == statistics for own in [held[n] for n in fields if n in held] or different):
            return statistics
    raise UserError(f'{problem} ({why}; its weights alone are those of nnjax weights export)')


def labels(config: ConfigDict, dataset: Dataset, example) -> chain.Labels | None:
    """The task's labels, where operations of `config.augment` mix them."""
    if not any(isinstance(o, Pairwise) for o in spec.parse(config.augment, augment)):
        return None
    problem = f'augment={config.augment!r} mixes pairs of examples and their labels'
    if config.batch % (2 * config.accumulate):
        raise UserError(
            f'{problem}: batch={config.batch} must be a multiple of {2 * config.accumulate}, '
            'two examples for each of accumulate'
        )
    field = config.task.get('label')
    if field not in example:
        raise UserError(f'{problem}: the task has no field of labels among {", ".join(example)}')
    shape, dtype = example[field]
    if np.issubdtype(dtype, np.floating):
        return field, 0
    classes = config.model.get('classes') or len(dataset.labels)
    if shape or not classes:
        raise UserError(
            f'{problem}: it takes one class for each example, and their number from the names of '
            f"the classes or the model's field 'classes'; {field!r} is {dtype} {list(shape)}"
        )
    return field, classes


def views(config: ConfigDict) -> str:
    """`config.tta`, whose operations make views of an example."""
    for operation in spec.parse(config.tta, augment, 'tta'):
        if isinstance(operation, (Always, Keep, Pairwise)):
            raise UserError(
                f'tta={config.tta!r}: keep, mixup, cutmix and normalize make no views; '
                'use operations that change one example at random'
            )
    return config.tta
