"""Verification: losses over pairs against plain loops, error rates against scikit-learn, splits by
identity, the pairs of all devices, and two pictures compared by command."""

import csv
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

import nnjax
from nnjax import models, tasks
from nnjax.analysis import matching
from nnjax.cli import main, run
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.data.order import Grouped
from nnjax.errors import UserError
from nnjax.ops import pairs
from nnjax.report import page
from nnjax.training import optim, predict, restore
from nnjax.training.setup import setup
from tests.test_train import difference

LABELS = np.array([0, 0, 1, 2, 1, 0, 3, 2], np.int32)


def embeddings(seed=0, count=8, size=3) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def compared(x, labels, real=None):
    real = np.ones(len(x), bool) if real is None else real
    return jnp.array(x @ x.T), *pairs.same_and_other(labels, labels, jnp.arange(len(x)), real)


@pytest.mark.parametrize('seed', range(3))
def test_triplets_are_semi_hard(seed):
    x, margin = embeddings(seed), 0.4
    values, weights = jax.jit(pairs.semi_hard)(*compared(x, LABELS), margin)
    distance = np.square(x[:, None] - x[None]).sum(-1)
    for a in range(8):
        others = distance[a, LABELS[a] != LABELS]
        for p in range(8):
            if p == a or LABELS[p] != LABELS[a]:
                assert weights[a, p] == 0
                continue
            farther = others[others > distance[a, p]]
            negative = farther.min() if len(farther) else others.max()
            wanted = max(0, margin + distance[a, p] - negative)
            assert weights[a, p] == 1
            assert values[a, p] == pytest.approx(wanted, abs=1e-5)


def test_contrastive_loss_by_its_definition(torch):
    x, scale = embeddings(), 5.0
    values, weights = jax.jit(pairs.contrastive)(*compared(x, LABELS), scale)
    logits = scale * torch.tensor(x @ x.T)
    for a in range(8):
        rest = [n for n in range(8) if n != a]
        logs = torch.log_softmax(logits[a, rest], 0)
        positive = [logs[rest.index(n)] for n in rest if LABELS[n] == LABELS[a]]
        assert bool(weights[a]) == bool(positive)
        if positive:
            assert values[a] == pytest.approx(-torch.stack(positive).mean().item(), rel=1e-5)
    slope = jax.grad(
        lambda x: pairs.contrastive(x, *compared(embeddings(), LABELS)[1:], scale)[0].sum()
    )
    assert np.isfinite(slope(jnp.array(x @ x.T))).all()


def test_ranking_is_the_area_under_each_rows_curve():
    x = embeddings(4)
    values, weights = pairs.ranking(*compared(x, LABELS))
    for a in range(8):
        rest = np.array([n for n in range(8) if n != a])
        truth = LABELS[rest] == LABELS[a]
        assert bool(weights[a]) == truth.any()
        if truth.any():
            assert values[a] == pytest.approx(roc_auc_score(truth, (x @ x.T)[a, rest]))


@pytest.mark.parametrize('loss', ['triplet', 'contrastive'])
def test_padded_rows_are_in_no_pair(loss):
    task = tasks.verification(loss=loss)
    x = embeddings()
    dirty = np.concatenate([x, np.full((2, 3), np.nan, np.float32)])
    labels = np.concatenate([LABELS, [0, 1]]).astype(np.int32)
    mask = np.array([1] * 8 + [0] * 2, np.float32)
    for function in (task.loss, lambda *a: task.metrics(*a)['ranking']):
        clean = function({'embedding': x}, {'label': LABELS, 'mask': mask[:8]})
        padded = function({'embedding': dirty}, {'label': labels, 'mask': mask})
        for a, b in zip(clean, padded):
            inner = tuple(slice(n) for n in a.shape)
            assert np.asarray(b)[inner] == pytest.approx(np.asarray(a), abs=1e-6)
        assert padded[1][:8].sum() == clean[1].sum()


def test_margins_make_the_right_class_harder(torch):
    cosine = np.array([[0.3, -0.5], [-0.99, 0.2], [0.9, 0.8]], np.float32)
    target = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    arc = pairs.margin_logits(cosine, target, 0.5, 0.0)
    theta = torch.arccos(torch.tensor(cosine))
    assert arc[0, 0] == pytest.approx(torch.cos(theta[0, 0] + 0.5).item(), abs=1e-6)
    assert arc[2, 1] == pytest.approx(torch.cos(theta[2, 1] + 0.5).item(), abs=1e-6)
    assert arc[1, 0] < -0.99  # beyond pi it falls on
    assert (arc == np.where(target > 0, arc, cosine)).all()
    cos = pairs.margin_logits(cosine, target, 0.0, 0.35)
    assert cos == pytest.approx(cosine - 0.35 * target, abs=1e-6)
    line = pairs.margin_logits(jnp.linspace(-1, 1, 99)[:, None], jnp.ones((99, 1)), 0.5, 0.0)
    assert (jnp.diff(line[:, 0]) > 0).all()


