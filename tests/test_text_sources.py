"""Sources of texts: what files hold, how they are split, and what is refused, in one line."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax.config import bind
from nnjax.data import sources
from nnjax.data.text import lines
from nnjax.errors import UserError


def everything(source):
    return source[np.arange(len(source))]


def written(path, content: str | bytes):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def objects(path, rows):
    return written(path, ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows))


def test_json_lines_have_texts_numbers_and_classes(tmp_path):
    rows = [
        {'id': n, 'story': f'Größe {n}', 'kind': 'ba'[n % 2], 'answers': ['a', 'b'], 'score': n / 2}
        for n in range(20)
    ]
    path = objects(tmp_path / 'a.jsonl', rows)
    made = sources.Jsonl(path, valid='4', test=None, label='kind')
    assert (len(made.train), len(made.valid), made.test) == (16, 4, None)
    assert made.labels == ('a', 'b')
    found = [everything(split) for split in (made.train, made.valid)]
    joined = {n: np.concatenate([part[n] for part in found]) for n in found[0]}
    for n, story, label, answer in zip(
        *(joined[name].tolist() for name in ('id', 'story', 'label', 'answers'))
    ):
        assert (story, label, answer) == (f'Größe {n}', (n + 1) % 2, 'a\nb')
    assert found[0]['score'].dtype == np.float32 and found[0]['story'].dtype.kind == 'T'
    some = sources.Jsonl(path, valid=None, test=None, fields=('story',), label='kind')
    assert set(some.train.spec) == {'story', 'label'}


def test_tables_are_split_by_tabs_or_as_csv(tmp_path):
    tabs = written(tmp_path / 'a.tsv', '\ufefftext\tlabel\r\n"so, it\tgood\nno\tbad\n')
    commas = written(tmp_path / 'a.csv', 'text,label\n"""so, it",good\n"no",bad\n')
    first, second = (sources.Table(p, None, None, label='label') for p in (tabs, commas))
    assert everything(first.train)['text'].tolist() == ['"so, it', 'no']
    assert everything(first.train)['label'].tolist() == [1, 0] and first.labels == ('bad', 'good')
    assert first.train.fingerprint == second.train.fingerprint


def test_a_split_may_be_a_file_of_its_own(tmp_path):
    train = written(tmp_path / 'train.tsv', 'text\tlabel\na\tx\nb\ty\n')
    test = written(tmp_path / 'test.tsv', 'text\tlabel\nc\ty\nc\ty\n')
    made = sources.Table(train, valid=None, test=test, label='label')
    assert everything(made.test)['label'].tolist() == [1, 1]  # scored as it is
    other = written(tmp_path / 'other.tsv', 'text\tlabel\nc\tz\n')
    with pytest.raises(UserError, match=r"unknown class in .*other.tsv 'z'.*allowed: x, y"):
        sources.Table(train, valid=None, test=other, label='label')


def test_parallel_files_are_pairs(tmp_path):
    de = written(tmp_path / 'a.de', 'eins\nzwei\r\ndrei\neins')
    en = written(tmp_path / 'a.en', 'one\ntwo\nthree\none\n')
    made = sources.Parallel((de, en), valid=(de, en), test=None)
    found = everything(made.train)
    assert found['source'].tolist() == ['eins', 'zwei', 'drei']  # the repeated pair once
    assert found['target'].tolist() == ['one', 'two', 'three']
    assert len(sources.Parallel((de, en), valid='1', test='1', unique=False).train) == 2
    assert everything(made.valid)['target'].tolist() == ['one', 'two', 'three', 'one']
    other = written(tmp_path / 'b.en', 'a\nb\nc\nd\n')
    again = sources.Parallel((de, en), valid=(de, other), test=None)
    assert everything(again.valid)['target'].tolist() == ['a', 'b', 'c', 'd']


def test_a_source_of_several_targets_is_in_one_split(tmp_path):
    de = written(tmp_path / 'a.de', ''.join(f'{n % 20}\n' for n in range(100)))
    en = written(tmp_path / 'a.en', ''.join(f'{n}\n' for n in range(100)))
    made = sources.Parallel((de, en), valid='20%', test='5')
    splits = [everything(split) for split in (made.train, made.valid, made.test)]
    assert [len(found['target']) for found in splits] == [60, 15, 25]
    assert [len(set(found['source'].tolist())) for found in splits] == [12, 3, 5]


def test_repeated_rows_are_left_out_before_splitting(tmp_path, capsys):
    path = objects(tmp_path / 'a.jsonl', [{'text': f'{n % 50}'} for n in range(200)])
    made = sources.Jsonl(path, valid='20%', test='20%')
    parts = [set(everything(s)['text'].tolist()) for s in (made.train, made.valid, made.test)]
    assert [len(part) for part in parts] == [32, 8, 10] and len(set.union(*parts)) == 50
    assert 'left out 150 of 200 rows' in capsys.readouterr().err


@given(st.lists(st.integers(0, 9), min_size=40, max_size=60))
def test_groups_stay_together(groups):
    rows = [{'text': str(n), 'book': f'b{g}'} for n, g in enumerate(groups)]
    if len(set(groups)) < 5:
        return
    from nnjax.data.text import records

    paths = {'train': 'memory', 'valid': '2', 'test': '1'}
    made = records.dataset(lambda _: rows, paths, group='book')
    book = {str(n): g for n, g in enumerate(groups)}
    parts = [
        {book[text] for text in everything(s)['text'].tolist()}
        for s in (made.train, made.valid, made.test)
    ]
    assert len(parts[1]) == 2 and len(parts[2]) == 1
    assert sum(map(len, parts)) == len(set(groups))
    assert sum(map(len, (made.train, made.valid, made.test))) == len(rows)


