"""Files of the user's own -> arrays: .npz, .npy, and everything that `nnjax predict` reads."""

import re
import sys
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nnjax import texts
from nnjax.data import images, tables
from nnjax.data.source import Arrays
from nnjax.errors import UserError

FIELDS = {'x': 'image', 'images': 'image', 'y': 'label', 'labels': 'label'}
SPLITS = {'train': 'train', 'valid': 'valid', 'val': 'valid', 'test': 'test'}


def arrays(path: Path) -> Arrays:
    """An .npz or .npy file -> its arrays (an .npy's under 'x'); nothing pickled is loaded."""
    if not path.is_file():
        raise UserError(f'no file {path}')
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {'x': loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f'{path} cannot be read: {str(error).splitlines()[0]}') from None


def npz_splits(path: Path) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """x_train, val_labels ... of an .npz -> ({'train': {'image', 'label'}, ...}, class names).

    Raises:
      UserError: no file, no training arrays, arrays that `fields` refuses.
    """
    found = arrays(path)
    splits: dict[str, Arrays] = {}
    for name, array in found.items():
        match = re.fullmatch(r'(train|valid|val|test)_(\w+)|(\w+)_(train|valid|val|test)', name)
        split = SPLITS[match[1] or match[4]] if match else 'train'
        stem = (match[2] or match[3]) if match else name
        fields = splits.setdefault(split, {})
        if FIELDS.get(stem, stem) in fields:
            raise UserError(f'{path}: two arrays are {FIELDS.get(stem, stem)!r} of {split}')
        fields[FIELDS.get(stem, stem)] = array
    if 'train' not in splits:
        raise UserError(
            f'{path} has no training arrays (x_train, y_train or image, label; '
            f'it has: {", ".join(found) or "nothing"})'
        )
    return numeric(splits, str(path))


def numeric(
    splits: Mapping[str, Mapping[str, np.ndarray]], owner: str
) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """{split: {field: array}} -> (the same as JAX takes it, names of the classes).

    64 bits become 32, 'image' [N, H, W] gains a channel, 'label' [N, 1] becomes int32 [N]; texts [N]
    have variable width. Labels that are texts become the numbers of the classes, which are in
    alphabetical order.

    Raises:
      UserError: an array without rows, of other than finite numbers, or too large for int32; arrays
        of a split that differ in length.
    """
    named = [s['label'] for s in splits.values() if 'label' in s and s['label'].dtype.kind in 'TUS']
    names: tuple[str, ...] = tuple(np.unique(np.concatenate(named)).astype(str)) if named else ()
    if named and len(named) != sum('label' in fields for fields in splits.values()):
        raise UserError(f'{owner}: labels are texts in some splits and numbers in others')

    def one(split: str, name: str, array: np.ndarray) -> np.ndarray:
        place = f'{owner}: {name} of {split}'
        if name == 'label' and names:
            array = np.searchsorted(names, array.astype(str))
        if array.dtype.kind in 'TU' and array.ndim == 1 and name != 'image':
            return texts.array(array.tolist())
        if array.dtype.kind not in 'biuf':
            raise UserError(f'{place} holds {array.dtype}, not numbers')
        if array.ndim == 0:
            raise UserError(f'{place} is a single number, not one row an example')
        if array.dtype.kind == 'f' and not np.isfinite(array).all():
            raise UserError(f'{place} holds NaN or infinite values')
        if array.dtype.kind in 'iu' and array.dtype.itemsize > 2 and array.size:
            if not -(2**31) <= array.min() <= array.max() < 2**31:
                raise UserError(f'{place} holds numbers beyond 32 bits')
            array = array.astype(np.int32)
        if array.dtype.kind == 'f' and array.dtype.itemsize > 4:
            array = array.astype(np.float32)
        if name == 'image' and array.ndim == 3:
            return array[..., None]
        if name == 'label':
            array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
            return array.astype(np.int32) if array.dtype.kind in 'biu' else array
        return array

    done = {s: {n: one(s, n, a) for n, a in fields.items()} for s, fields in splits.items()}
    for split, fields in done.items():
        lengths = {name: len(array) for name, array in fields.items()}
        if len(set(lengths.values())) > 1:
            raise UserError(f'{owner}: the fields of {split} differ in length: {lengths}')
    return done, tuple(str(name) for name in names)


