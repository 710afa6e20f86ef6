"""Networks of sound: shapes, sizes, and that neither padding nor neighbours change a score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnjax import models
from nnjax.errors import UserError

SMALL = dict(channels=4, width=16)
NETWORKS = {
    'separable': models.SeparableCNN(classes=5, channels=(4, 4, 8)),
    'rnn': models.ConvRNN(vocabulary=5, hidden=8, **SMALL),
    'time': models.TimeCNN(vocabulary=5, blocks=2, window=3, **SMALL),
    'conformer': models.Conformer(vocabulary=5, blocks=1, heads=2, window=3, **SMALL),
}


def outputs(model, variables, x, lengths):
    found = jax.jit(model.apply)(variables, x, lengths)
    return (
        found if isinstance(found, dict) else {'logits': found[:, None], 'lengths': lengths * 0 + 1}
    )


@pytest.mark.parametrize('name', NETWORKS)
def test_padding_changes_no_score(name):
    model, rng = NETWORKS[name], np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((3, 40, 8)), jnp.float32)
    lengths = jnp.array([40, 23, 12], jnp.int32)
    variables = model.init(jax.random.key(0), x, lengths)
    found = outputs(model, variables, x, lengths)
    dirty = np.full((3, 56, 8), np.nan, np.float32)
    for row, length in enumerate(lengths.tolist()):
        dirty[row, :length] = x[row, :length]
    padded = outputs(model, variables, jnp.asarray(dirty)[::-1], lengths[::-1])
    assert np.isfinite(padded['logits']).all()
    for row, frames in enumerate(found['lengths'].tolist()):
        np.testing.assert_array_equal(padded['lengths'][::-1][row], frames)
        np.testing.assert_allclose(
            padded['logits'][::-1][row, :frames], found['logits'][row, :frames], atol=1e-5
        )


def test_a_stretch_decides_a_frame():
    """What lies beyond the reach of a frame of TimeCNN does not change it; what lies on it does."""
    model = NETWORKS['time']
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 64, 8)), jnp.float32)
    variables = model.init(jax.random.key(0), x)
    at, reach = 8, model.reach
    moved = jnp.abs(
        jax.jacobian(lambda x: model.apply(variables, x)['logits'][0, at].sum())(x)[0]
    ).max(-1)
    found = np.flatnonzero(moved)
    assert found.min() >= 4 * at - reach and found.max() <= 4 * at + reach
    assert found.max() - found.min() > reach


def test_the_small_network_is_small():
    shapes = jax.eval_shape(models.SeparableCNN().init, jax.random.key(0), jnp.zeros((1, 101, 40)))
    assert 100_000 < sum(x.size for x in jax.tree.leaves(shapes['params'])) < 350_000


def test_samples_are_refused():
    with pytest.raises(UserError, match='log_mel'):
        models.TimeCNN().init(jax.random.key(0), jnp.zeros((1, 8000)))
