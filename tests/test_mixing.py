"""Operations on pairs: images and labels in the same shares, however a batch is split."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnjax
from nnjax.cli import data as command
from nnjax.config import bind
from nnjax.data import augment, sources, spec
from nnjax.data.augment import chain
from nnjax.errors import UserError
from nnjax.training import feed, runner
from nnjax.training.setup import setup
from tests.test_train import config, difference

KEY = jax.random.key(0)
LABELS = np.array([0, 1, 2, 2, 4, 3, 1, 0], np.int32)


def batch(dtype='float32'):
    """Eight constant images; image n is n + 1."""
    image = np.broadcast_to(np.arange(1, 9).reshape(8, 1, 1, 1), (8, 6, 5, 2))
    return {'image': jnp.asarray(image, dtype), 'label': jnp.asarray(LABELS)}


@functools.partial(jax.jit, static_argnames=('text', 'classes'))
def _mixed(text, key, rows, first, classes):
    return chain.train(spec.parse(text, augment), key, rows, first, ('label', classes))


def mixed(text, key=KEY, rows=None, first=0, classes=5):
    return _mixed(text, key, rows or batch(), first, classes)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
@pytest.mark.parametrize('text', ['mixup(1.0)', 'cutmix', 'mixup(0.2) | flip | cutmix'])
@given(seed=st.integers(0, 1000))
def test_labels_are_distributions_and_keep_their_mass(text, dtype, seed):
    plain = batch(dtype)
    found = mixed(text, jax.random.key(seed), plain)
    assert found['image'].dtype == dtype and found['image'].shape == plain['image'].shape
    assert found['label'].shape == (8, 5) and found['label'].dtype == jnp.float32
    np.testing.assert_allclose(found['label'].sum(-1), 1, atol=1e-6)
    counts = np.bincount(LABELS, minlength=5)
    np.testing.assert_allclose(found['label'].sum(0), counts, atol=1e-5)
    pairs = np.asarray(found['label']).reshape(4, 2, 5).sum(1)
    np.testing.assert_allclose(pairs, jax.nn.one_hot(LABELS, 5).reshape(4, 2, 5).sum(1), atol=1e-6)


@pytest.mark.parametrize('text', ['mixup(1.0)', 'cutmix'])
def test_images_are_mixed_in_the_labels_shares(text):
    for seed in range(5):
        found = mixed(text, jax.random.key(seed))
        own = np.asarray(found['label'])[np.arange(8), LABELS]
        own[2:4] = np.nan  # two of one class: the label does not tell
        values = np.arange(1, 9.0)
        other = values.reshape(4, 2)[:, ::-1].reshape(-1)
        wanted = own * values + (1 - own) * other
        real = ~np.isnan(own)
        means = np.asarray(found['image']).mean((1, 2, 3))
        np.testing.assert_allclose(means[real], wanted[real], rtol=1e-5)


def test_mixup_is_the_weighted_mean_and_cutmix_a_box():
    found = np.asarray(mixed('mixup(1.0)')['image'])
    assert np.all(np.ptp(found, (1, 2, 3)) < 1e-6)
    for seed in range(10):
        image = np.asarray(mixed('cutmix', jax.random.key(seed))['image'])[0, ..., 0]
        assert set(np.unique(image)) <= {1.0, 2.0}
        rows, columns = (np.flatnonzero((image == 2).any(axis)) for axis in (1, 0))
        if len(rows):
            box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert np.all(box == 2) and np.sum(image == 2) == box.size


@pytest.mark.parametrize('text', ['mixup(0)', 'cutmix(0)', 'mixup(1, 0.0)', 'cutmix(1, 0.0)'])
def test_no_strength_is_no_change(text):
    found = mixed(text)
    np.testing.assert_array_equal(found['image'], batch()['image'])
    np.testing.assert_array_equal(found['label'], jax.nn.one_hot(LABELS, 5))


@pytest.mark.parametrize('text', ['mixup(0.4)', 'cutmix(0.4)'])
def test_shares_are_of_the_beta_distribution(text):
    image = jnp.zeros((2000, 64, 64, 1))
    rows = {'image': image, 'label': jnp.arange(2000) % 2}
    share = np.asarray(mixed(text, rows=rows, classes=2)['label'])[::2, 0]
    wanted = np.random.default_rng(0).beta(0.4, 0.4, 100_000)
    if text == 'mixup(0.4)':
        ranks = np.linspace(0.05, 0.95, 19)
        np.testing.assert_allclose(np.quantile(share, ranks), np.quantile(wanted, ranks), atol=0.06)
    else:  # cut off at the edge: more of the image is its own
        assert wanted.mean() + 0.05 < share.mean() < 0.8


@pytest.mark.slow
@pytest.mark.parametrize('share', [2, 4])
def test_a_batch_in_parts_is_the_batch(share):
    text = 'noise | mixup(1.0) | flip | cutmix'
    whole = mixed(text)
    parts = [
        mixed(text, rows={n: a[i : i + share] for n, a in batch().items()}, first=i)
        for i in range(0, 8, share)
    ]
    for name in whole:
        together = np.concatenate([part[name] for part in parts])
        np.testing.assert_allclose(whole[name], together, atol=1e-6)
    assert difference(mixed(text, jax.random.key(1)), whole) > 0.1


def test_a_label_that_is_no_class_is_not_hidden():
    rows = {**batch(), 'label': jnp.array([0, 7, 1, 1, -1, 1, 1, 1])}
    found = np.asarray(mixed('mixup', rows=rows)['label'])
    assert list(np.isnan(found).any(-1)) == [True, True, False, False, True, True, False, False]


def test_odd_rows_have_no_pairs():
    with pytest.raises(UserError, match='3 rows cannot be mixed in pairs'):
        mixed('mixup', rows={n: a[:3] for n, a in batch().items()})


MIX = 'mixup(1.0) | translate(1) | cutmix(probability=0.5)'
SGD = dict(optim__name='sgd', optim__lr=0.1, optim__warmup='0 steps', model__dropout=0.0)


@pytest.fixture(scope='module')
def alone():
    return nnjax.train(config(augment=MIX, batch=20, total='6 steps', **SGD))


@pytest.mark.slow
@pytest.mark.parametrize('parallel, devices', [('pmap', 8), ('fsdp', 3)])
def test_devices_do_not_change_the_run(alone, parallel, devices):
    """Twenty rows on eight devices are four each, or none: no pair is ever parted."""
    c = config(augment=MIX, batch=20, total='6 steps', parallel=parallel, devices=devices, **SGD)
    other = nnjax.train(c)
    assert difference(alone.state.params, other.state.params) < 1e-5
    plain = nnjax.train(config(augment='', batch=20, total='6 steps', **SGD))
    assert difference(alone.state.params, plain.state.params) > 1e-3


@pytest.mark.slow
def test_accumulation_equals_the_large_batch(alone):
    other = nnjax.train(config(augment=MIX, batch=20, accumulate=5, total='6 steps', **SGD))
    assert difference(alone.state.params, other.state.params) < 1e-5


@pytest.mark.slow
def test_streamed_is_resident(alone, monkeypatch):
    monkeypatch.setattr('nnjax.training.setup.RESIDENT_BYTES', 0)
    other = nnjax.train(config(augment=MIX, batch=20, total='6 steps', **SGD))
    assert difference(alone.state.params, other.state.params) < 1e-5


@pytest.mark.slow
def test_what_is_shown_is_what_is_trained_on():
    made = setup(config(augment=MIX, batch=20))
    whole = feed.augmented(made, 3, 20)
    odd = feed.augmented(made, 3, 7)
    assert difference(odd, {n: a[:7] for n, a in whole.items()}) < 1e-6


def arrays(**fields):
    image = np.random.default_rng(0).integers(0, 17, (40, 8, 8, 1)).astype(np.uint8)
    return bind(sources.Arrays, train={'image': image, **fields})


@pytest.mark.parametrize(
    'fields, words',
    [
        ({'batch': 15}, 'batch=15 must be a multiple of 2, two examples for each of accumulate'),
        ({'batch': 12, 'accumulate': 4}, 'batch=12 must be a multiple of 8'),
        ({'task__label': 'target'}, 'no field of labels among image, label'),
        (
            {'data': arrays(label=np.zeros((40, 3), np.int32))},
            'one class for each example, and their number from the names',
        ),
    ],
)
def test_what_cannot_be_mixed_is_one_line(fields, words):
    with pytest.raises(UserError) as error:
        setup(config(augment=MIX, **fields))
    assert words in str(error.value) and '\n' not in str(error.value)


def test_labels_that_are_distributions_are_mixed_as_they_are():
    label = np.eye(10, dtype=np.float32)[np.arange(40) % 10]
    c = config(augment='mixup(1.0)', batch=8, data=arrays(label=label))
    found = feed.augmented(setup(c), 0, 8)['label']
    assert found.shape == (8, 10) and np.all(found.max(-1) < 1)


def test_captions():
    names = ('shirt', 'bag', 'shoe')
    assert command._caption(np.array([0.7, 0.3, 0.0]), names) == '0.7 shirt 0.3 bag'
    assert command._caption(np.array([0.02, 0.01, 0.97]), names) == '1.0 shoe'
    assert command._caption(np.int64(1), names) == 'bag'
    assert command._caption(np.array([0.25, 0.75]), ()) == '0.8 1 0.2 0'


def test_validation_is_of_plain_examples():
    """The evaluation step never mixes: its program has whole labels."""
    made = setup(config(augment=MIX, batch=20))
    assert runner.start(made)[0].state.step == 0
    plain = setup(config(augment='', batch=20))
    assert made.eval_sums == plain.eval_sums
