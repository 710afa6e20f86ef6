"""Regression: losses and scores against references, units mapped back, tables with their gaps."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

import nnjax
from nnjax import config as configs
from nnjax import report
from nnjax.data import files, prepare, sources, tables
from nnjax.errors import UserError
from nnjax.models import TabularMLP
from nnjax.report import numbers
from nnjax.tasks import regression
from nnjax.training.setup import setup

RNG = np.random.default_rng(0)
TARGETS = RNG.normal(size=(41, 3)).astype(np.float32)
OUTPUTS = RNG.normal(size=(41, 3)).astype(np.float32)
UNITS = {
    'target_mean': np.tile(np.float32([10, 0, -5]), (41, 1)),
    'target_scale': np.tile(np.float32([2, 1, 0.1]), (41, 1)),
}


def predictions(outputs, task, batch=None):
    batch = {'features': jnp.asarray(outputs), **(batch or {})}
    return {n: np.asarray(a) for n, a in task.predict(lambda x: x, batch).items()}


@pytest.mark.parametrize(
    'loss, theirs',
    [('mse', 'mse_loss'), ('mae', 'l1_loss'), ('huber', 'huber_loss'), ('gaussian', '')],
)
def test_losses_equal_pytorch(loss, theirs, torch):
    task, wanted = regression(loss=loss), torch.tensor(TARGETS)
    if loss == 'gaussian':
        raw = RNG.normal(size=(41, 3)).astype(np.float32)
        outputs = np.concatenate([OUTPUTS, raw], 1)
        variance = (torch.nn.functional.softplus(torch.tensor(raw)) + 1e-3) ** 2
        found = torch.nn.functional.gaussian_nll_loss(
            torch.tensor(OUTPUTS), wanted, variance, full=True, reduction='none'
        )
    else:
        outputs = OUTPUTS
        found = getattr(torch.nn.functional, theirs)(
            torch.tensor(OUTPUTS), wanted, reduction='none'
        )
    values, weights = task.loss(jnp.asarray(outputs), {'target': jnp.asarray(TARGETS)})
    assert np.allclose(values, found.mean(1).numpy(), rtol=1e-5, atol=1e-6)
    assert np.array_equal(weights, np.ones(41))


def test_quantiles_may_be_given_in_any_order():
    outputs = RNG.normal(size=(50, 3)).astype(np.float32)
    batch = {'target': RNG.normal(size=(50, 1)).astype(np.float32), 'features': outputs}
    found = []
    for quantiles in ((0.05, 0.5, 0.95), (0.95, 0.05, 0.5)):
        task = regression(loss='quantile', quantiles=quantiles)
        predictions = jax.device_get(task.predict(lambda x: x, batch))
        run = types.SimpleNamespace(
            predictions=predictions | batch, config={'task': {'quantiles': quantiles}}
        )
        keys = [card.key for card in numbers.sections(run)[0].cards]
        loss = float(jnp.sum(task.loss(outputs, batch)[0]))
        found.append((loss, task.score(predictions, batch), keys))
    assert found[0] == found[1] and 'coverage90' in found[0][1]


def test_the_pinball_loss_is_least_at_the_quantiles():
    quantiles, sample = (0.1, 0.5, 0.8), RNG.exponential(size=(2000, 1)).astype(np.float32)
    task = regression(loss='quantile', quantiles=quantiles)
    loss = lambda q: jnp.mean(task.loss(jnp.tile(q[None], (2000, 1)), {'target': sample})[0])
    best = jnp.asarray(np.quantile(sample, quantiles), jnp.float32)
    wanted = [
        reference.mean_pinball_loss(sample, np.full(2000, b), alpha=q)
        for b, q in zip(best, quantiles)
    ]
    assert float(loss(best)) == pytest.approx(np.mean(wanted), rel=1e-5)
    assert np.abs(jax.grad(loss)(best)).max() < 1e-3
    for change in (-0.1, 0.1):
        assert loss(best + change) > loss(best)


def test_scores_equal_scikit_learn_in_the_targets_own_units():
    task, batch = regression(), {**UNITS, 'target': TARGETS}
    found = predictions(OUTPUTS, task, UNITS)
    scores = task.score(found, batch)
    true = UNITS['target_mean'] + UNITS['target_scale'] * TARGETS
    assert scores['r2'] == pytest.approx(reference.r2_score(true, found['prediction']), rel=1e-5)
    wanted = reference.root_mean_squared_error(true, found['prediction'])
    assert scores['rmse'] == pytest.approx(wanted, rel=1e-5)
    wanted = reference.mean_absolute_error(true, found['prediction'])
    assert scores['mae'] == pytest.approx(wanted, rel=1e-5)
    values, _ = task.metrics(jnp.asarray(OUTPUTS), batch)['mae']
    assert float(values.mean()) == pytest.approx(wanted, rel=1e-5)


def test_a_constant_target_scores_as_in_scikit_learn():
    for point in (np.full((5, 1), 2.0), np.arange(5.0)[:, None]):
        scores = regression().score({'prediction': point}, {'target': np.full((5, 1), 2.0)})
        assert scores['r2'] == reference.r2_score(np.full(5, 2.0), point)


@pytest.mark.parametrize('loss', ['gaussian', 'quantile'])
def test_true_intervals_cover_as_they_should(loss):
    deviation = np.exp(RNG.normal(size=(20_000, 1))).astype(np.float32)
    targets = (deviation * RNG.normal(size=deviation.shape)).astype(np.float32)
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    if loss == 'gaussian':
        outputs = np.concatenate([0 * deviation, np.log(np.expm1(deviation))], 1)
    else:
        normal = np.quantile(RNG.normal(size=200_000), levels).astype(np.float32)
        outputs = (deviation * normal)[:, ::-1].copy()  # crossed quantiles are sorted
    task = regression(loss=loss, quantiles=levels)
    scores = task.score(predictions(outputs, task), {'target': targets})
    for name in ('coverage50', 'coverage90'):
        assert scores[name] == pytest.approx(int(name[-2:]) / 100, abs=0.015)


def learned(operation, train):
    """What a run makes of arrays, with statistics that have been to its folder and back."""
    statistics = json.loads(json.dumps(operation.learn and operation.learn(train)))
    return lambda arrays: operation.apply(statistics, arrays)


def test_targets_are_mapped_back_by_statistics_of_train():
    arrays = {'features': np.zeros((6, 1), np.float32), 'target': np.float32([1, 3, 5, 7, 9, 11])}
    apply = learned(prepare.target(), arrays)
    found = apply(arrays)
    assert np.allclose(found['target'].mean(), 0, atol=1e-6) and found['target'].shape == (6, 1)
    back = found['target_mean'] + found['target_scale'] * found['target']
    assert np.allclose(back[:, 0], arrays['target'])
    alone = apply({'features': np.zeros((2, 1), np.float32)})
    assert set(alone) == {'features', 'target_mean', 'target_scale'}
    assert np.allclose(alone['target_mean'], 6)
    logs = learned(prepare.log(), arrays)(arrays)['target']
    assert np.allclose(np.exp(logs), arrays['target'], rtol=1e-5)


def test_missing_values_become_the_median_of_train():
    gap = np.float32([[1, 9], [np.nan, 9], [3, np.nan], [5, 9]])
    apply = learned(prepare.impute(mark=True), {'features': gap})
    assert np.array_equal(
        apply({'features': gap})['features'],
        [[1, 9, 0, 0], [3, 9, 1, 0], [3, 9, 0, 1], [5, 9, 0, 0]],
    )


TABLE = 'size,colour,zip,price\n' + ''.join(
    f'{"" if n == 7 else n / 10},{("red", "blue", "?")[n % 3]},{n % 2},{3 + n}\n' for n in range(40)
)


def written(path, text):
    path.write_text(text)
    return str(path)


def test_a_table_says_its_types_and_gaps(tmp_path, capsys):
    path = written(tmp_path / 'a.csv', TABLE)
    dataset = sources.Csv(path, target='price', test=None, valid=None)
    said = capsys.readouterr().err
    assert "1 of 40 values of 'size' are missing, first in line 9" in said
    assert "13 of 40 values of 'colour' are missing" in said
    assert dataset.columns == ('size', 'zip')
    assert dataset.categories == {'colour': ('blue', 'red')}
    rows = dataset.train[np.arange(40)]
    assert rows['features_categories'][:3, 0].tolist() == [2, 1, 0]
    assert np.isnan(rows['features']).sum() == 1 and np.isnan(rows['features'][7, 0])
    assert rows['target'][:, 0].tolist() == [3 + n for n in range(40)]
    # To predict: other order, no target, a colour that was never seen, a gap.
    new = written(tmp_path / 'b.csv', 'colour,size,zip\ngreen,1,0\nred,,1\n')
    _, arrays = files.read([new], dataset.train.spec, dataset.columns, dataset.categories)
    assert arrays['features_categories'].tolist() == [[0], [2]]
    assert np.isnan(arrays['features'][1, 0])
    with pytest.raises(UserError, match=r'b\.csv:1: a value of .features. is missing'):
        files.complete(['b.csv:0', 'b.csv:1'], arrays)


def test_kinds_of_columns_are_learned_from_training_rows(tmp_path):
    def made(kinds):
        rows = ''.join(f'{kind},{n},{n}\n' for n, kind in enumerate(kinds))
        path = written(tmp_path / 'a.csv', f'kind,a,b\n{rows}')
        return sources.Csv(path, target='b', valid='4', test='4')

    found = made(range(20))
    held = {int(n) for s in (found.valid, found.test) for n in s[np.arange(4)]['target'][:, 0]}
    found = made([f'new{n % 2}' if n in held else ('red', 'blue')[n % 2] for n in range(20)])
    assert found.categories == {'kind': ('blue', 'red')} and found.columns == ('a',)
    assert found.train[np.arange(12)]['features_categories'].all()
    for source in (found.valid, found.test):
        assert not source[np.arange(4)]['features_categories'].any()


def test_copies_of_rows_are_left_out_and_splits_have_seeds(tmp_path):
    path = written(tmp_path / 'a.csv', 'a,b\n1,2\n3,4\n1,2\n5,6\n' + '7,8\n9,1\n')
    whole = sources.Csv(path, target='b', unique=True, test=None, valid=None).train
    assert whole[np.arange(len(whole))]['features'][:, 0].tolist() == [1, 3, 5, 7, 9]
    text = 'a,b,name\n1,2,x\n1 ,2,y\n1,3,x\n'  # a space and a name make no other row
    more = written(tmp_path / 'b.csv', text)
    made = sources.Csv(more, target='b', ignore=('name',), unique=True, test=more, valid=None)
    assert [len(made.train), len(made.test)] == [2, 2]
    held = {
        float(sources.Csv(path, target='b', test='1', valid=None, seed=seed).test[np.arange(1)]['features'][0, 0])
        for seed in range(8)
    }  # fmt: skip
    assert len(held) > 2


BAD = {
    'ragged': ('a,b\n1,2\n\n"x\ny",2\n3\n', {'target': 'b'}, 'line 6: 1 values under 2 columns'),
    'constant target': ('a,b\n1,2\n3,2\n', {'target': 'b'}, "'b' is always 2"),
    'missing target': ('a,b\n1,2\n3,\n', {'target': 'b'}, "line 3: no value in column 'b'"),
    'infinite': ('a,b\n1,2\ninf,3\n3,4\n', {'target': 'b'}, "line 3, column 'a': 'inf' is not"),
    'a word among numbers': ('a,b\n1,2\n2,3\nx,4\n', {'target': 'b'}, "line 4, column 'a': 'x'"),
    'no value': ('a,b\n,2\n,3\n', {'target': 'b'}, "column 'a' has no value"),
    'names': (
        'a,b\n' + ''.join(f'name{n},{n}\n' for n in range(99)),
        {'target': 'b'},
        '99 different texts in 99 rows',
    ),
    'nothing asked': ('a,b\n1,2\n', {}, "target='COLUMN'"),
    'no package': (None, {'path': 'nonesuch:a.csv', 'target': 'b'}, 'pip install nonesuch'),
}


@pytest.mark.parametrize('case', BAD)
def test_a_bad_table_is_one_line(case, tmp_path):
    text, fields, words = BAD[case]
    fields = {'path': text and written(tmp_path / 'a.csv', text), 'valid': None, **fields}
    with pytest.raises(UserError) as error:
        sources.Csv(test=None, **fields)
    assert words in str(error.value) and '\n' not in str(error.value)


def test_constant_columns_are_said(tmp_path, capsys):
    path = written(tmp_path / 'a.csv', 'a,c,b\n' + ''.join(f'{n},7,{n}\n' for n in range(9)))
    sources.Csv(path, target='b')
    assert "'c' is always 7: it tells nothing" in capsys.readouterr().err


def test_gaps_without_impute_are_refused():
    gap = {'features': np.float32([[1, 2], [np.nan, 3]])}
    with pytest.raises(UserError, match="example 1 is not finite in column 0; 'impute'"):
        learned(prepare.standardize('features'), gap)


def test_a_network_without_hidden_layers_is_least_squares():
    x = RNG.normal(size=(64, 4)).astype(np.float32)
    y = x @ np.float32([1, -2, 0.5, 3]) + 1
    model = TabularMLP(hidden=())
    variables = model.init(jax.random.key(0), x)
    assert model.apply(variables, x).shape == (64, 1)
    assert set(variables['params']) == {'direct'}
    solved = np.linalg.lstsq(np.c_[x, np.ones(64)], y, rcond=None)[0]
    params = {'direct': {'kernel': solved[:4, None], 'bias': solved[4:]}}
    assert np.allclose(model.apply({'params': params}, x)[:, 0], y, atol=1e-4)


def test_every_column_has_embeddings_of_its_own():
    model = TabularMLP(hidden=(8,), categories=4, width=3, frequencies=2)
    x, kinds = np.zeros((3, 2), np.float32), np.int32([[1, 2], [2, 1], [4, 0]])
    variables = model.init(jax.random.key(0), x, kinds)
    assert variables['params']['embedding'].shape == (2, 4, 3)
    out = model.apply(variables, x, kinds)
    assert np.isnan(out[2]).all() and np.isfinite(out[:2]).all()  # 4 is no category of four
    assert not np.allclose(out[0], out[1])


@pytest.mark.parametrize(
    'fields, words',
    [
        ({'task.loss': 'gaussian'}, '--config.model.classes=2'),
        ({'task.target': 'price'}, "wants the field 'price'"),
        ({'prepare': 'standardize("feature")'}, "no field 'feature'"),
    ],
)
def test_a_mistake_is_one_line(fields, words):
    with pytest.raises(UserError) as error:
        nnjax.train(configs.load('diabetes_mlp:smoke', fields))
    assert words in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('loss, outputs', [('gaussian', 2), ('quantile', 5)])
def test_the_report_draws_what_was_predicted(loss, outputs, tmp_path):
    fields = {'task.loss': loss, 'model.classes': str(outputs), 'data.test': '20%'}
    nnjax.train(configs.load('diabetes_mlp:smoke', fields), tmp_path / 'run')
    text = report.write(tmp_path / 'run').read_text()
    for words in ('Predicted and true', 'Calibration', 'Intervals', '90% wanted'):
        assert words in text


def test_predictions_of_a_table_have_the_targets_units(tmp_path):
    from nnjax.training import predict, restore

    path = written(tmp_path / 'a.csv', TABLE)
    c = configs.load('diabetes_mlp:smoke')
    c.unlock()
    c.data = configs.bind(sources.Csv, path=path, target='price')
    c.prepare = 'impute | standardize("features") | target'
    nnjax.train(c, tmp_path / 'run')
    made, state = restore.run(str(tmp_path / 'run'))
    data = made.dataset
    names, arrays = files.read([path], data.train.spec, data.columns, data.categories)
    rows = predict.rows(made, names, predict.predict(made, state, arrays))
    found = np.array([row['prediction'] for row in rows])
    assert found.shape == (40,) and 15 < found.mean() < 30  # prices are 3 to 42


def of_table(tmp_path, text=None, **fields):
    """A smoke test on TABLE, tested on another table."""
    c = configs.load('diabetes_mlp:smoke')
    c.unlock()
    path = written(tmp_path / 'a.csv', TABLE)
    test = written(tmp_path / 'b.csv', text) if text else '10%'
    c.data = configs.bind(sources.Csv, path=path, target='price', valid='4', test=test)
    c.prepare = 'impute | standardize("features") | log | target'
    c.model.update(fields)
    return c


@pytest.mark.parametrize('price', ['0', '-2.5'])
def test_what_has_no_logarithm_is_named_before_training(price, tmp_path):
    bad = f'size,zip,colour,price\n1,2,red,5\n1,2,red,{price}\n'
    with pytest.raises(UserError) as caught:
        setup(of_table(tmp_path, bad))
    said = f"test example 1: 'target' is {price}, which has no logarithm: leave such examples out"
    assert said in str(caught.value) and '\n' not in str(caught.value)
    assert setup(of_table(tmp_path)).dataset.test


def test_a_network_with_room_for_fewer_categories_is_one_line(tmp_path):
    """'blue', 'red' and none of them are three."""
    with pytest.raises(UserError, match=r'has 3 categories .* set --config\.model\.categories=3'):
        setup(of_table(tmp_path, categories=2))
    assert setup(of_table(tmp_path, categories=3))


def test_types_follow_most_of_a_column(tmp_path):
    text = 'a,b,c\n' + ''.join(f'{n},{n}{"x" * (n % 2)},{n}\n' for n in range(9))
    table = tables.examples(tables.find(written(tmp_path / 'a.csv', text)), 'c', ignore=('b',))
    assert table.columns == ('a',) and not table.categories