def test_an_unknown_identity_makes_the_loss_nan():
    task = tasks.verification()
    outputs = {'embedding': embeddings(), 'cosine': jnp.zeros((8, 3))}
    values, _ = task.loss(outputs, {'label': LABELS, 'mask': jnp.ones(8)})
    assert np.isnan(values).tolist() == (LABELS == 3).tolist()


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_error_rates_are_those_of_scikit_learn(seed, digits):
    rng = np.random.default_rng(seed)
    same = np.round(rng.normal(1, 1, rng.integers(2, 60)), digits)
    different = np.round(rng.normal(0, 1, rng.integers(2, 60)), digits)
    truth = np.r_[np.ones(len(same)), np.zeros(len(different))]
    far, tar, _ = roc_curve(truth, np.r_[same, different], drop_intermediate=False)
    for rate in (0.01, 0.1, 0.5):
        assert pairs.accepted(same, different, rate) == pytest.approx(tar[far <= rate].max())
    error, threshold = pairs.equal_error(same, different)
    # Both rates cross between two points of the curve.
    after = np.argmax(far >= 1 - tar)
    assert min(far[after - 1], 1 - tar[after]) - 1e-9 <= error
    assert error <= max(far[after], 1 - tar[after - 1]) + 1e-9
    assert min(same.min(), different.min()) <= threshold <= max(same.max(), different.max()) + 1e-9


def test_the_threshold_is_the_middle_of_where_both_errors_are_equal():
    found = pairs.equal_error(np.array([0.8, 0.9]), np.array([0.1, 0.4]))
    assert found == (0, pytest.approx(0.6))  # far from the lowest score of one identity
    # At any score above 0.5 and up to 0.7, one of three is wrong on both sides.
    same, different = np.array([0.3, 0.7, 0.9]), np.array([0.1, 0.5, 0.8])
    error, threshold = pairs.equal_error(same, different)
    assert (error, threshold) == (pytest.approx(1 / 3), pytest.approx(0.6))


def test_perfect_scores():
    labels = np.repeat(np.arange(3), 4)
    found = tasks.verification().score({'embedding': np.eye(3)[labels]}, {'label': labels})
    assert found == {'eer': 0, 'auc': 1, 'tar_at_far_1e-2': 1, 'tar_at_far_1e-3': 1}
    with pytest.raises(UserError, match='4 examples of 1 identities make 6 pairs of one and 0'):
        tasks.verification().score({'embedding': np.eye(4)}, {'label': np.zeros(4)})


def test_who_is_in_test_is_not_in_train():
    label = np.repeat(np.arange(10) * 7, 4)
    every = {'image': np.zeros((40, 2, 2, 1), np.uint8), 'label': label}
    plain = sources.Arrays(every, valid=None)
    found = sources.Identities(plain, valid='2', test='30%')
    splits = [
        source[np.arange(len(source))]['label'] for source in (found.train, found.valid, found.test)
    ]
    assert [len(s) for s in splits] == [20, 8, 12]
    assert [sorted(set(s.tolist())) for s in splits] == [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9]]
    again = sources.Identities(plain, valid=None, test='30%')
    assert again.test.fingerprint == found.test.fingerprint and again.valid is None
    assert found.labels == tuple(str(n) for n in sorted(map(int, found.labels)))
    named = {**every, 'label': np.array([f'person {n}' for n in label])}
    with_names = sources.Identities(sources.Arrays(named, valid=None), valid=None, test='30%')
    assert with_names.labels[0].startswith('person ')


@pytest.mark.parametrize(
    'labels, fields, said',
    [
        (
            np.zeros(4),
            {'valid': None, 'test': None},
            'the train split would have 1 of 1 identities',
        ),
        (np.arange(8), {'valid': '1'}, 'the valid split would have 1 of 8'),
        (np.arange(8), {'test': '7', 'valid': None}, 'the train split would have 1 of 8'),
        (np.arange(8), {'test': 'last'}, r"data.test='last': expected identities such as '10%'"),
        (np.arange(8), {'label': 'who'}, "no label 'who' of one identity"),
    ],
)
def test_identities_that_cannot_be_split(labels, fields, said):
    data = {'image': np.zeros((len(labels), 2, 2, 1), np.uint8), 'label': labels.astype(np.int32)}
    with pytest.raises(UserError, match=said):
        sources.Identities(sources.Arrays(data, valid=None), **fields)


