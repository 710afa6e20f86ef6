"""Sources by name: what a config's `data` section may bind. Each is a function -> Dataset."""

from pathlib import Path
from typing import Any

import numpy as np

from nnjax.data import files, tfds
from nnjax.data.source import Dataset, Rows, Source, hold_out, share
from nnjax.errors import UserError

__all__ = ['Arrays', 'Csv', 'Folder', 'Npz', 'Tfds']


def Tfds(
    name: str,
    train: str = 'train',
    valid: str | None = '10%',
    test: str | None = 'test',
    data_dir: str | None = None,
) -> Dataset:
    """A prepared TFDS data set, TensorFlow never imported; digits and fashion_mnist prepare themselves.

    Args:
      name: TFDS name, with /config where there is one
      train: split to train on, e.g. 'train[:55000]'
      valid: a split of its own, or a share ('10%') or number ('5000') held out of train, or None
      test: split for the final score, or None
      data_dir: folder of prepared data; default is nnjax's and then ~/tensorflow_datasets
    """
    opened = tfds.open(name, data_dir)
    own = {} if valid is None or share(valid, 10**9, 'valid') else {'valid': valid}
    found = {
        what: tfds.split(opened, text, what)
        for what, text in {'train': train, 'test': test, **own}.items()
        if text is not None
    }
    return _with_valid(found['train'], found.get('valid', valid), found.get('test'), opened.labels)


def Arrays(
    train: dict[str, Any],
    valid: dict[str, Any] | str | None = '10%',
    test: dict[str, Any] | None = None,
    labels: tuple[str, ...] = (),
) -> Dataset:
    """Arrays in memory, {'image': [N, H, W, C], 'label': [N]}; fields may have any name.

    Args:
      train: fields of the training split
      valid: fields of the validation split, or a share or number held out of train, or None
      test: fields of the test split
      labels: class names
    """

    def rows(fields):
        if not all(isinstance(value, np.ndarray) for value in fields.values()):
            raise UserError('sources.Arrays needs NumPy arrays (a saved config does not keep them)')
        return Rows({name: _compact(value) for name, value in fields.items()})

    own = valid if valid is None or isinstance(valid, str) else rows(valid)
    return _with_valid(rows(train), own, test and rows(test), labels)


def Npz(path: str, valid: str | None = '10%', test: str | None = None) -> Dataset:
    """Arrays x_train, y_train, x_test, y_test of an .npz file, or train_FIELD and test_FIELD.

    x is the field 'image', y is 'label'. A file with plain fields is one pool of examples.

    Args:
      path: the file
      valid: share or number held out of train, or None
      test: share or number held out, where the file has no test arrays, or None
    """
    splits = files.npz_splits(Path(path))
    held = Rows(splits['test']) if 'test' in splits else test
    return _pool(Rows(splits['train']), valid, held, ())


def Folder(
    path: str,
    valid: str | None = '10%',
    test: str | None = '10%',
    height: int | None = None,
    width: int | None = None,
) -> Dataset:
    """Images in one folder a class: PATH/CLASS/*.png, or PATH/train/CLASS/* and PATH/test/CLASS/*.

    Args:
      path: the folder
      valid: share or number held out of train, or None
      test: share or number held out, where there is no test folder, or None
      height: pixels that every image is resized to; None where all have one size
      width: likewise
    """
    root = Path(path)
    size = (height, width) if height and width else None
    nested = (root / 'train').is_dir()
    train, labels = files.class_folder(root / 'train' if nested else root, None, size)
    held = test
    if nested and (root / 'test').is_dir():
        held = Rows(files.class_folder(root / 'test', labels, size)[0])
    return _pool(Rows(train), valid, held, labels)


def Csv(path: str, label: str, valid: str | None = '10%', test: str | None = '10%') -> Dataset:
    """A table with a header: numeric columns are the field 'features' [F], one column the class.

    Args:
      path: the file, or another file for training if `test` names one
      label: column of the class; texts become classes in alphabetical order
      valid: share or number held out of train, or None
      test: another file, or a share or number held out, or None
    """
    fields, labels = files.table(Path(path), label)
    held = test
    if test and share(test, 10**9, 'test') is None:
        held = Rows(files.table(Path(test), label, labels)[0])
    return _pool(Rows(fields), valid, held, labels)


def _pool(train: Source, valid, test: Source | str | None, labels) -> Dataset:
    """Holds the test split out of train first, where it is a share."""
    if isinstance(test, str):
        train, test = hold_out(train, test, 'test')
    return _with_valid(train, valid, test, labels)


def _with_valid(train: Source, valid: Source | str | None, test, labels) -> Dataset:
    if isinstance(valid, str):
        train, valid = hold_out(train, valid, 'valid')
    for what, source in (('valid', valid), ('test', test)):
        if source is not None and source.spec != train.spec:
            raise UserError(
                f'the {what} split {_describe(source.spec)} is not like the training '
                f'split {_describe(train.spec)}'
            )
    return Dataset(train, valid, test, tuple(labels))


def _describe(spec) -> str:
    return '(' + ', '.join(f'{n} {d} {list(s)}' for n, (s, d) in spec.items()) + ')'


def _compact(array: np.ndarray) -> np.ndarray:
    """float64 -> float32, int64 -> int32: what JAX computes with."""
    return (
        array.astype({'f': np.float32, 'i': np.int32}[array.dtype.kind])
        if array.dtype in (np.float64, np.int64)
        else array
    )
