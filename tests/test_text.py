"""Texts to token ids and back: tokenizers, and the operations that use them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax import texts
from nnjax.data import preparation, prepare, spec
from nnjax.data.preparation import Preparation, Prepared
from nnjax.data.source import Rows
from nnjax.data.text import subword, tokenizers
from nnjax.data.text.vocabulary import BEGIN, END, FIRST, PAD, UNKNOWN
from nnjax.errors import UserError

LIBRARY = ('bpe', 'unigram')
anything = st.text(st.characters(exclude_categories=('Cs',)), max_size=20)
TRAIN = ['the cat sat, the dog ran.', 'the dog sat', 'Grüße aus Köln', 'a cat']


def source(**fields) -> Rows:
    arrays = {n: texts.array(v) if isinstance(v[0], str) else v for n, v in fields.items()}
    return Rows(arrays)


def prepared(text: str, train: Rows, arrays=None):
    """What operations learned from train make of arrays, or of train."""
    made = Preparation(spec.parse(text, prepare), train)
    return made(arrays or train[np.arange(len(train))]), made


@pytest.fixture(params=tokenizers.KINDS)
def kind(request):
    if request.param in LIBRARY:
        pytest.importorskip('tokenizers')
    return request.param


def learned(kind: str, found, size: int = 400):
    return tokenizers.tokenizer(kind, tokenizers.KINDS[kind].learn(found, size))


def test_what_was_learned_is_decoded_again(kind):
    made = learned(kind, TRAIN)
    rows = made.encode(TRAIN)
    parts = np.split(rows.ids, np.cumsum(rows.counts)[:-1])
    assert made.decode([part.tolist() for part in parts]) == TRAIN
    assert rows.ids.dtype == np.int32 and FIRST <= rows.ids.min() <= rows.ids.max() < made.size


@pytest.mark.parametrize('kind', ['bytes', *LIBRARY])
@given(anything)
def test_no_text_is_unknown_to_bytes(kind, text):
    if kind in LIBRARY:
        pytest.importorskip('tokenizers')
    made = learned(kind, tuple(TRAIN))
    rows = made.encode([text])
    assert UNKNOWN not in rows.ids and made.decode([rows.ids.tolist()]) == [text]


@given(st.lists(anything, min_size=1, max_size=4))
def test_places_are_the_characters_of_a_token(found):
    for kind in ('bytes', 'characters', 'words'):
        made = learned(kind, found, 10_000)
        rows = made.encode(found)
        at = 0
        for text, count in zip(found, rows.counts):
            for (low, high), number in zip(rows.places[at : at + count], rows.ids[at : at + count]):
                piece = text[low:high]
                if kind == 'bytes':
                    assert number - FIRST in piece.encode() and len(piece) == 1
                else:
                    assert made.decode([[number]]) == [piece]
            at += count
        assert at == len(rows.ids)


def test_places_of_parts_of_words():
    for kind in LIBRARY:
        pytest.importorskip('tokenizers')
        rows = learned(kind, TRAIN * 4).encode(['the dog sat'])
        assert ''.join('the dog sat'[low:high] for low, high in rows.places) == 'thedogsat'


def test_the_most_frequent_are_kept_and_others_are_unknown():
    made = learned('words', ['b a a', 'c b a'], FIRST + 2)
    assert made.size == FIRST + 2
    assert made.encode(['c a b']).ids.tolist() == [UNKNOWN, FIRST, FIRST + 1]
    assert learned('characters', ['aab'], FIRST + 1).encode(['ab']).ids.tolist() == [FIRST, UNKNOWN]


def test_words_are_joined_by_rule():
    text = "two thousand, three hundred and forty-five (it's here)!"
    made = learned('words', [text])
    assert made.decode([made.encode([text]).ids.tolist()]) == [text]


def test_a_text_cannot_write_special_ids(kind):
    text = '<eos> <bos> <pad>'
    assert min(learned(kind, [text]).encode([text]).ids) >= FIRST


def test_decoding_stops_at_the_end():
    made = learned('characters', ['ab'])
    ids = np.array([[BEGIN, 4, 5, END, 4, 5], [4, UNKNOWN, PAD, PAD, PAD, PAD]])
    assert tokenizers.decode(made, ids) == ['ab', 'a<unk>']
    with pytest.raises(UserError, match='ids from 0 to 9 are not of this vocabulary of 6'):
        tokenizers.decode(made, np.array([[0, 9]]))


def test_ids_lengths_begin_and_end(kind):
    size = '' if kind == 'bytes' else '400, '
    train = source(text=['ab', '', 'aaaaaaaaaa'], label=np.arange(3))
    found, made = prepared(f'{kind}({size}length=5, begin=True, end=True)', train)
    ids, lengths = found['text'], found['text_length']
    assert ids.dtype == lengths.dtype == np.int32 and ids.shape == (3, 5)
    assert (ids[:, 0] == BEGIN).all() and found['label'].tolist() == [0, 1, 2]
    assert all(row[n - 1] == END and not row[n:].any() for row, n in zip(ids, lengths))
    assert ids[1].tolist() == [BEGIN, END, 0, 0, 0] and 'text_offsets' not in found
    assert made.spec == {n: (a.shape[1:], a.dtype) for n, a in found.items()}
    assert made.vocabularies['text'].decode(ids)[:2].tolist() == ['ab', '']
    again = json.loads(json.dumps(made.statistics))
    other = Preparation(spec.parse(f'{kind}({size}5)', prepare), source(text=['x']), again)
    assert np.array_equal(other({'text': texts.array(['ab'])})['text'][0, :1], ids[0, 1:2])


def test_a_text_of_no_token_is_one_unknown():
    found, _ = prepared('words(9, 4)', source(text=['', 'a', ' ']))
    assert found['text'][:, 0].tolist() == [UNKNOWN, FIRST, UNKNOWN]
    assert found['text_length'].tolist() == [1, 1, 1]


def test_fields_share_a_vocabulary_or_have_their_own():
    train = source(source=['a b', 'c'], target=['c d', 'a'])
    found, made = prepared("words(20, 3, ('source', 'target'))", train)
    assert found['source'][1, 0] == found['target'][0, 0]
    assert made.vocabularies['source'].size == made.vocabularies['target'].size == FIRST + 4
    own = "words(20, 3, 'source') | characters(20, 5, 'target', end=True)"
    found, made = prepared(own, train, {'source': texts.array(['a'])})
    assert set(found) == {'source', 'source_length'}  # as in prediction
    assert made.vocabularies['target'].size == FIRST + 4  # a, c, d and the space


def test_a_vocabulary_of_very_many_texts_comes_from_a_part_evenly_spaced(monkeypatch):
    monkeypatch.setattr(preparation, 'FIT_BYTES', 256 * 10)
    made = Preparation(
        spec.parse('words(999, 3)', prepare), source(text=[f'w{n}' for n in range(50)])
    )
    assert made.statistics[0]['vocabulary'].split() == sorted(f'w{n}' for n in range(0, 50, 5))


@pytest.mark.parametrize(
    'operation, characters, count',
    [
        ('bytes(40)', [2, 7, 0], [2, 8, 0]),  # the first byte of 'ö' gives the letter away
        ('bytes(40, begin=True)', [3, 8, 0], [3, 10, 0]),
        ('characters(40, 40, end=True)', [2, 7, 0], [2, 8, 0]),
        ('words(40, 40)', [0, 4, 0], [0, 5, 0]),  # ' blü' is behind 'öder'
        ('words(40, 40, begin=True)', [3, 8, 0], [3, 10, 0]),
        ('bpe(400, 40)', None, None),
        ('unigram(400, 40, begin=True)', [3, 8, 0], [3, 10, 0]),
    ],
)
def test_characters_of_predicted_tokens(operation, characters, count):
    found = texts.array(['ein', 'öder blü', ''])
    _, made = prepared(operation, source(text=found.tolist()))
    own = made.spelled({'text': found})['text']
    assert not own.cut.any() and not own.unknown.any()
    if characters is None:  # counted by the library, piece by piece
        ids = made({'text': found})['text'][:2]
        first = made.vocabularies['text'].decode(ids[:, :1]).tolist()
        behind = [text[len(one) :] for text, one in zip(found.tolist(), first)]
        characters, count = [*map(len, behind), 0], [*(len(b.encode()) for b in behind), 0]
    assert own.characters.tolist() == characters and own.bytes.tolist() == count
    other = made.spelled({'text': texts.array(['zzz'])})['text']
    assert other.unknown.tolist() == ['words' in operation or 'characters' in operation]


def test_what_is_cut_is_counted_once_for_each_field_and_split(capsys):
    """Of a split that is read whole, in all of it; else in what was read until a row was cut."""
    rows = ['a b c d', 'a', 'a b c d e', 'a', 'a', 'a b c d e f', 'a']
    train = source(text=rows, title=rows[::-1])
    made = Preparation(spec.parse("words(20, 3, ('text', 'title'))", prepare), train)
    whole, streamed = Prepared(train, made, 'train'), Prepared(train, made, 'test')
    whole.keep()
    for place in (1, 3, 0, 2, 5):
        streamed[np.array([place, 4])]
    assert capsys.readouterr().err.splitlines() == [
        "prepare: cut 3 of the 7 rows of 'text' in train to 3 tokens (the longest has 6)",
        "prepare: cut 3 of the 7 rows of 'title' in train to 3 tokens (the longest has 6)",
        "prepare: cut 2 of the first 2 rows of 'title' in test to 3 tokens (the longest has 6)",
        "prepare: cut 1 of the first 6 rows of 'text' in test to 3 tokens (the longest has 4)",
    ]
    assert made({'text': texts.array(['a b c d'])})['text_length'].tolist() == [3]
    said = "prepare: cut 1 of the 1 rows of 'text' to 3 tokens (the longest has 4)\n"
    assert capsys.readouterr().err == said


def test_what_is_refused_is_named():
    with pytest.raises(UserError) as error:
        prepared("words(20, 3, over='refuse', end=True)", source(text=['a', 'one b c d']))
    assert "prepare: 'text', 'one b c d' ... has 5 tokens, length=3" in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'text, message',
    [
        ('word(20, 3)', "unknown operation 'word'; did you mean 'words'"),
        ('words(20)', 'words.*missing.*length'),
        ('words(4, 3)', 'words needs at least 5 ids'),
        ('bpe(200, 3)', 'bpe needs at least 260 ids'),
        ('words(20, 2, begin=True, end=True)', 'length=2 leaves no room'),
        ("words(20, 3, over='drop')", "over='drop'"),
        ("words(20, 3, 'story')", "words needs texts in 'story'; fields of texts here: text"),
        ("words(20, 3, 'label')", "words needs texts in 'label'"),
        ("lower('label')", "'label' holds no texts"),
        ('pair(9)', "pair needs the field 'question', which .* or as --text question="),
        ("pair(9, 'text', 'answer')", "pair needs the field 'text_length'; put before it a token"),
        ("span('text')", 'span needs the field text_offsets'),
    ],
)
def test_mistakes_are_one_line(text, message):
    train = source(
        text=['a', 'b'], label=np.arange(2), answer=['a', 'b'], answer_start=np.arange(2)
    )
    with pytest.raises(UserError, match=message) as error:
        prepared(text, train)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'statistics, message',
    [
        ({'tokenizer': 'words', 'vocabulary': 'a b'}, 'is of words, the config says characters'),
        ('abc', 'is of no tokenizer, the config says characters'),
        ({'tokenizer': 'characters', 'vocabulary': 'abcdefgh'}, 'has 12 tokens, the config says'),
    ],
)
def test_a_vocabulary_of_another_run_is_refused(statistics, message):
    made = Preparation(spec.parse('characters(9, 4)', prepare), source(text=['a']), [statistics])
    with pytest.raises(UserError, match=message):
        made({'text': texts.array(['a'])})


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tokenizers', None)
    with pytest.raises(UserError, match=r"pip install 'nnjax\[text\]'") as error:
        prepared('bpe(300, 4)', source(text=['a']))
    assert '\n' not in str(error.value)


def test_a_vocabulary_is_the_same_in_every_process(root):
    """The library counts in hash tables, whose order is another in each process."""
    pytest.importorskip('tokenizers')
    code = (
        'from nnjax.data.builders.number_words import english, german\n'
        'from nnjax.data.text import subword\n'
        'found = [f(n) for n in range(0, 10000, 37) for f in (english, german)]\n'
        'for size in (280, 300, 400):\n'
        '    print(subword.learn_unigram(found, size), subword.learn_bpe(found, size))'
    )
    run = lambda: (
        subprocess.run(
            [sys.executable, '-c', code], cwd=root, capture_output=True, check=True
        ).stdout
    )
    assert run() == run()
    assert subword.LEAST == 260


@given(anything)
def test_lower_keeps_places(text):
    (small,) = prepared_texts('lower', [text])
    assert len(small) == len(text)
    assert all(a == b.lower() or len(b.lower()) > 1 for a, b in zip(small, text) if b not in 'Σ')


def prepared_texts(operation: str, found: list[str]) -> list[str]:
    (made,) = spec.parse(operation, prepare)
    return made.apply(None, {'text': texts.array(found)})['text'].tolist()


def test_unicode_joins_what_looks_the_same():
    assert prepared_texts('unicode', ['ﬁn  e\u0301\n', 'é']) == ['fin é', 'é']
    assert prepared_texts("unicode('NFC')", ['ﬁ e\u0301']) == ['ﬁ é']


QA = "words(200, 40, ('question', 'context'), offsets=True) | pair(12) | span"


def test_a_question_and_its_text_are_one_row():
    train = source(
        question=['Where is it?', 'Who?'],
        context=['It is in the hall.', 'Anna and Bob came home to eat at noon'],
        answer=['the hall\nhall', 'home'],
        answer_start=np.array([9, 18], np.int32),
        label=np.arange(2),
    )
    found, made = prepared(QA, train)
    assert set(found) == {'text', 'text_length', 'text_offsets', 'span', 'answer_start', 'label'}
    ids, spots = found['text'], found['text_offsets']
    assert ids[0, 0] == BEGIN and ids[0, 5] == END and found['text_length'].tolist() == [12, 12]
    assert ids[0, 11] == END and spots[0, :6].tolist() == [[0, 0]] * 6
    text = 'It is in the hall.'
    (first, last), (_, second) = found['span'][0], found['span'][1]
    assert text[spots[0, first, 0] : spots[0, last, 1]] == 'the hall'
    assert second == found['span'][1, 0] == 3 + 5  # <bos> Who ? <eos> Anna and Bob came home
    asked = {'question': texts.array(['Who?']), 'context': texts.array(['Bob'])}
    assert set(made(asked)) == {'text', 'text_length', 'text_offsets'}


@given(st.data())
def test_spans_are_the_answer(data):
    found = data.draw(st.lists(st.text('abc', min_size=1, max_size=3), min_size=1, max_size=9))
    low = data.draw(st.integers(0, len(found) - 1))
    high = data.draw(st.integers(low + 1, len(found)))
    context, answer = ' '.join(found), ' '.join(found[low:high])
    start = len(' '.join(found[:low])) + (low > 0)
    row = source(text=[context], answer=[answer], answer_start=np.array([start], np.int32))
    made, _ = prepared('words(200, 6, offsets=True) | span', row)
    first, last = made['span'][0]
    if high > 6:
        assert (first, last) == (-1, -1)
    else:
        assert (first, last) == (low, high - 1)
