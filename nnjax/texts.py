"""Texts on the host: arrays of NumPy's variable-width strings."""

from collections.abc import Iterable, Mapping

import numpy as np

from nnjax.errors import UserError

TEXT = np.dtypes.StringDType()
_BYTES, _ENDS = '.utf8', '.ends'  # behind a field's name, in a file


def is_text(array: np.ndarray) -> bool:
    """Whether an array holds texts."""
    return array.dtype.kind == 'T'


def fields(spec: Mapping[str, tuple]) -> list[str]:
    """{field: (shape, dtype)} -> the fields that hold texts."""
    return [name for name, (_, dtype) in spec.items() if np.dtype(dtype).kind == 'T']


def array(values: Iterable[str]) -> np.ndarray:
    """Strings -> an array of texts [N].

    Raises:
      UserError: half of a surrogate pair, as bytes become that are not UTF-8.
    """
    values = list(values)
    try:
        return np.array(values, TEXT)
    except UnicodeEncodeError:
        wrong = next(text for text in values if any('\ud800' <= one <= '\udfff' for one in text))
        raise UserError(f'the text {wrong[:40]!a} is not UTF-8') from None


def to_file(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays -> the same with texts [N] as bytes and the places where each ends.

    NumPy writes texts of variable width as pickles only.
    """
    found = {}
    for name, values in arrays.items():
        if is_text(values):
            encoded = [text.encode() for text in values.tolist()]
            found[name + _BYTES] = np.frombuffer(b''.join(encoded), np.uint8)
            found[name + _ENDS] = np.cumsum([len(text) for text in encoded], dtype=np.int64)
        else:
            found[name] = values
    return found


def from_file(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `to_file` was given."""
    found = {}
    for name, values in arrays.items():
        if name.endswith(_BYTES):
            name = name.removesuffix(_BYTES)
            whole, ends = values.tobytes(), arrays[name + _ENDS].tolist()
            parts = (whole[a:b] for a, b in zip([0, *ends], ends))
            found[name] = array(part.decode() for part in parts)
        elif not name.endswith(_ENDS):
            found[name] = values
    return found
