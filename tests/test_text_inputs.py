"""Texts to predict: files, standard input, fields typed by hand."""

import io
import sys

import numpy as np
import pytest

from nnjax import texts
from nnjax.data import sources
from nnjax.data.text import inputs
from nnjax.errors import UserError

SPEC = {
    'question': ((), texts.TEXT),
    'context': ((), texts.TEXT),
    'answer_start': ((), np.dtype(np.int32)),
}


def plain(found):
    names, arrays = found
    return names, {name: array.tolist() for name, array in arrays.items()}


@pytest.fixture
def standard_input(monkeypatch):
    def put(content: bytes):
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(content)))

    return put


def test_lines_are_the_field_that_the_task_reads(tmp_path, standard_input):
    path = tmp_path / 'a.txt'
    path.write_text('Who?\nWo, größer?\n', encoding='utf-8')
    lines = ['Who?', 'Wo, größer?']
    assert plain(inputs.read([str(path)], SPEC, 'context')) == (lines, {'context': lines})
    standard_input('Who?\r\nWo, größer?'.encode())
    assert plain(inputs.read(['-'], SPEC, 'context')) == (lines, {'context': lines})
    alone = {'story': ((), texts.TEXT)}
    assert plain(inputs.read([str(path)], alone, 'text')) == (lines, {'story': lines})


def test_lines_of_no_field_in_particular_are_refused(tmp_path):
    (tmp_path / 'a.txt').write_text('x\n')
    for named in (str(tmp_path / 'a.txt'), '-'):
        with pytest.raises(UserError, match=r'reads question, context: .* --text question=') as e:
            inputs.read([named], SPEC, 'text')
        assert '\n' not in str(e.value)


def test_records_have_the_fields_that_they_name(tmp_path):
    path = tmp_path / 'a.tsv'
    path.write_text('context\tid\tquestion\nIt is he.\t7\tWho?\n')
    names, found = plain(inputs.read([str(path)], SPEC))
    assert names == [f'{path}:1'] and found == {'question': ['Who?'], 'context': ['It is he.']}


def test_a_single_field_need_not_be_the_first(tmp_path):
    path = tmp_path / 'a.jsonl'
    path.write_text('{"context": "It is he."}\n')
    assert plain(inputs.read([str(path)], SPEC)) == (['It is he.'], {'context': ['It is he.']})


def test_fields_typed_by_hand():
    names, found = plain(inputs.typed(['question=a=b?', 'context= c '], SPEC))
    assert names == ['a=b? | c'] and found == {'question': ['a=b?'], 'context': ['c']}


@pytest.mark.parametrize(
    'content, message',
    [
        (b'a\nGr\xf6\n', r'standard input, line 2: byte 0xf6 is not UTF-8'),
        (b'a\n\nb\n', 'standard input, line 2 is empty'),
        (b'\n', 'standard input is empty'),
    ],
)
def test_what_is_wrong_in_standard_input_is_one_line(content, message, standard_input):
    standard_input(content)
    with pytest.raises(UserError, match=message) as error:
        inputs.read(['-'], SPEC, 'question')
    assert '\n' not in str(error.value)


def test_files_must_have_the_same_fields(tmp_path):
    (tmp_path / 'a.txt').write_text('x\n')
    (tmp_path / 'b.jsonl').write_text('{"context": "y", "question": "z"}\n')
    (tmp_path / 'c.jsonl').write_text('{"text": "y"}\n')
    with pytest.raises(UserError, match=r'b.jsonl has the fields question, context, those before'):
        inputs.read([str(tmp_path / 'a.txt'), str(tmp_path / 'b.jsonl')], SPEC, 'question')
    with pytest.raises(UserError, match=r'c.jsonl has none of the fields of text: question, con'):
        inputs.read([str(tmp_path / 'c.jsonl')], SPEC)
    with pytest.raises(UserError, match="unknown field of text 'kontext'; did you mean 'context'"):
        inputs.typed(['kontext=a'], SPEC)
    with pytest.raises(UserError, match='expected FIELD=TEXT'):
        inputs.typed(['a question'], SPEC)


def test_what_is_not_utf_8_is_one_line(tmp_path):
    """Half a surrogate pair: an escape in JSON, or a byte of a command line."""
    path = tmp_path / 'a.jsonl'
    path.write_text('{"question": "good"}\n{"question": "Who\\ud800?"}\n')
    for act in (
        lambda: inputs.read([str(path)], SPEC),
        lambda: inputs.typed(['question=Who\udcff?'], SPEC),
        lambda: sources.Jsonl(str(path), valid=None, test=None),
        lambda: sources.Jsonl(str(path), valid=None, test=None, label='question'),
        lambda: texts.array(['\udcff']),  # as generate makes of its prompt
    ):
        with pytest.raises(UserError, match=r"the text '.*\\ud(800|cff).*' is not UTF-8") as error:
            act()
        assert '\n' not in str(error.value) and str(error.value).isascii()
