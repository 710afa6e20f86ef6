"""Host operations on arrays, run once on every split: deterministic, with statistics from train."""

import numpy as np

from nnjax.data.preparation import Operation
from nnjax.data.prepare.texts import lower, pair, span, unicode
from nnjax.data.prepare.tokens import bpe, bytes, characters, unigram, words
from nnjax.data.prepare.transcripts import transcript
from nnjax.data.source import Arrays
from nnjax.errors import UserError
from nnjax.fields import Count, Positive

__all__ = [
    'bpe',
    'bytes',
    'characters',
    'grey',
    'impute',
    'log',
    'lower',
    'pair',
    'resize',
    'scale',
    'span',
    'standardize',
    'target',
    'transcript',
    'unicode',
    'unigram',
    'words',
]


def scale(high: Positive = 255.0, field: str = 'image') -> Operation:
    """Divides by `high`, to float32: bytes to [0, 1]."""
    factor = np.float32(high)
    return Operation(
        lambda _, arrays: {
            **arrays,
            field: np.divide(_field(arrays, field), factor, dtype=np.float32, casting='unsafe'),
        }
    )


def standardize(field: str = 'image') -> Operation:
    """Subtracts the mean and divides by the standard deviation of each last-axis channel in train.

    float32; a channel that is constant in train is only centred.
    """

    def learn(train: Arrays) -> dict[str, list[float]]:
        mean, deviation = _moments(_finite(train, field))
        return {'mean': mean.tolist(), 'deviation': deviation.tolist()}

    def apply(statistics: dict[str, list[float]], arrays: Arrays) -> Arrays:
        mean, deviation = (np.float32(statistics[name]) for name in ('mean', 'deviation'))
        return {**arrays, field: (_field(arrays, field).astype(np.float32) - mean) / deviation}

    return Operation(apply, learn)


def impute(field: str = 'features', mark: bool = False) -> Operation:
    """Puts a column's median in train in the place of its missing values (NaN) [N, F].

    With `mark`, F more columns say where: 1 for a missing value, else 0.
    """

    def learn(train: Arrays) -> list[float]:
        columns = _field(train, field)
        empty = np.isnan(columns).all(0)
        if empty.any():
            raise UserError(
                f'prepare: impute: column {int(empty.argmax())} of {field!r} has no value in train'
            )
        return np.nanmedian(columns, 0).astype(np.float32).tolist()

    def apply(median: list[float], arrays: Arrays) -> Arrays:
        values = _field(arrays, field)
        missing = np.isnan(values)
        filled = np.where(missing, np.float32(median), values)
        if mark:
            filled = np.concatenate([filled, missing.astype(np.float32)], -1)
        return {**arrays, field: filled}

    return Operation(apply, learn)


def log(field: str = 'target') -> Operation:
    """Natural logarithm, float32, of numbers above 0; examples without the field pass, as in prediction.

    Nothing takes it back: of a run with 'log', predictions and scores are those of the logarithm.
    """

    def check(arrays: Arrays) -> tuple[int, str] | None:
        values = _columns(arrays[field]) if field in arrays else np.ones((0, 1))
        bad = np.flatnonzero((values <= 0).any(1))
        if not bad.size:
            return None
        value = values[bad[0]].min()
        return int(bad[0]), (
            f'{field!r} is {value:g}, which has no logarithm: leave such examples out, or log out of '
            'prepare'
        )

    def apply(_, arrays: Arrays) -> Arrays:
        if field not in arrays:
            return arrays
        with np.errstate(divide='ignore', invalid='ignore'):
            return {**arrays, field: np.log(arrays[field], dtype=np.float32, casting='unsafe')}

    return Operation(apply, check=check)


