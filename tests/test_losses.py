"""Losses against PyTorch, values and gradients; laws between them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax.ops import losses

RNG = np.random.default_rng(0)
OUTPUTS = (3 * RNG.normal(size=(12, 5))).astype(np.float32)
SOFT = RNG.dirichlet(np.ones(5), 12).astype(np.float32)
LABELS = RNG.integers(0, 5, 12)
HARD = np.eye(5, dtype=np.float32)[LABELS]


def torch_losses():
    torch = pytest.importorskip('torch')
    f = torch.nn.functional
    each = {'reduction': 'none'}

    def focal(o, t):
        log = f.log_softmax(o, -1)
        return -(t * (1 - log.exp()) ** 2 * log).sum(-1)

    return torch, {
        'cross_entropy': (SOFT, lambda o, t: f.cross_entropy(o, t, **each)),
        'binary': (SOFT, lambda o, t: f.binary_cross_entropy_with_logits(o, t, **each).mean(-1)),
        'mse': (SOFT, lambda o, t: f.mse_loss(o, t, **each).mean(-1)),
        'mae': (SOFT, lambda o, t: f.l1_loss(o, t, **each).mean(-1)),
        'huber': (SOFT, lambda o, t: f.huber_loss(o, t, **each).mean(-1)),
        'kl': (SOFT, lambda o, t: f.kl_div(f.log_softmax(o, -1), t, **each).sum(-1)),
        # PyTorch sums over the wrong classes; with two classes that is the largest.
        'hinge': (
            HARD[:, :2] + np.eye(2, dtype=np.float32)[0] * (HARD[:, :2].sum(1) == 0)[:, None],
            lambda o, t: f.multi_margin_loss(o, t.argmax(-1), **each) * 2,
        ),
        'focal': (SOFT, focal),
    }


@pytest.mark.parametrize(
    'name', ['cross_entropy', 'binary', 'mse', 'mae', 'huber', 'kl', 'hinge', 'focal']
)
def test_values_and_gradients_equal_pytorch(name):
    torch, table = torch_losses()
    targets, reference = table[name]
    outputs = OUTPUTS[:, : targets.shape[1]]
    there = torch.tensor(outputs, requires_grad=True)
    values = reference(there, torch.tensor(targets))
    values.sum().backward()
    ours = getattr(losses, name)
    np.testing.assert_allclose(ours(outputs, targets), values.detach(), rtol=1e-5, atol=1e-5)
    grads = jax.grad(lambda o: ours(o, targets).sum())(jnp.asarray(outputs))
    np.testing.assert_allclose(grads, there.grad, rtol=1e-4, atol=1e-5)


def test_hinge_takes_the_best_wrong_class():
    outputs = jnp.array([[2.0, 1.5, -3.0], [0.0, 2.0, 5.0]])
    targets = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    np.testing.assert_allclose(losses.hinge(outputs, targets), [0.5, 4.0])


def test_integer_labels_equal_one_hot_targets():
    np.testing.assert_allclose(
        losses.cross_entropy_with_labels(OUTPUTS, LABELS),
        losses.cross_entropy(OUTPUTS, HARD),
        rtol=1e-6,
    )


@given(st.floats(-1e4, 1e4), st.integers(0, 4))
def test_large_logits_stay_finite(size, place):
    outputs = jnp.zeros(5).at[place].set(size)[None]
    for name in ('cross_entropy', 'binary', 'kl', 'hinge', 'focal'):
        function = getattr(losses, name)
        targets = jnp.asarray(HARD[:1])
        value, grads = jax.value_and_grad(lambda o: function(o, targets).sum())(outputs)  # noqa: B023
        assert np.isfinite(value) and np.all(np.isfinite(grads)), name


def test_laws():
    np.testing.assert_allclose(
        losses.focal(OUTPUTS, SOFT, 0.0), losses.cross_entropy(OUTPUTS, SOFT), rtol=1e-5
    )
    assert np.all(np.asarray(losses.kl(OUTPUTS, SOFT)) >= -1e-6)
    np.testing.assert_allclose(losses.kl(jnp.log(SOFT), SOFT), 0, atol=1e-5)
    np.testing.assert_allclose(
        losses.huber(OUTPUTS, SOFT, 1e6), 0.5 * losses.mse(OUTPUTS, SOFT), rtol=1e-5
    )


def test_bfloat16_outputs_are_computed_in_float32():
    assert losses.cross_entropy(jnp.asarray(OUTPUTS, jnp.bfloat16), SOFT).dtype == jnp.float32
