"""Files of the user's own -> arrays: .npz, .npy, images, folders of images, CSV tables."""

import csv
import zipfile
from pathlib import Path

import numpy as np

from nnjax.data.source import Arrays
from nnjax.errors import UserError, unknown

IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.tif', '.tiff', '.webp')
KERAS = {'x': 'image', 'y': 'label'}


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


def npz_splits(path: Path) -> dict[str, Arrays]:
    """x_train, train_label ... of an .npz -> {'train': {'image', 'label'}, 'test': {...}}."""
    splits: dict[str, Arrays] = {}
    for name, array in arrays(path).items():
        stem, what = name, 'train'
        for word in ('train', 'test'):
            if name.startswith(f'{word}_') or name.endswith(f'_{word}'):
                stem, what = name.removeprefix(f'{word}_').removesuffix(f'_{word}'), word
        splits.setdefault(what, {})[KERAS.get(stem, stem)] = _fit(array, path, name)
    if 'train' not in splits:
        raise UserError(
            f'{path} has no training arrays (x_train, y_train or image, label; '
            f'it has: {", ".join(arrays(path)) or "nothing"})'
        )
    return splits


def _fit(array: np.ndarray, path: Path, name: str) -> np.ndarray:
    """Numbers of a kind that JAX computes with; images [N, H, W] gain a channel."""
    if array.dtype.kind not in 'biuf':
        raise UserError(f'{path}: {name} holds {array.dtype}, not numbers')
    if array.ndim == 0:
        raise UserError(f'{path}: {name} is a single number, not one row an example')
    if array.dtype.kind == 'f' and not np.isfinite(array).all():
        raise UserError(f'{path}: {name} holds NaN or infinite values')
    wide = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    array = array.astype(wide.get(array.dtype, array.dtype))
    if name.startswith('y') or 'label' in name:
        array = array.reshape(len(array), *[n for n in array.shape[1:] if n != 1])
        return array.astype(np.int32) if array.dtype.kind in 'iu' else array
    return array[..., None] if array.ndim == 3 else array