def test_groups_of_a_class_stand_side_by_side():
    classes = np.random.default_rng(0).integers(0, 5, 67)
    order = Grouped(classes, 4, 8)
    size = sum(n // 4 * 4 for n in np.bincount(classes))
    assert order.epoch == size / 8
    steps = -(-3 * size // 8)
    found = order(3, np.arange(steps))['index'].reshape(-1)
    assert (np.ptp(classes[found].reshape(-1, 4), 1) == 0).all()
    epochs = found[: 3 * size].reshape(3, -1)
    assert all(len(set(epoch.tolist())) == size for epoch in epochs)
    assert set(found.tolist()) == set(range(67))  # other rows are left over in each epoch
    assert (order(3, np.array([5]))['index'][0] == found.reshape(-1, 8)[5]).all()
    assert not (order(4, np.arange(4))['index'] == found[:32].reshape(4, 8)).all()


def experiment(**fields):
    """Sixteen identities, each a pattern, of which test and validation have others than train."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (16, 8, 8, 1))
    label = np.repeat(np.arange(16), 8)
    image = (patterns[label] + rng.integers(0, 50, (128, 8, 8, 1))).astype(np.uint8)
    c = base()
    c.total, c.batch, c.group, c.eval_every, c.log_every = '2 steps', 32, 4, '2 steps', '1 steps'
    data = bind(sources.Arrays, train={'image': image, 'label': label}, valid=None)
    c.data = bind(sources.Identities, data=data, valid='3', test='4')
    c.prepare = 'scale'
    c.model = bind(models.Embedder, backbone=bind(models.MLP, hidden=(16,), classes=8))
    c.task = bind(tasks.verification, **fields)
    c.optim = bind(optim.make, name='sgd', lr=0.1)
    c.best = 'max ranking'
    return c


@pytest.mark.slow
@pytest.mark.parametrize('loss', ['triplet', 'contrastive'])
def test_pairs_are_those_of_all_devices(loss):
    """A batch over four devices, one padded row among them, is the batch on one."""
    c = experiment(loss=loss, margin=1.0)
    c.batch = 31
    c.parallel = 'jit'
    one = nnjax.train(c)
    c.parallel, c.devices = 'pmap', 4
    four = nnjax.train(c)
    assert difference(one.state.params, four.state.params) < 1e-6
    for x, y in zip(one.records, four.records, strict=True):
        assert x['loss'] == pytest.approx(y['loss'], rel=1e-5)
        assert x['ranking'] == pytest.approx(y['ranking'], rel=1e-5)


def test_group_needs_a_class():
    c = experiment(label='name')
    with pytest.raises(UserError, match='group=4 takes one class for each example'):
        nnjax.train(c)
    c = experiment()
    c.group = 9
    with pytest.raises(UserError, match='no class has so many training examples'):
        nnjax.train(c)


@pytest.mark.parametrize('loss', ['arcface', 'cosface'])
def test_a_loss_of_directions_without_them_is_one_line(loss):
    with pytest.raises(UserError, match=r'set --config\.model\.classes=N') as caught:
        setup(experiment(loss=loss))
    assert '\n' not in str(caught.value)
    c = experiment(loss=loss)
    c.model.classes = 9
    assert setup(c).train_sums.keys() == {'loss', 'ranking', 'lr', 'grad_norm'}


@pytest.mark.slow
def test_a_pair_and_a_gallery_by_command(tmp_path, capsys):
    c = experiment(loss='contrastive')
    split = c.data.data.train
    np.savez(tmp_path / 'all.npz', image=split['image'], label=split['label'])
    c.data = bind(
        sources.Identities,
        data=bind(sources.Npz, path=str(tmp_path / 'all.npz'), valid=None),
        valid='3',
        test='4',
    )
    c.total = '40 steps'
    result = nnjax.train(c, tmp_path / 'run')
    assert result.metrics['eer'] < 0.2
    shown = page.write(tmp_path / 'run').read_text()
    assert 'ROC' in shown and 'DET' in shown and 'test eer' in shown

    for n in (0, 1, 16, 24):
        (tmp_path / 'gallery').mkdir(exist_ok=True)
        Image.fromarray(split['image'][n, ..., 0]).save(tmp_path / 'gallery' / f'{n}.png')
    files = [str(tmp_path / 'gallery' / f'{n}.png') for n in (0, 1, 16)]
    (tmp_path / 'all.npz').unlink()  # the run folder is enough

    def rows(*arguments):
        with pytest.raises(SystemExit) as done:
            main(['predict', f'--workdir={tmp_path / "run"}', *arguments])
        said = capsys.readouterr()
        assert done.value.code == 0, said.err
        return list(csv.DictReader(said.out.splitlines()))

    (one,) = rows('--pair', *files[:2])
    (two,) = rows('--pair', files[0], files[2])
    assert (one['same'], two['same']) == ('True', 'False')
    assert float(one['score']) > float(one['threshold']) > float(two['score'])
    nearest = rows(f'--gallery={tmp_path / "gallery"}', files[0])
    assert [row['other'] for row in nearest][:2] == files[:2]
    assert [row['rank'] for row in nearest] == ['1', '2', '3', '4']

    def refused(*arguments):
        with pytest.raises(SystemExit) as done:
            main(['predict', f'--workdir={tmp_path / "run"}', *arguments])
        assert done.value.code == 2
        return capsys.readouterr().err

    assert '--pair compares two files, not 1' in refused('--pair', files[0])
    (tmp_path / 'run' / 'decided.json').unlink()
    said = refused('--pair', *files[:2])
    assert 'has no threshold: it is decided when nnjax train ends' in said
    assert 'choose one' in refused('--pair', '--gallery=x', files[0], files[1])


def test_a_gallery_of_sounds_by_command(tmp_path, monkeypatch):
    soundfile = pytest.importorskip('soundfile')
    for name, x in {'a': [0.5, 0.25], 'b': [-0.5, 0.5]}.items():
        soundfile.write(tmp_path / f'{name}.wav', np.array(x), 8000)
    train = sources.Arrays({'audio': np.zeros((2, 4), np.int16)}, valid=None).train
    dataset, augment = types.SimpleNamespace(train=train), 'log_mel(rate=8000)'
    made = types.SimpleNamespace(dataset=dataset, config=types.SimpleNamespace(augment=augment))
    monkeypatch.setattr(restore, 'run', lambda *given, **options: (made, None))
    monkeypatch.setattr(predict, 'predict', lambda _, __, raw: {'embedding': raw['audio'] / 1})
    monkeypatch.setattr(matching, 'threshold', lambda *given: 0.5)
    output = tmp_path / 'out.csv'
    output.write_text('old')
    command = [f'--gallery={tmp_path}', str(tmp_path / 'a.wav'), f'--output={output}']
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('os.replace', interrupted)
        run(['predict', '--workdir=run', *command])
    assert output.read_text() == 'old'  # until the new one is whole
    run(['predict', '--workdir=run', *command])
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row['other'] for row in rows] == [str(tmp_path / f'{name}.wav') for name in 'ab']
    assert [row['same'] for row in rows] == ['True', 'False']


def interrupted(*_):
    raise KeyboardInterrupt


def test_an_example_is_itself_however_its_views_were_averaged():
    """The mean of unit vectors is shorter than 1; scores are cosines all the same."""
    mean = np.array([[0.6, 0.7], [0.6, 0.7]], np.float32)
    (row,) = matching.pair(['a', 'a'], mean, 0.5)
    assert row['score'] == pytest.approx(1, abs=1e-6)
    assert matching.gallery(['a'], mean[:1], ['b'], 0.1 * mean[:1], 0.5)[0]['score'] == row['score']
    same, _ = pairs.scores(mean, np.array([3, 3]))
    assert same == pytest.approx(1, abs=1e-6)


def test_of_many_rows_pairs_of_every_identity_are_scored():
    """Twelve images of each of many people, in order: a stride would meet nobody twice."""
    people = np.repeat(np.arange(1000), 12)
    codes = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    same, different = pairs.scores(codes[people], people)
    assert len(same) + len(different) == 4000 * 3999 // 2
    assert len(same) == pytest.approx(
        1000 * 66 / 9, rel=0.1
    )  # a third of the rows, a ninth of pairs
    assert same == pytest.approx(1, abs=1e-5)


def test_groups_of_sounds_of_any_length_stand_side_by_side():
    """Also where rows are sequences; rows of several lengths cannot be."""
    rows = {
        'text': np.ones((64, 8), np.int32),
        'text_length': np.full(64, 5, np.int32),
        'label': (np.arange(64) % 8).astype(np.int32),
    }
    data = bind(sources.Arrays, train=rows, valid=None)
    c = base()
    c.data, c.batch, c.group, c.total = data, 16, 4, '1 steps'
    c.model = bind(models.RNN, classes=8, vocabulary=4, hidden=4)
    c.task = bind(tasks.classification, input='text')
    c.optim = bind(optim.make, name='sgd', lr=0.1)
    made = setup(c)
    assert isinstance(made.order, Grouped)
    c.buckets = (8,)
    with pytest.raises(UserError, match='group=4 needs rows of one length'):
        setup(c)
