"""Transcripts -> the ids that CTC learns, checked against their sounds before training."""

import itertools
from typing import Literal

import numpy as np

from nnjax import texts
from nnjax.data.preparation import Operation, Vocabulary
from nnjax.data.source import Arrays
from nnjax.data.text.vocabulary import FIRST
from nnjax.errors import UserError
from nnjax.fields import Count, Natural

ENGLISH = " abcdefghijklmnopqrstuvwxyz'"


def transcript(
    alphabet: str = ENGLISH,
    length: Count = 64,
    stride: Natural = 640,
    unknown: Literal['refuse', 'drop'] = 'refuse',
    short: Literal['refuse', 'keep'] = 'refuse',
    field: str = 'text',
    sound: str = 'audio',
) -> Operation:
    """Texts of a field -> ids [N, length] of their symbols, and their lengths.

    The symbols of the alphabet, in its order, have the ids 4, 5 ... Without capitals in it texts are
    lower-cased; white space becomes single spaces.

    Args:
      alphabet: the symbols there are
      length: symbols of the longest text
      stride: samples for each frame that the model gives; 0 where that is not to be checked
      unknown: what to do with another symbol
      short: what to do where a sound has too few frames for its text; kept, it is not trained on
      field: of the texts
      sound: field of the sound that a text belongs to
    """
    number = {symbol: FIRST + place for place, symbol in enumerate(alphabet)}
    if len(number) != len(alphabet):
        raise UserError(f'alphabet={alphabet!r} has a symbol twice')
    capitals = alphabet != alphabet.lower()

    def one(text: str) -> list[int]:
        plain = ' '.join((text if capitals else text.lower()).split())
        foreign = sorted(set(plain) - set(number))
        if foreign and unknown == 'refuse':
            raise UserError(
                f'the alphabet lacks {"".join(foreign)!r} of the text {text!r}; add it, or leave '
                "such symbols out: unknown='drop'"
            )
        if foreign:
            plain = ' '.join(''.join(symbol for symbol in plain if symbol in number).split())
        if len(plain) > length:
            raise UserError(
                f'{field} {text!r} has {len(plain)} symbols, more than length={length}: raise it'
            )
        return [number[symbol] for symbol in plain]

    def apply(_, arrays: Arrays) -> Arrays:
        if field not in arrays:  # nothing but sounds, to be transcribed
            return arrays
        rows = [one(text) for text in arrays[field].tolist()]
        ids = np.zeros((len(rows), length), np.int32)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        if stride and short == 'refuse' and sound in arrays:
            _check(arrays, rows)
        lengths = np.array([len(row) for row in rows], np.int32)
        return {**arrays, field: ids, f'{field}_length': lengths}

    def _check(arrays: Arrays, rows: list[list[int]]) -> None:
        samples = arrays.get(f'{sound}_length', np.full(len(rows), arrays[sound].shape[1]))
        frames = 1 + samples // stride
        # A symbol twice in a row needs a blank between.
        needed = np.array([len(r) + sum(a == b for a, b in itertools.pairwise(r)) for r in rows])
        bad = np.flatnonzero(needed > frames)
        if bad.size:
            first = bad[0]
            raise UserError(
                f'{bad.size} of {len(rows)} texts are longer than their sounds allow, the first '
                f'{arrays[field][first]!r}: it needs {needed[first]} frames of {stride} samples, '
                f"the sound has {frames[first]}; leave such out, or go on without: short='keep'"
            )

    def decode(ids: np.ndarray) -> np.ndarray:
        symbols = '\0' * FIRST + alphabet
        if ids.size and ids.max() >= len(symbols):
            raise UserError(f'id {ids.max()} is no symbol of an alphabet of {len(alphabet)}')
        return texts.array(''.join(symbols[n] for n in row).replace('\0', '') for row in ids)

    vocabulary = Vocabulary(FIRST + len(alphabet), decode)
    return Operation(apply, vocabularies=lambda _: {field: vocabulary})