def image(
    path: Path, channels: int | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """An image file -> uint8 [H, W, C], grey (1) or colour (3); size is (height, width)."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            grey = (
                opened.mode in ('1', 'L', 'I', 'I;16', 'F') if channels is None else channels == 1
            )
            drawn = opened.convert('L' if grey else 'RGB')
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError):
        raise UserError(f'{path} is no image that can be read') from None
    if size and (drawn.height, drawn.width) != tuple(size):
        drawn = drawn.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(drawn).reshape(drawn.height, drawn.width, -1)


def class_folder(
    root: Path, labels: tuple[str, ...] | None = None, size: tuple[int, int] | None = None
) -> tuple[Arrays, tuple[str, ...]]:
    """ROOT/CLASS/*.png -> ({'image' [N, H, W, C], 'label' [N]}, class names in order)."""
    if not root.is_dir():
        raise UserError(f'no folder {root}')
    classes = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != '.')
    if not classes:
        raise UserError(f'{root} has no folders; images belong in one folder a class')
    names = labels or tuple(classes)
    images, numbers = [], []
    for name in classes:
        if name not in names:
            raise unknown(f'class in {root}', name, names)
        paths = _images(root / name)
        if not paths:
            raise UserError(f'{root / name} has no images ({", ".join(IMAGES)})')
        for path in paths:
            images.append(image(path, images[0].shape[-1] if images else None, size))
            if images[-1].shape != images[0].shape:
                raise UserError(
                    f'{path} is {_by(images[-1])}, others are {_by(images[0])}; '
                    'set data.height and data.width to resize'
                )
            numbers.append(names.index(name))
    return {'image': np.stack(images), 'label': np.array(numbers, np.int32)}, names


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob('*') if p.suffix.lower() in IMAGES)


def _by(array: np.ndarray) -> str:
    return 'x'.join(map(str, array.shape))


def _lines(path: Path) -> tuple[list[str], list[list[str]]]:
    if not path.is_file():
        raise UserError(f'no file {path}')
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            lines = [line for line in csv.reader(file) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f'{path} is no CSV text: {error}') from None
    if len(lines) < 2:
        raise UserError(f'{path} has no rows under a header')
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(lines[0]):
            raise UserError(
                f'{path}, line {number}: {len(line)} values under {len(lines[0])} columns'
            )
    return lines[0], lines[1:]


def _numbers(path: Path, columns: list[str], rows: list[list[str]]) -> np.ndarray:
    table = np.empty((len(rows), len(columns)), np.float32)
    for number, row in enumerate(rows):
        for place, text in enumerate(row):
            try:
                table[number, place] = float(text)
            except ValueError:
                raise UserError(
                    f'{path}, line {number + 2}, column {columns[place]!r}: {text!r} is no number'
                ) from None
            if not np.isfinite(table[number, place]):
                raise UserError(
                    f'{path}, line {number + 2}, column {columns[place]!r}: {text!r} is not finite'
                )
    return table


def table(path: Path, label: str, labels: tuple[str, ...] | None = None):
    """A CSV file -> ({'features' [N, F] float32, 'label' [N] int32}, class names)."""
    header, rows = _lines(path)
    if label not in header:
        raise unknown(f'column of {path}', label, header)
    place = header.index(label)
    texts = [row[place] for row in rows]
    names = labels or tuple(sorted(set(texts), key=_natural))
    for text in set(texts) - set(names):
        raise unknown(f'class in {path}', text, names)
    columns = [name for name in header if name != label]
    features = _numbers(path, columns, [row[:place] + row[place + 1 :] for row in rows])
    return {
        'features': features,
        'label': np.array([names.index(t) for t in texts], np.int32),
    }, names


def _natural(text: str):
    return (0, int(text), '') if text.lstrip('-').isdigit() else (1, 0, text)


def read(inputs: list[str], spec: dict) -> tuple[list[str], Arrays]:
    """Files and folders to predict -> (a name each, raw arrays like the training split's `spec`).

    Images are made grey or colour and resized to fit; arrays must have the right shape.
    """
    field = next((n for n in ('image', 'features') if n in spec), next(iter(spec)))
    shape, dtype = spec[field]
    names, parts = [], []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found = _images(path)
            if not found:
                raise UserError(f'{path} has no images ({", ".join(IMAGES)})')
        else:
            found = [path]
        for one in found:
            values = _values(one, field, shape)
            if values.shape[1:] != tuple(shape):
                raise UserError(
                    f'{one} has examples of shape {list(values.shape[1:])}, '
                    f'the model takes {field} {list(shape)}'
                )
            single = one.suffix.lower() in IMAGES
            names += [str(one)] if single else [f'{one}:{n}' for n in range(len(values))]
            parts.append(values.astype(dtype))
    rows = np.concatenate(parts)
    if not len(rows):
        raise UserError(f'{", ".join(inputs)}: no examples')
    return names, {field: rows}


def _values(path: Path, field: str, shape) -> np.ndarray:
    """One file -> values [N, ...]."""
    if not path.exists():
        raise UserError(f'no file {path}')
    kind = path.suffix.lower()
    if kind in IMAGES:
        if len(shape) != 3:
            raise UserError(f'{path}: this run takes {field} {list(shape)}, not images')
        return image(path, shape[2], shape[:2])[None]
    if kind in ('.npy', '.npz'):
        found = arrays(path)
        name = field if field in found else next((n for n in ('x', 'x_test') if n in found), None)
        if name is None:
            raise UserError(f'{path} has no array {field!r} (it has: {", ".join(found)})')
        values = found[name]
        return (
            values[..., None]
            if values.shape[1:] == tuple(shape[:-1]) and shape[-1] == 1
            else values
        )
    if kind == '.csv':
        header, rows = _lines(path)
        return _numbers(path, header, rows).reshape(len(rows), *_csv_shape(len(header), shape))
    raise UserError(f'{path}: expected images ({", ".join(IMAGES)}), .npz, .npy or .csv')


def _csv_shape(columns: int, shape) -> tuple[int, ...]:
    """A row of a table is one example, flattened."""
    return tuple(shape) if columns == int(np.prod(shape)) else (columns,)
