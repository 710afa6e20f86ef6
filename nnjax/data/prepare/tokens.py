"""Operations that make token ids of texts, by a vocabulary learned from the training split.

Each writes, under a text's own name, ids int32 [N, length], filled up with 0, and NAME_length int32
[N]; with `offsets` also NAME_offsets int32 [N, length, 2], the characters from and to that a token
stands for. Ids 0 to 3 are padding, unknown, begin and end. Fields that share an operation share its
vocabulary. Examples to predict may lack a field, as a text to translate lacks its translation.
"""

from typing import Any

from nnjax import texts
from nnjax.data.preparation import Operation, Spelled, Vocabulary
from nnjax.data.source import Arrays
from nnjax.data.text import tokenizers
from nnjax.data.text.filling import Filling, Over
from nnjax.errors import UserError
from nnjax.fields import Count

Fields = str | tuple[str, ...]


def bytes(
    length: Count,
    field: Fields = 'text',
    over: Over = 'cut',
    begin: bool = False,
    end: bool = False,
    offsets: bool = False,
) -> Operation:
    """The bytes of UTF-8: 260 ids, no text is unknown."""
    return _operation('bytes', 260, length, field, over, begin, end, offsets)


def characters(
    size: Count,
    length: Count,
    field: Fields = 'text',
    over: Over = 'cut',
    begin: bool = False,
    end: bool = False,
    offsets: bool = False,
) -> Operation:
    """Characters, the most frequent of train, at most `size` ids."""
    return _operation('characters', size, length, field, over, begin, end, offsets)


def words(
    size: Count,
    length: Count,
    field: Fields = 'text',
    over: Over = 'cut',
    begin: bool = False,
    end: bool = False,
    offsets: bool = False,
) -> Operation:
    r"""Words and single marks (\w+ or one other sign), the most frequent of train, at most `size` ids.

    Ids become texts again with spaces by rule: the words are kept, spaces beside marks may differ.
    """
    return _operation('words', size, length, field, over, begin, end, offsets)


def bpe(
    size: Count,
    length: Count,
    field: Fields = 'text',
    over: Over = 'cut',
    begin: bool = False,
    end: bool = False,
    offsets: bool = False,
) -> Operation:
    """Byte pair encoding on bytes (Sennrich et al., 2016), at most `size` ids, no text is unknown."""
    return _operation('bpe', size, length, field, over, begin, end, offsets)


def unigram(
    size: Count,
    length: Count,
    field: Fields = 'text',
    over: Over = 'cut',
    begin: bool = False,
    end: bool = False,
    offsets: bool = False,
) -> Operation:
    """Pieces of a unigram language model (Kudo, 2018) on bytes, at most `size` ids."""
    return _operation('unigram', size, length, field, over, begin, end, offsets)


def _operation(
    kind: tokenizers.Name,
    size: int,
    length: int,
    field: Fields,
    over: Over,
    begin: bool,
    end: bool,
    offsets: bool,
) -> Operation:
    names = (field,) if isinstance(field, str) else field
    if size < (least := tokenizers.KINDS[kind].least):
        raise UserError(f'size={size}: {kind} needs at least {least} ids')
    filling = Filling(length, over, begin, end)

    def learn(train: Arrays) -> dict[str, str]:
        for name in names:
            if name not in train or not texts.is_text(train[name]):
                held = [n for n, array in train.items() if texts.is_text(array)]
                raise UserError(
                    f'prepare: {kind} needs texts in {name!r}; fields of texts here: '
                    f'{", ".join(held) or "none"}'
                )
        whole = (text for name in names for text in train[name].tolist())
        return {'tokenizer': kind, 'vocabulary': tokenizers.KINDS[kind].learn(whole, size)}

    def made(statistics: Any) -> tokenizers.Tokenizer:
        if not isinstance(statistics, dict) or statistics.get('tokenizer') != kind:
            given = statistics.get('tokenizer') if isinstance(statistics, dict) else None
            raise UserError(
                f'prepare: the vocabulary saved here is of {given or "no tokenizer"}, '
                f'the config says {kind}'
            )
        found = tokenizers.tokenizer(kind, statistics['vocabulary'])
        if found.size > size:
            raise UserError(
                f'prepare: the vocabulary saved here has {found.size} tokens, '
                f'the config says {kind}({size})'
            )
        return found

    def apply(statistics: Any, arrays: Arrays) -> Arrays:
        tokenizer, arrays = made(statistics), dict(arrays)
        for name in names:
            if name in arrays:
                given = arrays[name].tolist()
                ids, lengths, places = filling(tokenizer.encode(given), repr(name), given)
                arrays |= {name: ids, f'{name}_length': lengths}
                if offsets:
                    arrays[f'{name}_offsets'] = places
        return arrays

    def spelled(statistics: Any, arrays: Arrays) -> dict[str, Spelled]:
        encode = made(statistics).encode
        given = {name: arrays[name].tolist() for name in names if name in arrays}
        return {name: filling.spelled(encode(found), found) for name, found in given.items()}

    def vocabularies(statistics: Any) -> dict[str, Vocabulary]:
        tokenizer = made(statistics)
        decode = lambda ids: texts.array(tokenizers.decode(tokenizer, ids))
        return {name: Vocabulary(tokenizer.size, decode) for name in names}

    return Operation(apply, learn, vocabularies, spelled)
