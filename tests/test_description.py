"""A run folder says enough of its data to predict without it."""

import numpy as np
import pytest

import nnjax
from nnjax import models, tasks, texts
from nnjax.config import base, bind
from nnjax.data import description, sources
from nnjax.data.source import Dataset, Rows
from nnjax.errors import UserError
from nnjax.training import optim, predict, restore


def test_what_is_described_comes_back():
    rows = Rows({'image': np.zeros((3, 8, 8, 1), np.uint8), 'text': texts.array('abc')})
    given = Dataset(rows, rows, None, ('a', 'b'), ('age',), {'sex': ('f', 'm')})
    found = description.described(description.describe(given))
    assert found.train.spec == rows.spec and len(found.train) == 3
    assert found.valid.fingerprint == rows.fingerprint and found.test is None
    assert (found.labels, found.columns) == (given.labels, given.columns)
    assert found.categories == given.categories
    with pytest.raises(UserError, match='not open'):
        found.train[np.arange(1)]


def numbers(path):
    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    np.savez(path, features=x, label=np.arange(40) % 2)
    c = base()
    c.data = bind(sources.Npz, path=str(path), valid='8')
    c.prepare = 'standardize("features")'
    c.model = bind(models.MLP, hidden=(4,), classes=2)
    c.task = bind(tasks.classification, input='features')
    return c, {'features': x[:5]}


def lines(path, **fields):
    path.write_text(
        'text\tstars\n'
        + ''.join(f'{"good" if n % 2 else "bad"} {"so " * (n % 7)}\t{n % 2}\n' for n in range(40))
    )
    c = base()
    c.data = bind(sources.Table, path=str(path), fields=('text',), label='stars', valid='8')
    c.prepare = 'words(20, length=8)'
    c.model = bind(models.TransformerEncoder, vocabulary=20, classes=2, width=8, heads=1, layers=1)
    c.task = bind(tasks.classification, input='text')
    c.update(fields)
    return c, {'text': texts.array(['good so so', 'bad', 'new'])}


@pytest.mark.parametrize(
    'make',
    [
        numbers,
        pytest.param(lines, marks=pytest.mark.slow),
        pytest.param(lambda p: lines(p, buckets=(4, 8)), marks=pytest.mark.slow),
    ],
)
def test_a_run_predicts_without_its_data(tmp_path, make):
    path = tmp_path / ('data.npz' if make is numbers else 'data.tsv')
    c, inputs = make(path)
    c.total, c.batch = '4 steps', 8
    c.optim = bind(optim.make, name='adam', lr=0.01)
    nnjax.train(c, tmp_path / 'run')
    folder = str(tmp_path / 'run')
    expected = predict.predict(*restore.run(folder), inputs)
    path.unlink()
    found = predict.predict(*restore.run(folder, data=False), inputs)
    assert np.array_equal(found['probability'], expected['probability'])
    with pytest.raises(UserError):
        restore.run(folder)
    (tmp_path / 'run' / 'data.json').write_text('{')
    with pytest.raises(UserError, match=r'data\.json is missing or damaged'):
        restore.run(folder, data=False)


def test_a_batch_is_no_larger_than_what_is_asked():
    sizes = lambda count: [
        (real, len(batch['x'])) for real, batch in predict._batches({'x': np.zeros((count, 2))})
    ]
    assert sizes(1) == [(1, 1)] and sizes(5) == [(5, 8)]
    assert sizes(300) == [(256, 256), (44, 256)]
