"""Codes by contrast: the loss against PyTorch's cross-entropy, padded rows, what augment must hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax
from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.models import Autoencoder
from nnjax.ops.shard import shard
from nnjax.tasks import contrast

RNG = np.random.default_rng(0)
SEEN, CLEAN = RNG.normal(size=(2, 6, 5)).astype(np.float32)
IMAGES = RNG.uniform(size=(6, 4, 4, 1)).astype(np.float32)
BATCH = {'image': IMAGES + 0.1, 'image_clean': IMAGES, 'mask': np.ones(6, np.float32)}
OUTPUTS = {'code': SEEN, 'clean_code': CLEAN, 'reconstruction': IMAGES + 0.5}


def in_training(function, outputs, batch):
    with shard(train=True):
        return function({n: jnp.asarray(a) for n, a in outputs.items()}, batch)


def test_the_loss_is_the_cross_entropy_of_finding_the_other_view(torch):
    code = torch.nn.functional.normalize(torch.tensor(np.concatenate([SEEN, CLEAN])), dim=1)
    cosines = code @ code.T / 0.3
    cosines.fill_diagonal_(-torch.inf)
    other = torch.arange(12).roll(6)
    each = torch.nn.functional.cross_entropy(cosines, other, reduction='none').numpy()
    values, weights = in_training(contrast(0.3, reconstruction=2.0).loss, OUTPUTS, BATCH)
    assert np.allclose(values, each.reshape(2, 6).mean(0) + 2 * 0.25, atol=1e-5)
    assert (np.asarray(weights) == 1).all()
    found = contrast().metrics(OUTPUTS, BATCH)
    assert np.allclose(found['mse'][0], 0.25)  # to the example as it is


def test_padded_rows_change_nothing():
    real = jnp.arange(6) < 4
    rows = lambda values: {n: a[:4] for n, a in values.items()}
    damaged = {
        n: jnp.where(real.reshape(6, *[1] * (a.ndim - 1)), a, jnp.nan) for n, a in OUTPUTS.items()
    }
    task, padded = contrast(), {**BATCH, 'mask': real.astype(jnp.float32)}
    alone = in_training(task.loss, rows(OUTPUTS), rows(BATCH))[0]
    assert np.allclose(in_training(task.loss, damaged, padded)[0][:4], alone, atol=1e-6)
    loss = lambda code: in_training(task.loss, {**damaged, 'code': code}, padded)[0][:4].sum()
    grad = np.asarray(jax.grad(loss)(damaged['code']))
    assert np.isfinite(grad).all() and grad[:4].any() and not grad[4:].any()


def test_evaluation_reconstructs():
    task = contrast(reconstruction=0.5)
    batch = {'image': IMAGES, 'mask': BATCH['mask']}
    outputs = {n: OUTPUTS[n] for n in ('code', 'reconstruction')}
    assert np.allclose(task.loss(outputs, batch)[0], 0.5 * 0.25)
    assert set(task.metrics(outputs, batch)) == {'mse'}
    model = Autoencoder(shape=(4, 4, 1), code=3, hidden=(8,))
    variables = model.init(jax.random.key(0), IMAGES)
    both = model.apply(variables, *task.inputs(BATCH))
    assert np.allclose(both['clean_code'], model.apply(variables, IMAGES)['code'], atol=1e-6)
    assert not np.allclose(both['clean_code'], both['code'], atol=1e-4)
    found = task.predict(lambda *x: model.apply(variables, *x), batch)
    given = model.apply(variables, IMAGES)
    error = np.square(given['reconstruction'] - IMAGES).mean((1, 2, 3))
    assert np.allclose(found['error'], error, atol=1e-6)
    assert np.array_equal(found['code'], given['code'])


def test_training_tells_examples_apart_and_wants_keep():
    fields = {'total': '300 steps', 'log_every': '50 steps', 'batch': '128'}
    config = configs.load('digits_autoencoder', fields)
    config.model = configs.bind(Autoencoder, shape=(8, 8, 1), code=16, hidden=(64,))
    config.task = configs.bind(contrast)
    config.augment = 'keep | translate(1) | noise(0.1)'
    loss = [r['loss'] for r in nnjax.train(config).records if r['split'] == 'train']
    assert loss[0] < np.log(255) and loss[-1] < loss[0] - 0.1  # by chance it finds one of 255
    config.augment = 'translate(1)'
    with pytest.raises(UserError, match="begin augment with 'keep"):
        nnjax.train(config)