def target(field: str = 'target') -> Operation:
    """Standardizes what is to be predicted, [N] or [N, T], by its mean and deviation in train.

    They stay beside it, as the fields FIELD_mean and FIELD_scale [N, T], by which `regression` maps
    predictions back; examples without the field, as in prediction, get these two alone.
    """

    def learn(train: Arrays) -> dict[str, list[float]]:
        mean, scale = _moments(_columns(_finite(train, field)))
        return {'mean': mean.tolist(), 'scale': scale.tolist()}

    def apply(statistics: dict[str, list[float]], arrays: Arrays) -> Arrays:
        count = len(next(iter(arrays.values())))
        mean, scale = (np.float32([statistics[name]]) for name in ('mean', 'scale'))
        found = {f'{field}_mean': mean.repeat(count, 0), f'{field}_scale': scale.repeat(count, 0)}
        if field in arrays:
            found[field] = (_columns(arrays[field]).astype(np.float32) - mean) / scale
        return {**arrays, **found}

    return Operation(apply, learn)


def grey(field: str = 'image') -> Operation:
    """Colours [N, H, W, 3] become their brightness [N, H, W, 1] (ITU-R BT.601), of the same dtype."""
    weights = np.float32([0.299, 0.587, 0.114])

    def apply(_, arrays: Arrays) -> Arrays:
        images = _field(arrays, field)
        if images.ndim != 4 or images.shape[-1] != 3:
            raise UserError(
                f'prepare: grey takes images in colour [N, H, W, 3], {field!r} is '
                f'{list(images.shape)}'
            )
        bright = (images.astype(np.float32) @ weights)[..., None]
        whole = np.issubdtype(images.dtype, np.integer)
        return {**arrays, field: (np.rint(bright) if whole else bright).astype(images.dtype)}

    return Operation(apply)


def resize(height: Count, width: Count, field: str = 'image') -> Operation:
    """Bilinear resize, with antialiasing, of uint8 images [N, H, W, C] to [N, height, width, C]."""

    def apply(_, arrays: Arrays) -> Arrays:
        from PIL import Image

        images = _field(arrays, field)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
            raise UserError(
                f'prepare: resize takes uint8 images [N, H, W, C], {field!r} is {images.dtype} '
                f'{list(images.shape)}; put resize first'
            )

        def one(image: np.ndarray) -> np.ndarray:
            drawn = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
            small = np.asarray(drawn.resize((width, height), Image.Resampling.BILINEAR))
            return small.reshape(height, width, image.shape[-1])

        return {**arrays, field: np.stack([one(image) for image in images])}

    return Operation(apply)


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[N, ..., C] -> mean and standard deviation [C], float32; sums are float64, part by part."""
    channels = values.shape[-1]
    if not channels:
        return np.zeros(0, np.float32), np.ones(0, np.float32)
    # A value of each channel's own keeps the squares small, and a constant channel's sums zero.
    shift = values.reshape(-1, channels)[0].astype(np.float64)
    total, squares = np.zeros(channels), np.zeros(channels)
    for start in range(0, len(values), 256):
        rows = values[start : start + 256].reshape(-1, channels)
        part = np.ascontiguousarray(rows.T, np.float64) - shift[:, None]
        total += part.sum(1)
        squares += np.einsum('cn,cn->c', part, part)
    count = values.size // channels
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0)).astype(np.float32)
    return (mean + shift).astype(np.float32), np.where(deviation > 0, deviation, np.float32(1))


def _columns(values: np.ndarray) -> np.ndarray:
    """[N] or [N, T] -> [N, T]."""
    return values.reshape(len(values), -1)


def _finite(arrays: Arrays, field: str) -> np.ndarray:
    """The field, refused where its statistics would be NaN."""
    values = _field(arrays, field)
    bad = ~np.isfinite(values) if values.dtype.kind == 'f' else np.zeros(values.shape, bool)
    if bad.any():
        row, *_, column = (int(axis[0]) for axis in np.nonzero(_columns(bad)))
        raise UserError(
            f'prepare: {field!r} of training example {row} is not finite in column {column}; '
            "'impute' before it fills what is missing"
        )
    return values


def _field(arrays: Arrays, field: str) -> np.ndarray:
    if field not in arrays:
        raise UserError(f'no field {field!r} to prepare; the data has: {", ".join(arrays)}')
    return arrays[field]
