"""Transcripts -> the ids that CTC learns."""

from typing import Literal

import numpy as np

from nnjax import texts
from nnjax.data.preparation import Operation, Vocabulary
from nnjax.data.source import Arrays
from nnjax.data.text.vocabulary import FIRST
from nnjax.errors import UserError
from nnjax.fields import Count

ENGLISH = " abcdefghijklmnopqrstuvwxyz'"


def transcript(
    alphabet: str = ENGLISH,
    length: Count = 64,
    unknown: Literal['refuse', 'drop'] = 'refuse',
    field: str = 'text',
) -> Operation:
    """Texts of a field -> ids [N, length] of their symbols, and their lengths.

    The symbols of the alphabet, in its order, have the ids 4, 5 ... Without capitals in it texts are
    lower-cased; white space becomes single spaces.

    Args:
      alphabet: the symbols there are
      length: symbols of the longest text
      unknown: what to do with another symbol
      field: of the texts
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
        lengths = np.array([len(row) for row in rows], np.int32)
        return {**arrays, field: ids, f'{field}_length': lengths}

    def decode(ids: np.ndarray) -> np.ndarray:
        symbols = '\0' * FIRST + alphabet
        if ids.size and ids.max() >= len(symbols):
            raise UserError(f'id {ids.max()} is no symbol of an alphabet of {len(alphabet)}')
        return texts.array(''.join(symbols[n] for n in row).replace('\0', '') for row in ids)

    vocabulary = Vocabulary(FIRST + len(alphabet), decode)
    return Operation(apply, vocabularies=lambda _: {field: vocabulary})
