"""TFDS names of text sets: mocked sets of the true features."""

import sys

import numpy as np
import pytest

from nnjax.data import prepare, sources, spec, tfds, tfds_folder
from nnjax.data.preparation import Preparation
from nnjax.data.source import Rows, Slice
from nnjax.errors import UserError
from tests.mocked_texts import NAMES

HELD = {'valid': '10', 'test': None}
FIELDS = {
    'ag_news_subset': {'title', 'description', 'label'},
    'glue/sst2': {'sentence', 'label', 'idx'},
    'imdb_reviews/plain_text': {'text', 'label'},
    'squad/v1.1': {'id', 'title', 'context', 'question', 'answer', 'answer_start'},
    'tiny_shakespeare': {'text'},
    'wmt14_translate/de-en': {'de', 'en'},
}


@pytest.fixture(scope='module', autouse=True)
def prepared(mocked_home, tmp_path_factory):
    path = mocked_home / 'tensorflow_datasets'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('NNJAX_CACHE_DIR', str(tmp_path_factory.mktemp('cache')))
        patch.setenv('NNJAX_DATA_DIR', str(path))
        yield path


def everything(source):
    return source[np.arange(len(source))]


@pytest.mark.parametrize('name', [n for n in NAMES if n != 'tiny_shakespeare'])
def test_texts_are_what_tfds_reads(name, prepared):
    import tensorflow_datasets

    made = sources.Tfds(name, **HELD)
    assert (len(made.train), len(made.valid)) == (30, 10) and set(made.train.spec) == FIELDS[name]
    folder = tfds.open(name).path
    stock = tensorflow_datasets.builder_from_directory(str(folder)).as_data_source('train')
    field = next(
        n for n in ('description', 'sentence', 'text', 'question', 'de') if n in FIELDS[name]
    )
    found = [*everything(made.train)[field].tolist(), *everything(made.valid)[field].tolist()]
    assert sorted(found) == sorted(stock[n][field].decode() for n in range(40))
    assert 'é' in found[0] and 'tensorflow' not in sys.modules
    assert len(made.labels) in (0, 2, 4)


def test_streamed_and_kept_texts_are_the_same(monkeypatch, tmp_path):
    first = sources.Tfds('squad/v1.1', **HELD).train
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path))
    monkeypatch.setattr(tfds, 'KEPT_BYTES', 100)
    second = sources.Tfds('squad/v1.1', **HELD).train
    for name, array in first[np.array([3, 0, 3])].items():
        assert array.tolist() == second[np.array([3, 0, 3])][name].tolist()


def test_the_length_of_texts_decides_what_is_kept(monkeypatch, tmp_path):
    whole = {'valid': None, 'test': None}
    rows = sources.Tfds('imdb_reviews/plain_text', **whole).train
    size = sum(len(text.encode()) for text in everything(rows)['text'].tolist())
    monkeypatch.setattr(tfds, 'KEPT_BYTES', size // 2)
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path))
    streamed = sources.Tfds('imdb_reviews/plain_text', **whole).train
    assert isinstance(rows, Rows) and isinstance(streamed, Slice)


def test_squad_s_answers_are_one_a_line_and_become_spans():
    made = sources.Tfds('squad/v1.1', valid='validation', test=None)
    rows = everything(made.train)
    for context, answer, start in zip(
        *(rows[n].tolist() for n in ('context', 'answer', 'answer_start'))
    ):
        whole, word = answer.split('\n')
        assert context[start:].startswith(whole) and whole.startswith(word)
    text = "words(99, 20, ('question', 'context'), offsets=True) | pair(40) | span"
    found = Preparation(spec.parse(text, prepare), made.train)(rows)
    assert (found['span'][:, 1] - found['span'][:, 0] == 2).all()


def test_a_long_text_of_tfds_is_joined_from_its_splits():
    parts = [
        everything(getattr(sources.Tfds('tiny_shakespeare', valid='validation'), split))
        for split in ('train', 'valid', 'test')
    ]
    whole = ''.join(part['text'].tolist()[0] for part in parts)
    made = sources.Text(name='tiny_shakespeare', length=50, valid=None, test='10%')
    windows = everything(made.train)['text'].tolist()
    assert whole.startswith(windows[0] + windows[1][1:])
    with pytest.raises(UserError, match='glue/sst2 has no field text'):
        sources.Text(name='glue/sst2')


def test_bytes_that_are_no_text_are_named_by_their_row(monkeypatch):
    stack = tfds_folder.stack

    def damaged(examples):
        examples[-1]['text'] = b'caf\xe9'
        return stack(examples)

    stream = tfds.Stream(tfds.open('imdb_reviews/plain_text'), 'test')
    monkeypatch.setattr(tfds_folder, 'stack', damaged)
    with pytest.raises(UserError, match=r'imdb_reviews/plain_text, test\[7\] is no text in UTF-8'):
        stream[np.array([2, 7])]


@pytest.mark.parametrize('name', ['glue/sst2', 'wmt14_translate/de-en', 'squad/v1.1'])
def test_unprepared_is_one_line_that_says_how(name, tmp_path, monkeypatch):
    monkeypatch.setenv('NNJAX_DATA_DIR', str(tmp_path))
    monkeypatch.setenv('HOME', str(tmp_path))
    with pytest.raises(UserError, match=f'tfds build {name} --file_format=array_record') as error:
        sources.Tfds(name)
    assert '\n' not in str(error.value)
