"""Texts on the host, and what operations learn: kept with the run, and of no other run."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnjax
from nnjax import build, models, tasks, texts
from nnjax.config import base, bind
from nnjax.data import prepare, sources, spec
from nnjax.data.preparation import Operation, Preparation, Vocabulary
from nnjax.data.source import Rows
from nnjax.errors import UserError
from nnjax.training import arrange, optim, restore
from nnjax.training.folder import RunFolder
from nnjax.training.setup import setup

words = st.text(st.characters(exclude_categories=('Cs',)))


@given(st.lists(words, max_size=8))
def test_texts_come_back_from_a_file(found):
    arrays = {'text': texts.array(found), 'label': np.arange(3)}
    assert not any(texts.is_text(array) for array in texts.to_file(arrays).values())
    again = texts.from_file(texts.to_file(arrays))
    assert again['text'].tolist() == found and again['label'].tolist() == [0, 1, 2]


def test_the_fingerprint_of_texts_is_their_content():
    prints = {
        Rows({'text': texts.array(found)}).fingerprint
        for found in (['ab', 'c'], ['a', 'bc'], ['ab', 'd'], ['abc', ''])
    }
    assert len(prints) == 4
    assert Rows({'text': texts.array(['ab', 'c'])}).fingerprint in prints


def test_arrays_take_texts_and_labels_that_are_texts():
    train = {'text': np.array(['one', 'two words', '']), 'label': np.array(['b', 'a', 'b'])}
    made = sources.Arrays(train, valid=None)
    rows = made.train[np.array([1, 0])]
    assert rows['text'].tolist() == ['two words', 'one'] and rows['text'].dtype.kind == 'T'
    assert made.labels == ('a', 'b') and rows['label'].tolist() == [0, 1]


def letters(size: int) -> Operation:
    """Ids of the letters that train holds, 4 positions."""

    def apply(alphabet, arrays):
        ids = np.zeros((len(arrays['text']), 4), np.int32)
        for row, text in enumerate(arrays['text'].tolist()):
            found = [1 + alphabet.find(letter) for letter in text[:4]]
            ids[row, : len(found)] = found
        return {**arrays, 'text': ids}

    def decode(alphabet, ids):
        return texts.array(''.join(alphabet[i - 1] for i in row if i > 0) for row in ids)

    return Operation(
        apply,
        lambda arrays: ''.join(sorted({*''.join(arrays['text'].tolist())})),
        lambda alphabet: {'text': Vocabulary(size, lambda ids: decode(alphabet, ids))},
    )


def test_an_operation_learns_from_train_and_texts_stay_on_the_host():
    train = Rows({'text': texts.array(['cab', 'b']), 'note': texts.array(['x', 'y'])})
    made = Preparation((letters(4),), train)
    assert made.spec == {'text': ((4,), np.int32)}
    batch = made({'text': texts.array(['abc']), 'note': texts.array(['z'])})
    assert {n: a.tolist() for n, a in batch.items()} == {'text': [[1, 2, 3, 0]]}
    assert made.statistics == ['abc']
    assert made.vocabularies['text'].decode(batch['text']).tolist() == ['abc']
    other = Preparation((letters(4),), train, ['xyz'])
    assert other({'text': texts.array(['zz'])})['text'].tolist() == [[3, 3, 0, 0]]


def config(**values):
    x = np.random.default_rng(0).integers(0, 256, (40, 3)).astype(np.float32)
    c = base()
    c.total, c.batch = '4 steps', 8
    c.data = bind(sources.Arrays, train={'features': x, 'label': np.arange(40) % 2}, valid='8')
    c.prepare = "standardize('features')"
    c.model = bind(models.MLP, hidden=(4,), classes=2)
    c.task = bind(tasks.classification, input='features')
    c.optim = bind(optim.make, name='adam', lr=0.01)
    c.update(values)
    return c


def test_what_was_learned_is_kept_with_the_run(tmp_path):
    nnjax.train(config(), tmp_path / 'run')
    kept = json.loads((tmp_path / 'run' / 'prepare.json').read_text())
    assert len(kept[0]['mean']) == 3
    made = setup(config())
    assert made.prepare.statistics == kept
    # Another run's parameters come with what belongs to them.
    kept[0]['mean'] = [0.0, 0.0, 0.0]
    other = setup(config(init_from=str(tmp_path / 'run')))
    assert other.prepare.statistics == made.prepare.statistics
    inherited = setup(config(init_from=str(tmp_path / 'run')), kept)
    assert inherited.prepare.statistics == kept


@pytest.mark.parametrize('text, words', [('{', 'damaged'), ('[null]', 'is not that of this run')])
def test_statistics_of_another_run_are_refused(tmp_path, text, words):
    nnjax.train(config(total='2 steps'), tmp_path / 'run')
    (tmp_path / 'run' / 'prepare.json').write_text(text)
    with pytest.raises(UserError, match=words) as error:
        restore.run(str(tmp_path / 'run'))
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match='are those of 2'):
        Preparation(spec.parse('scale', prepare), Rows({'image': np.zeros((2, 1))}), [None, None])


def counted(path, text: str, operations: str, **values):
    """A classifier of a file of texts, half of them 'b'."""
    rows = [{'text': f'{text} {n}', 'note': 'x y', 'label': 'ab'[n % 2]} for n in range(8)]
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    c = config(prepare=operations, batch=4, **values)
    c.data = bind(sources.Jsonl, path=str(path), label='label', valid=None, test=None)
    c.model = bind(models.RNN, classes=2, vocabulary=20, embedding=4, hidden=4)
    c.task = bind(tasks.classification, input='text')
    return c


@pytest.fixture
def learned_run(tmp_path):
    """The folder of a run whose vocabulary is the words of one file, and that vocabulary."""
    made = setup(counted(tmp_path / 'a.jsonl', 'one two', 'lower | words(20, 6)'))
    folder = RunFolder(tmp_path / 'run')
    folder.create(made.config, '', made.dataset, made.prepare)
    return folder, made.prepare.statistics[1]


@pytest.mark.parametrize(
    'operations',
    [
        'lower | words(20, 6)',
        'words(20, 9)',
        "unicode | words(30, 9, over='refuse', end=True)",
        "words(20, 9, 'note')",
    ],
)
def test_a_run_s_vocabulary_goes_with_its_weights(tmp_path, learned_run, operations):
    """Other data and other lengths do not number the words anew."""
    folder, vocabulary = learned_run
    other = counted(tmp_path / 'b.jsonl', 'two six', operations, init_from=str(folder.path))
    given = arrange.inherited(other)
    assert vocabulary in given
    parsed = spec.parse(operations, prepare)
    source = build.instantiate(other.data).train
    assert vocabulary in Preparation(parsed, source, given).statistics
    assert vocabulary not in Preparation(parsed, source).statistics


@pytest.mark.parametrize(
    'operations, words',
    [
        ('characters(20, 9)', 'vocabulary saved here is of words, the config says characters'),
        ('words(7, 9)', r'has \d+ tokens, the config says words\(7\)'),
    ],
)
def test_other_ids_than_those_of_the_weights_are_refused(tmp_path, learned_run, operations, words):
    other = counted(tmp_path / 'b.jsonl', 'two six', operations, init_from=str(learned_run[0].path))
    with pytest.raises(UserError, match=f'keep its tokenizers .*{words}') as error:
        setup(other)
    assert '\n' not in str(error.value)


@pytest.mark.slow
def test_forced_runs_and_restored_ones_keep_their_vocabulary(tmp_path):
    nnjax.train(counted(tmp_path / 'a.jsonl', 'one two', 'words(20, 6)'), tmp_path / 'run')
    vocabulary = RunFolder(tmp_path / 'run').statistics()
    given = {'prepare': 'words(20, 9)', 'data.path': str(tmp_path / 'b.jsonl')}
    more = counted(tmp_path / 'b.jsonl', 'two six', 'words(20, 9)', total='6 steps')
    assert restore.run(str(tmp_path / 'run'), overrides=given)[0].prepare.statistics == vocabulary
    nnjax.train(more, tmp_path / 'run', force=True)
    assert RunFolder(tmp_path / 'run').statistics() == vocabulary
