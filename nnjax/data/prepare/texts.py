"""Operations on texts before they become tokens, and on tokens for questions about a text."""

import unicodedata
from collections.abc import Callable
from typing import Literal

import numpy as np

from nnjax import texts
from nnjax.data.preparation import Operation
from nnjax.data.source import Arrays
from nnjax.data.text.filling import Filling, Over
from nnjax.data.text.vocabulary import BEGIN, END, Rows
from nnjax.errors import UserError
from nnjax.fields import Count

Fields = str | tuple[str, ...]


def lower(field: Fields = 'text') -> Operation:
    """Small letters; a text keeps its number of characters, so that places in it stay true."""
    return _each(field, _lower)


def unicode(
    form: Literal['NFC', 'NFKC', 'NFD', 'NFKD'] = 'NFKC', field: Fields = 'text'
) -> Operation:
    """Unicode's normal form, and single spaces; places in a text do not stay true."""
    return _each(field, lambda text: ' '.join(unicodedata.normalize(form, text).split()))


def pair(
    length: Count,
    first: str = 'question',
    second: str = 'context',
    field: str = 'text',
    over: Over = 'cut',
) -> Operation:
    """Two fields of ids -> one, `<bos> first <eos> second <eos>`, in the place of both.

    `second` has offsets, which become FIELD_offsets int32 [N, length, 2]; they are 0, 0 at all other
    tokens. Where it is too long, the end of `second` is cut.
    """
    filling = Filling(length, over, begin=True, end=True)

    def apply(_, arrays: Arrays) -> Arrays:
        needed = (first, f'{first}_length', second, f'{second}_length', f'{second}_offsets')
        if absent := [name for name in (first, second) if name not in arrays]:
            raise UserError(
                f'prepare: pair needs the field {absent[0]!r}, which the examples lack: add it to '
                f'their file, or as --text {absent[0]}=...'
            )
        for name in needed:
            if name not in arrays:
                raise UserError(
                    f'prepare: pair needs the field {name!r}; put before it a tokenizer such as '
                    f"words(1000, 64, ('{first}', '{second}'), offsets=True)"
                )
        left, right = (_ragged(arrays, name) for name in (first, second))
        rows, counts, places = [], [], []
        for (a, _), (b, spots) in zip(left, right):
            rows += [*a, END, *b]
            counts.append(len(a) + 1 + len(b))
            places += [(0, 0)] * (len(a) + 1) + spots
        whole = Rows(
            np.array(rows, np.int32), np.array(counts), np.array(places, np.int32).reshape(-1, 2)
        )
        names = [f'{first} and {second}'] * len(counts)
        ids, lengths, spots = filling(whole, repr(field), names)
        used = {*needed, f'{first}_offsets'}
        rest = {name: array for name, array in arrays.items() if name not in used}
        return {**rest, field: ids, f'{field}_length': lengths, f'{field}_offsets': spots}

    return Operation(apply)


def span(field: str = 'text', answer: str = 'answer', start: str = 'answer_start') -> Operation:
    """Characters of an answer -> 'span' int32 [N, 2], its first and last token.

    FIELD_offsets are the tokens' places in the text; `start` int32 [N] is the first character of the
    answer in it. Of several answers, one a line, it is the first one's. -1, -1 where the answer is
    not among the tokens, as behind a cut. Examples without an answer, as in prediction, pass.
    """

    def apply(_, arrays: Arrays) -> Arrays:
        if answer not in arrays or start not in arrays:
            return arrays
        if f'{field}_offsets' not in arrays:
            raise UserError(
                f'prepare: span needs the field {field}_offsets, of a tokenizer with offsets=True'
            )
        low, high = np.moveaxis(arrays[f'{field}_offsets'], -1, 0)
        first = arrays[start][:, None]
        sizes = [len(text.split('\n')[0]) for text in arrays[answer].tolist()]
        last = first + np.array(sizes, first.dtype)[:, None]
        inside = (high > first) & (low < last) & (high > low)
        whole = inside.any(1) & ((high * inside).max(1) >= last[:, 0])
        ends = np.stack([inside.argmax(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1)], 1)
        return {**arrays, 'span': np.where(whole[:, None], ends, -1).astype(np.int32)}

    return Operation(apply)


def _each(field: Fields, change: Callable[[str], str]) -> Operation:
    names = (field,) if isinstance(field, str) else field

    def apply(_, arrays: Arrays) -> Arrays:
        changed = {}
        for name in names:
            if name in arrays:
                if not texts.is_text(arrays[name]):
                    raise UserError(f'prepare: the field {name!r} holds no texts')
                changed[name] = texts.array(map(change, arrays[name].tolist()))
        return {**arrays, **changed}

    return Operation(apply)


def _lower(text: str) -> str:
    small = text.lower()
    if len(small) == len(text):
        return small
    return ''.join(one if len(one.lower()) != 1 else one.lower() for one in text)


def _ragged(arrays: Arrays, name: str) -> list[tuple[list, list]]:
    """A field -> (ids, places) of each row's real tokens, without begin and end."""
    found = []
    places = arrays.get(f'{name}_offsets', np.zeros((*arrays[name].shape, 2), np.int32))
    for ids, spots, count in zip(arrays[name], places, arrays[f'{name}_length']):
        keep = (ids[:count] != BEGIN) & (ids[:count] != END)
        found.append((ids[:count][keep].tolist(), spots[:count][keep].tolist()))
    return found