def read(
    inputs: Iterable[str],
    spec: Mapping,
    columns: Sequence[str] = (),
    categories: Mapping[str, Sequence[str]] | None = None,
) -> tuple[list[str], Arrays]:
    """Files and folders to predict -> (a name each, raw arrays like the training split's `spec`).

    Images are made grey or colour, scaled and cut to fit, with a note on standard error; arrays and
    tables must have the right shape. A row of a table may be a flattened image; where the training
    table's `columns` and `categories` are known, they are found by name, others are left out, and
    missing numbers are NaN.

    Raises:
      UserError: what cannot be read or does not fit, naming the file.
    """
    field = next((n for n in ('image', 'features') if n in spec), next(iter(spec)))
    shape, dtype = spec[field]
    names, parts, kinds, resized = [], [], [], 0
    for text in inputs:
        path = Path(text)
        for one in map(Path, images.below(path)) if path.is_dir() else [path]:
            if not one.is_file():
                raise UserError(f'no file {one}')
            if one.suffix.lower() in images.SUFFIXES:
                if len(shape) != 3 or shape[2] not in (1, 3):
                    raise UserError(f'{one}: this run takes {field} {list(shape)}, not images')
                resized += images.shape(one)[:2] != tuple(shape[:2])
                names.append(str(one))
                parts.append(_fitting(images.decode(one, tuple(shape), one)[None], one, dtype))
            elif categories or (columns and one.suffix.lower() == '.csv'):
                values, codes = _rows(one, columns, categories or {})
                names += [f'{one}:{n}' for n in range(len(values))]
                parts.append(values)
                kinds.append(codes)
            else:
                values = _examples(one, field, tuple(shape))
                names += [f'{one}:{n}' for n in range(len(values))]
                parts.append(_fitting(values, one, dtype))
    if not names:
        raise UserError(f'{", ".join(inputs)}: no examples')
    if resized:
        print(f'resized {resized} images to {shape[0]}x{shape[1]}', file=sys.stderr)
    found = {field: np.concatenate(parts)}
    return names, found | ({f'{field}_categories': np.concatenate(kinds)} if categories else {})


def complete(names: Sequence[str], arrays: Arrays) -> None:
    """Refuses examples with missing values (NaN), naming the first."""
    for field, values in arrays.items():
        if values.dtype.kind == 'f' and (bad := np.isnan(values.reshape(len(values), -1))).any():
            row = names[int(bad.any(1).argmax())]
            raise UserError(
                f"{row}: a value of {field!r} is missing, and the run's prepare has no impute"
            )


def _rows(
    path: Path, columns: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """A table -> numbers [N, columns], categories [N, categories]."""
    if path.suffix.lower() != '.csv':
        raise UserError(f'{path}: this run takes tables, .csv files with a header')
    texts = tables.read(path)
    tables.fit(texts, (*columns, *categories))
    return tables.numbers(texts, columns), tables.numbered(texts, categories)


def _examples(path: Path, field: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array file or a table -> values [N, *shape]; a single example is an N of 1."""
    kind = path.suffix.lower()
    if kind in ('.npy', '.npz'):
        found = arrays(path)
        name = next((n for n in (field, 'x', 'x_test') if n in found), None)
        if name is None:
            raise UserError(f'{path} has no array {field!r} (it has: {", ".join(found)})')
        values = found[name]
        flat = shape[:-1] if len(shape) == 3 and shape[-1] == 1 else shape
        if values.shape in (shape, flat):
            values = values[None]
    elif kind == '.csv':
        texts = tables.read(path)
        values = tables.numbers(texts, texts.header)
        flat = (int(np.prod(shape)),)
    else:
        raise UserError(
            f'{path}: expected images ({", ".join(images.SUFFIXES)}), .npz, .npy or .csv'
        )
    if values.shape[1:] not in (shape, flat):
        raise UserError(
            f'{path} has examples of shape {list(values.shape[1:])}, '
            f'the model takes {field} {list(shape)}'
        )
    return values.reshape(len(values), *shape)


def _fitting(values: np.ndarray, path: Path, dtype) -> np.ndarray:
    """Values as the training data has them: bytes stay bytes, nothing is cut off or rounded."""
    dtype = np.dtype(dtype)
    if values.dtype.kind not in 'biuf':
        raise UserError(f'{path} holds {values.dtype}, not numbers')
    if values.dtype.kind == 'f' and not np.isfinite(values).all():
        raise UserError(f'{path} holds NaN or infinite values')
    if dtype.kind in 'iu' and values.size:
        limits = np.iinfo(dtype)
        whole = values.dtype.kind != 'f' or (values == np.round(values)).all()
        if not whole or values.min() < limits.min or values.max() > limits.max:
            raise UserError(
                f'{path} holds numbers from {values.min():g} to {values.max():g}, the model was '
                f'trained on whole numbers from {limits.min} to {limits.max}'
            )
    return values.astype(dtype)
