"""Sources by name: what a config's `data` section may bind. Each is a function -> Dataset.

Wherever a split is a share ('10%') or a number ('5000'), so many examples are held out of train by a
fixed permutation, of files by their names: the same ones every time, and none is trained on.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np

from nnjax.data import coco, files, folder, identities, split, tables, tfds
from nnjax.data.sound_sources import Sounds, Transcribed
from nnjax.data.source import Dataset, Rows, Source, dataset, is_share
from nnjax.data.text.sources import Jsonl, Parallel, Table, Text
from nnjax.errors import UserError
from nnjax.fields import Count, Natural

__all__ = [
    'Arrays',
    'Coco',
    'Csv',
    'Folder',
    'Identities',
    'Jsonl',
    'Npz',
    'Parallel',
    'Sounds',
    'Table',
    'Text',
    'Tfds',
    'Transcribed',
]

Size = Count | tuple[Count, Count]


def Tfds(
    name: str,
    train: str = 'train',
    valid: str | None = '10%',
    test: str | None = 'test',
    data_dir: str | None = None,
    size: Size | None = None,
    length: Count | None = None,
    cut: bool = False,
    seed: Natural = 0,
) -> Dataset:
    """A prepared TFDS data set, TensorFlow never imported; nnjax's own sets prepare themselves.

    Sounds of many lengths are the field 'audio', with zeros behind 'audio_length'; a list of
    classes that is spoken in one is the text of their names.

    Args:
      name: TFDS name, with /config where there is one
      train: split to train on, e.g. 'train[:55000]'
      valid: a split of its own, or a share ('10%') or number ('5000') held out of train, or None
      test: split for the final score, a share or number held out of train, or None
      data_dir: folder of prepared data; default is nnjax's and then ~/tensorflow_datasets
      size: pixels of a side, or (height, width), that every image is scaled to cover and cut to
        about its centre; needed where the set's images differ in size
      length: samples that every sound is filled up to; needed where sounds differ in length
      cut: whether the middle of a longer sound is used; else it is refused
      seed: of the permutation by which shares and numbers are held out
    """
    opened = tfds.open(name, data_dir)
    texts = {'train': train, 'valid': valid, 'test': test}
    pieces = {
        what: split.parse(text, opened.splits, f'data.{what}')
        for what, text in texts.items()
        if text is not None and (what == 'train' or not is_share(text))
    }
    for what, others in (('valid', ('train',)), ('test', ('train', 'valid'))):
        for other in others:
            if count := split.overlap(pieces.get(what, ()), pieces.get(other, ())):
                raise UserError(
                    f'data.{what}={texts[what]!r} shares {count} examples with '
                    f'data.{other}={texts[other]!r}'
                )
    found = tfds.sources(opened, pieces, tfds.Form(_sides(size), length, cut))
    return dataset(
        found['train'],
        found.get('valid', valid),
        found.get('test', test),
        opened.labels,
        seed,
        opened.rate,
    )


def Arrays(
    train: dict[str, Any],
    valid: dict[str, Any] | str | None = '10%',
    test: dict[str, Any] | str | None = None,
    labels: tuple[str, ...] = (),
) -> Dataset:
    """Arrays in memory, {'image': [N, H, W, C], 'label': [N]}; fields may have any name.

    Args:
      train: fields of the training split
      valid: fields of the validation split, or a share or number held out of train, or None
      test: fields of the test split, or a share or number held out of train, or None
      labels: class names
    """
    given = {'train': train, 'valid': valid, 'test': test}
    own = {what: fields for what, fields in given.items() if not isinstance(fields, str | None)}
    if not all(hasattr(v, '__array__') for fields in own.values() for v in fields.values()):
        raise UserError('sources.Arrays needs NumPy arrays (a saved config does not keep them)')
    arrays = {w: {n: np.asarray(v) for n, v in fields.items()} for w, fields in own.items()}
    splits, names = files.numeric(arrays, 'sources.Arrays')
    return _splits(splits, valid, test, labels or names)


def Npz(path: str, valid: str | None = '10%', test: str | None = None) -> Dataset:
    """Arrays of an .npz file: FIELD_SPLIT or SPLIT_FIELD, such as x_train and y_test, or FIELD alone.

    Splits are train, valid (or val) and test; fields without one are train's. x and images are the
    field 'image', y and labels are 'label'.

    Args:
      path: the file
      valid: share or number held out of train, where the file has no validation arrays, or None
      test: share or number held out of train, where the file has no test arrays, or None
    """
    splits, names = files.npz_splits(Path(path))
    return _splits(splits, valid, test, names)


def Folder(
    path: str,
    valid: str | None = '10%',
    test: str | None = '10%',
    size: Size | None = None,
    skip_corrupt: bool = False,
) -> Dataset:
    """Images in one folder a class: PATH/CLASS/*.jpg, or PATH/train/CLASS/* and PATH/test/CLASS/*.

    Args:
      path: the folder
      valid: share or number held out, where there is no folder valid (or val), or None
      test: share or number held out, where there is no folder test, or None
      size: pixels of a side, or (height, width), that every image is scaled to cover and cut to
        about its centre; None where all have one size
      skip_corrupt: leave out images that cannot be decoded; all are decoded once to find them
    """
    root = Path(path).expanduser()
    nested = (root / 'train').is_dir()
    read = functools.partial(folder.by_class, size=_sides(size), skip_corrupt=skip_corrupt)
    train, labels = read(root / 'train' if nested else root)
    channels = train.spec['image'][0][2]

    def own(*names: str) -> Source | None:
        found = [root / name for name in names if nested and (root / name).is_dir()]
        return read(found[0], labels, channels=channels)[0] if found else None

    return dataset(train, own('valid', 'val') or valid, own('test') or test, labels)


def Coco(
    path: str,
    valid: str | None = '10%',
    test: str | None = '10%',
    size: Size | None = None,
    most: Count = 32,
    skip_corrupt: bool = False,
) -> Dataset:
    """Images and the objects in them, as COCO writes it: PATH/train.json, PATH/train/*.jpg.

    The annotations of a split are PATH/SPLIT.json or PATH/annotations/instances_SPLIT.json, with a
    year behind it or not, its images in PATH/SPLIT, PATH/images/SPLIT, PATH/images or PATH.

    Args:
      path: the folder
      valid: share or number held out, where there are no annotations of valid (or val), or None
      test: share or number held out, where there are no annotations of test, or None
      size: pixels of a side, or (height, width), that every image is scaled to cover and cut to
        about its centre, its boxes with it; None where all have one size
      most: objects in an image, at most
      skip_corrupt: leave out annotations that cannot be used, such as boxes without area
    """
    root = Path(path).expanduser()
    read = functools.partial(
        coco.split, root, size=_sides(size), most=most, skip_corrupt=skip_corrupt
    )
    train, labels = read(('train',))
    own = {
        what: (read(names, like=(train, labels)) or (None,))[0]
        for what, names in (('valid', ('valid', 'val')), ('test', ('test',)))
    }
    return dataset(train, own['valid'] or valid, own['test'] or test, labels)


def Csv(
    path: str,
    label: str | None = None,
    valid: str | None = '10%',
    test: str | None = '10%',
    ignore: tuple[str, ...] = (),
    target: str | tuple[str, ...] = (),
    unique: bool = False,
    seed: Natural = 0,
) -> Dataset:
    """A table with a header: columns of numbers are the field 'features' [F], NaN where a value is missing.

    Columns of texts are the field 'features_categories' [K], whole numbers: 1 to 63 for the most
    frequent texts of the training rows, 0 for any other and for none. What is missing, rare or
    constant is said on standard error; prepare='impute' fills missing numbers.

    Args:
      path: the file, or PACKAGE:PATH, a file of an installed Python package
      label: column of the class; texts become classes in alphabetical order
      valid: another file, or a share or number held out, or None
      test: another file, or a share or number held out, or None
      ignore: columns to leave out, such as a row's name
      target: column or columns of the numbers to predict, the field 'target' [T]
      unique: leave out rows that equal an earlier one, but for what is ignored
      seed: of the permutation by which shares and numbers are held out
    """
    targets = (target,) if isinstance(target, str) else target
    if not label and not targets:
        raise UserError("sources.Csv needs label='COLUMN' (classes) or target='COLUMN' (numbers)")

    def trained(size: int) -> np.ndarray:
        shares = (text if text and is_share(text) else None for text in (valid, test))
        train = dataset(Rows({'row': np.arange(size)}), *shares, (), seed).train
        return train[np.arange(len(train))]['row']

    table = tables.examples(tables.find(path), label, ignore, None, targets, unique, train=trained)

    def own(text: str | None) -> Source | str | None:
        if text is None or is_share(text):
            return text
        other = tables.examples(tables.find(text), label, (), table, targets, unique)
        table.notes.extend(other.notes)
        return Rows(other.arrays)

    made = dataset(Rows(table.arrays), own(valid), own(test), table.labels, seed)
    for note in table.notes:
        print(note, file=sys.stderr)
    return dataclasses.replace(made, columns=table.columns, categories=table.categories)


def Identities(
    data: Dataset, valid: str | None = '10%', test: str | None = '20%', label: str = 'label'
) -> Dataset:
    """All examples of another source, split by identity: whoever is in test is not in train.

    Args:
      data: the source, such as bind(sources.Folder, path='people', valid=None, test=None)
      valid: share ('10%') or number ('50') of identities held out, or None
      test: share or number of identities held out, or None
      label: field that says who it is; numbers or texts
    """
    return identities.split(data, valid, test, label)


def _sides(size: Size | None) -> tuple[int, int] | None:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else size


def _splits(splits: dict[str, dict[str, np.ndarray]], valid, test, labels) -> Dataset:
    """A dataset of arrays; `valid` and `test` are shares for where there are none."""
    rows = {what: Rows(fields) for what, fields in splits.items()}
    return dataset(rows['train'], rows.get('valid', valid), rows.get('test', test), labels)