@given(st.text('ab \n', min_size=60, max_size=90), st.integers(3, 20))
def test_windows_of_a_text_predict_each_character_once(whole, length):
    from nnjax.data.text.sources import _windows

    found = everything(_windows(whole, length, 'train'))['text'].tolist()
    assert whole == found[0][0] + ''.join(window[1:] for window in found)
    assert all(len(window) == length + 1 for window in found[:-1])


def test_the_end_of_a_text_is_held_out(tmp_path):
    whole = ''.join(chr(97 + n % 26) for n in range(1000))
    made = sources.Text(written(tmp_path / 'a.txt', whole), length=10, valid='5%', test='100')
    join = lambda rows: rows[0][0] + ''.join(window[1:] for window in rows)
    parts = [join(everything(s)['text'].tolist()) for s in (made.train, made.valid, made.test)]
    assert parts == [whole[:850], whole[850:900], whole[900:]]


LATIN = 'a\nGrö\n'.encode('latin1')
MISTAKES = {
    'no file': (lambda p: sources.Jsonl(str(p / 'none')), 'no file'),
    'empty file': (lambda p: sources.Text(written(p / 'a', ' \n')), 'a is empty'),
    'empty line': (lambda p: lines.read(p / written(p / 'a', 'x\n \ny\n')), 'a, line 2 is empty'),
    'not utf-8': (lambda p: lines.read(p / written(p / 'a', LATIN)), 'a, line 2: byte 0xf6 is not'),
    'table not utf-8': (
        lambda p: sources.Table(written(p / 'a.tsv', b't\n' + LATIN)),
        'a.tsv, line 3: byte 0xf6',
    ),
    'unequal': (
        lambda p: sources.Parallel((written(p / 'a', 'x\ny\n'), written(p / 'b', 'x\n'))),
        'a has 2 lines, .*b has 1: each line must have its translation',
    ),
    'one file': (
        lambda p: sources.Parallel((written(p / 'a', 'x'), str(p / 'a')), valid='b.de'),
        r"data.valid='b.de': expected two files",
    ),
    'no json': (lambda p: sources.Jsonl(written(p / 'a', '{}x\n')), 'a, line 1 is no JSON'),
    'no object': (
        lambda p: sources.Jsonl(written(p / 'a', '["x"]\n')),
        'a, line 1: expected an obj',
    ),
    'other fields': (
        lambda p: sources.Jsonl(objects(p / 'a', [{'a': 1}, {'b': 1}])),
        'line 2 has the fields b; line 1 has a',
    ),
    'nested': (
        lambda p: sources.Jsonl(objects(p / 'a', [{'a': {'b': 1}}])),
        "line 1, 'a': expected a text, a number",
    ),
    'empty text': (lambda p: sources.Jsonl(objects(p / 'a', [{'a': ''}])), "line 1, 'a' is empty"),
    'mixed': (
        lambda p: sources.Jsonl(objects(p / 'a', [{'a': 'x'}, {'a': 1}])),
        "row 2: 'a' is a text in some rows only",
    ),
    'unknown field': (
        lambda p: sources.Jsonl(objects(p / 'a', [{'text': 'x'}]), label='lable'),
        "unknown field of .*a 'lable'",
    ),
    'cells': (lambda p: sources.Table(written(p / 'a.tsv', 'a\tb\nx\n')), '1 values under 2 col'),
    'empty cell': (
        lambda p: sources.Table(written(p / 'a.csv', 'a,b\nx,y\nz,\n')),
        "a.csv, line 3: no text in column 'b'",
    ),
    'blank row': (lambda p: sources.Table(written(p / 'a.csv', 'a\nx\n\ny\n')), 'line 3 is empty'),
    'no rows': (lambda p: sources.Table(written(p / 'a.csv', 'a,b\n')), 'no rows under a header'),
    'twice': (lambda p: sources.Table(written(p / 'a.csv', 'a,a\nx,y\n')), 'a column twice'),
    'two texts': (lambda p: sources.Text(), 'either path=FILE or name=TFDS_NAME'),
    'short text': (
        lambda p: sources.Text(written(p / 'a', 'abc'), valid='1'),
        'test part .* has 0',
    ),
    'nothing left': (
        lambda p: sources.Text(written(p / 'a', 'abcdef'), valid='3', test='3'),
        'leave nothing of 6 characters',
    ),
    'all held out': (
        lambda p: sources.Jsonl(objects(p / 'a', [{'a': 1}]), valid=None, test='1'),
        "data.test='1' of 1 examples leaves nothing",
    ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_mistakes_are_one_line(name, tmp_path):
    make, message = MISTAKES[name]
    with pytest.raises(UserError, match=message) as error:
        make(tmp_path)
    assert '\n' not in str(error.value)


def test_configs_take_them():
    section = bind(sources.Parallel, train=('a.de', 'a.en'), valid='5%')
    assert section.fn == 'nnjax.data.sources.Parallel' and section.train == ('a.de', 'a.en')
    assert {'Jsonl', 'Table', 'Parallel', 'Text'} <= set(sources.__all__)


@pytest.mark.parametrize(
    'text, value', [("('b.de', 'b.en')", ('b.de', 'b.en')), ('5%', '5%'), ('None', None)]
)
def test_a_flag_sets_two_files_or_a_share(text, value):
    from nnjax import schema

    field = schema.fields(sources.Parallel)['valid']
    assert field.check(field.parse(text, 'data.valid'), 'data.valid') == value
