"""Autoencoders: bounds against closed forms, corruption by place, shapes, pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

import nnjax
from nnjax import cli, report
from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.models import VAE, Autoencoder, layers
from nnjax.ops import losses
from nnjax.tasks import reconstruction, vae
from nnjax.training import generate, restore

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(6, 8, 8, 1)).astype(np.float32)


def test_the_bound_of_the_true_posterior_is_the_likelihood():
    """x = W z + b + noise, z standard normal, the columns of W orthogonal: all is known."""
    deviation, count = 0.5, 40_000
    columns = np.linalg.qr(RNG.normal(size=(5, 2)))[0] * [1.5, 0.7]
    bias, x = RNG.normal(size=5), RNG.normal(size=5)
    variance = 1 / (1 + np.square(columns).sum(0) / deviation**2)
    model = VAE(shape=(5,), code=2, hidden=())
    to_mean = (columns / deviation**2 * variance).T  # of the posterior of z given x
    encoder = {
        'kernel': np.c_[to_mean.T, np.zeros((5, 2))].astype(np.float32),
        'bias': np.r_[-to_mean @ bias, np.log(variance)].astype(np.float32),
    }
    decoder = {'kernel': columns.T.astype(np.float32), 'bias': bias.astype(np.float32)}
    params = {'encoder': {'Dense_0': encoder}, 'decoder': {'Dense_0': decoder}}
    batch = {'image': np.tile(x, (count, 1)).astype(np.float32), 'mask': np.ones(count, np.float32)}
    task = vae('gaussian', deviation)
    outputs = model.apply(
        {'params': params}, batch['image'], train=True, rngs={'dropout': jax.random.key(0)}
    )
    covariance = columns @ columns.T + deviation**2 * np.eye(5)
    wanted = stats.multivariate_normal(bias, covariance).logpdf(x)
    found = np.asarray(task.metrics(outputs, batch)['elbo'][0], np.float64)
    assert found.mean() == pytest.approx(wanted, abs=4 * found.std() / count**0.5)
    assert found.std() / count**0.5 < 0.01
    # In evaluation four draws, by the example's own numbers: of many examples, without an error.
    many = RNG.multivariate_normal(bias, covariance, count).astype(np.float32)
    outputs_of_four = model.apply({'params': params}, many)
    four = np.asarray(outputs_of_four['reconstruction'])
    middle = model.apply({'params': params}, outputs_of_four['code'], method='decode')
    assert four.shape[1] == 4
    assert np.allclose(four[:, :2] + four[:, 2:], 2 * np.asarray(middle)[:, None], atol=1e-4)
    bound = np.asarray(task.metrics(outputs_of_four, {**batch, 'image': many})['elbo'][0])
    error = bound - stats.multivariate_normal(bias, covariance).logpdf(many)
    assert 0 < error.std() / count**0.5 < 0.01
    assert error.mean() == pytest.approx(0, abs=4 * error.std() / count**0.5)
    # The loss is its negative; any other posterior has a lower bound.
    assert np.allclose(task.loss(outputs, batch)[0], -found, rtol=1e-5, atol=1e-4)
    encoder['bias'][0] += 0.5
    worse = model.apply(
        {'params': params}, batch['image'], train=True, rngs={'dropout': jax.random.key(0)}
    )
    gap = 0.5 * 0.5**2 / variance[0]
    assert task.metrics(worse, batch)['elbo'][0].mean() == pytest.approx(wanted - gap, abs=0.02)


def test_divergence_equals_pytorch(torch):
    mean, log_variance = RNG.normal(size=(2, 7)).astype(np.float32)
    normal = torch.distributions.Normal
    there = normal(torch.tensor(mean), torch.tensor(log_variance).mul(0.5).exp())
    wanted = torch.distributions.kl_divergence(there, normal(0.0, 1.0)).numpy()
    assert np.allclose(losses.normal_kl(mean, log_variance), wanted, rtol=1e-5, atol=1e-6)


def test_beta_and_free_bits_change_the_loss_alone():
    """Free bits by the objective of Kingma et al., 2016: of each number the mean over the minibatch,
    or lambda where that is more; a padded row has no part in it."""
    code = np.float32([[0.1, 2], [-2, 1], [0.3, -3], [0.2, 2], [0.1, -1], [9, 9]])
    outputs = {
        'reconstruction': jnp.asarray(RNG.normal(size=(6, 3, 8, 8, 1)), jnp.float32),
        'code': jnp.asarray(code),
        'log_variance': jnp.zeros((6, 2), jnp.float32),
    }
    batch = {'image': jnp.asarray(IMAGES), 'mask': np.float32([1, 1, 1, 1, 1, 0])}
    divergence = 0.5 * np.square(code)
    plain, found = vae(), vae(beta=3.0, free_bits=0.6)
    elbo = plain.metrics(outputs, batch)['elbo'][0]
    assert np.allclose(elbo, found.metrics(outputs, batch)['elbo'][0])
    assert np.allclose(plain.loss(outputs, batch)[0], -elbo, rtol=1e-5)
    missing = (-elbo - divergence.sum(1))[:5].mean()
    mean = divergence[:5].mean(0)  # 0.415, one row of five above 0.6, and 1.9
    assert mean[0] < 0.6 < mean[1] and divergence[:5].max(0)[0] > 0.6 > divergence[:5].min(0)[1]
    wanted = float(missing + 3 * np.maximum(mean, 0.6).sum())
    total = lambda code: jnp.mean(found.loss({**outputs, 'code': code}, batch)[0][:5])
    assert total(outputs['code']) == pytest.approx(wanted, rel=1e-5)
    slope = jax.grad(total)(outputs['code'])
    assert np.allclose(slope[:5], np.c_[np.zeros(5), 3 * code[:5, 1] / 5], atol=1e-6)


def test_free_bits_are_those_of_all_devices():
    """Four rows on each of two devices, the last a padded one, are the eight rows of one."""
    task = vae(free_bits=0.6)
    code = RNG.normal(size=(8, 2)).astype(np.float32)
    code[:4] *= 0.1  # nothing to pay for on the first device alone
    outputs = {
        'reconstruction': RNG.normal(size=(8, 1, 4)).astype(np.float32),
        'code': code,
        'log_variance': np.zeros((8, 2), np.float32),
    }
    batch = {'image': np.ones((8, 4), np.float32), 'mask': np.float32([1] * 7 + [0])}

    def loss(*given):
        with layers.shard(axis='devices'):
            return task.loss(*given)[0]

    parts = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), (outputs, batch))
    found = jax.vmap(loss, axis_name='devices')(*parts).reshape(8)
    assert np.allclose(found, task.loss(outputs, batch)[0], rtol=1e-6)


def test_evaluation_is_a_function_of_the_example():
    model = VAE(shape=(8, 8, 1), code=3, hidden=(16,))
    variables = model.init(jax.random.key(0), IMAGES)
    whole, one = model.apply(variables, IMAGES), model.apply(variables, IMAGES[2:3])
    assert whole['reconstruction'].shape == (6, 4, 8, 8, 1)
    for name, array in one.items():
        assert np.allclose(whole[name][2:3], array, atol=1e-5)
    assert np.allclose(model.apply(variables, IMAGES, method='encode'), whole['code'], atol=1e-6)


@pytest.mark.parametrize('fields', [{'noise': 0.5}, {'mask': 0.5, 'patch': 2}, {'kind': VAE}])
def test_chance_follows_the_place_in_the_global_batch(fields):
    fields = dict(fields)
    model = fields.pop('kind', Autoencoder)(shape=(8, 8, 1), code=3, hidden=(16,), **fields)
    variables = model.init(jax.random.key(0), IMAGES)

    def outputs(images, first):
        with layers.shard(offset=first):
            return model.apply(variables, images, train=True, rngs={'dropout': jax.random.key(1)})

    whole, part = outputs(IMAGES, 0), outputs(IMAGES[4:], 4)
    for name, array in part.items():
        assert np.allclose(whole[name][4:], array, atol=1e-6)
    changed = 'reconstruction'
    assert not np.allclose(outputs(IMAGES[4:], 0)[changed], part[changed], atol=1e-3)


def test_masks_take_whole_patches_and_nothing_in_evaluation():
    model = Autoencoder(shape=(9, 6, 1), code=2, hidden=(4,), mask=0.25, patch=3)
    images = np.ones((500, 9, 6, 1), np.float32)
    variables = model.init(jax.random.key(0), images[:1])
    outputs = model.apply(variables, images, train=True, rngs={'dropout': jax.random.key(0)})
    seen = np.asarray(outputs['seen']).reshape(500, 3, 3, 2, 3)
    assert np.array_equal(seen.min((2, 4)), seen.max((2, 4)))
    assert seen.mean() == pytest.approx(0.75, abs=0.03)
    assert 'seen' not in model.apply(variables, images[:2])


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(7, 9, 3), (8, 8, 1), (28, 28, 1)])
def test_convolutions_come_back_to_any_size(shape):
    model = Autoencoder(shape=shape, code=4, hidden=(8,), channels=(4, 6))
    images = np.zeros((2, *shape), np.float32)
    outputs, variables = model.init_with_output(jax.random.key(0), images)
    assert outputs['reconstruction'].shape == images.shape and outputs['code'].shape == (2, 4)
    assert model.apply(variables, outputs['code'], method='decode').shape == images.shape


def test_the_task_reconstructs_what_was_whole():
    """With binary the metric is of probabilities; the corrupted input plays no part."""
    given = RNG.normal(size=(6, 8, 8, 1)).astype(np.float32)
    outputs = {'reconstruction': jnp.asarray(given), 'code': jnp.zeros((6, 2))}
    batch = {'image': jnp.asarray(IMAGES)}
    value = reconstruction('mse').loss(outputs, batch)[0]
    assert np.allclose(value, np.square(given - IMAGES).mean((1, 2, 3)), rtol=1e-5)
    found = reconstruction('binary').metrics(outputs, batch)['mse'][0]
    wanted = np.square(1 / (1 + np.exp(-given)) - IMAGES).mean((1, 2, 3))
    assert np.allclose(found, wanted, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, titles',
    [
        ('digits_autoencoder', ('Reconstructions', 'Restored', 'Walks', 'Map')),
        ('digits_vae', ('Reconstructions', 'Samples', 'Walks', 'Map')),
    ],
)
def test_the_report_has_pictures(name, titles, tmp_path):
    nnjax.train(configs.load(f'{name}:smoke'), tmp_path / 'run')
    text = report.write(tmp_path / 'run').read_text()
    assert all(f'<h3>{title}</h3>' in text for title in titles)


def test_a_run_draws_examples(tmp_path):
    """Number i is a function of (seed, i), whatever else is drawn, and in [0, 1]."""
    nnjax.train(configs.load('digits_vae:smoke'), tmp_path / 'run')
    made, state = restore.run(tmp_path / 'run', data=False)
    five, two = (generate.examples(made, state, count, seed=3) for count in (5, 2))
    assert five.shape == (5, 8, 8, 1) and five.min() >= 0 and five.max() <= 1
    np.testing.assert_allclose(five[:2], two, atol=1e-6)
    assert np.abs(five[0] - five[1]).max() > 1e-3
    assert np.abs(generate.examples(made, state, 2, seed=4) - two).max() > 1e-3
    command = ['generate', f'--workdir={tmp_path / "run"}', '--samples=5', '--seed=3']
    assert cli.run([*command, f'--output={tmp_path / "drawn.npy"}']) == 0
    np.testing.assert_allclose(np.load(tmp_path / 'drawn.npy'), five, atol=1e-6)
    assert cli.run([*command, f'--output={tmp_path / "drawn.png"}']) == 0
    with Image.open(tmp_path / 'drawn.png') as sheet:
        assert sheet.width > 5 * 100
    for wrong, words in (
        ([], '--output=samples.png'),
        (['--prompt=seven', '--output=drawn.png'], "--prompt='seven': this run draws examples"),
        (['--seed=5000000000', '--output=drawn.png'], 'expected 4294967295 at most'),
        (['--output=drawn.gif'], 'must end in .png, .npy'),
        (['--output=nowhere/drawn.png'], 'there is no folder nowhere'),
    ):
        with pytest.raises(UserError, match=words):
            cli.run([*command, *wrong])


def test_another_shape_is_one_line():
    with pytest.raises(UserError, match=r'--config.model.shape="\(8, 8, 1\)"'):
        nnjax.train(configs.load('digits_vae:smoke', {'model.shape': '(28, 28, 1)'}))


def test_the_bound_draws_for_each_example_alone():
    """Noise by an example's own numbers: a mean over many examples loses its error, and an example
    has the same bound in any batch."""
    model = VAE(shape=(8, 8, 1), code=3, hidden=(16,))
    images = jax.random.uniform(jax.random.key(1), (64, 8, 8, 1))
    variables = model.init(jax.random.key(0), images)
    found = model.apply(variables, images)
    alone = model.apply(variables, images[5:6])
    np.testing.assert_allclose(alone['reconstruction'][0], found['reconstruction'][5], atol=1e-5)

    decode = lambda codes: model.apply(variables, codes, method=VAE.decode)
    flat = decode(found['code'])
    drawn = found['reconstruction'][:, 0] - flat  # what the noise did to each example
    drawn = drawn.reshape(64, -1)
    alike = np.corrcoef(drawn)[np.triu_indices(64, 1)]
    assert alike.mean() < 0.5  # of noise that all share it is nearly 1
