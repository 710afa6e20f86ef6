"""Losses against PyTorch in float64 and scikit-learn, values and gradients; laws between them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import hinge_loss

from nnjax.ops import losses

RNG = np.random.default_rng(0)
OUTPUTS = (3 * RNG.normal(size=(12, 5))).astype(np.float32)
SOFT = RNG.dirichlet(np.ones(5), 12).astype(np.float32)
LABELS = RNG.integers(0, 5, 12).astype(np.int32)
HARD = np.eye(5, dtype=np.float32)[LABELS]
CLASSIFICATION = ('cross_entropy', 'binary', 'kl', 'hinge', 'focal')

seeds = st.integers(0, 2**32 - 1)


def example(seed, scale=3.0):
    """Outputs and distributions [6, 4], some classes of probability 0."""
    rng = np.random.default_rng(seed)
    targets = rng.dirichlet(np.ones(4), 6) * (rng.random((6, 4)) < 0.7) + 1e-3 * np.eye(6, 4)
    targets /= targets.sum(1, keepdims=True) + 1e-30
    targets[4:] = np.eye(4)[rng.integers(0, 4, 2)]
    return (scale * rng.normal(size=(6, 4))).astype(np.float32), targets.astype(np.float32)


def pytorch(name, outputs, targets, number):
    """Values and gradient with respect to the outputs, in float64."""
    torch = pytest.importorskip('torch')
    f = torch.nn.functional
    each = {'reduction': 'none'}

    def hinge(o, t):
        right = f.one_hot(t.argmax(-1), o.shape[-1]).bool()
        rival = o.masked_fill(right, -torch.inf).amax(-1)
        return (1 + rival - o[right]).clamp(min=0)

    def focal(o, t):
        cross = torch.stack(
            [f.cross_entropy(o, torch.full(o.shape[:1], c), **each) for c in range(o.shape[1])], -1
        )
        return (t * (1 - torch.exp(-cross)) ** number * cross).sum(-1)

    reference = {
        'cross_entropy': lambda o, t: f.cross_entropy(o, t, **each),
        'binary': lambda o, t: f.binary_cross_entropy_with_logits(o, t, **each).mean(-1),
        'mse': lambda o, t: f.mse_loss(o, t, **each).mean(-1),
        'mae': lambda o, t: f.l1_loss(o, t, **each).mean(-1),
        'huber': lambda o, t: f.huber_loss(o, t, delta=number, **each).mean(-1),
        'kl': lambda o, t: f.kl_div(f.log_softmax(o, -1), t, **each).sum(-1),
        'hinge': hinge,
        'focal': focal,
    }[name]
    there = torch.tensor(outputs, dtype=torch.float64, requires_grad=True)
    values = reference(there, torch.tensor(targets, dtype=torch.float64))
    values.sum().backward()
    return values.detach().numpy(), there.grad.numpy()


@functools.partial(jax.jit, static_argnums=0)
def values_and_gradient(name, outputs, targets, *number):
    values, pull = jax.vjp(lambda o: getattr(losses, name)(o, targets, *number), outputs)
    return values, pull(jnp.ones_like(values))[0]


@pytest.mark.parametrize(
    'name, number',
    [(n, None) for n in ('cross_entropy', 'binary', 'mse', 'mae', 'kl', 'hinge')]
    + [('huber', d) for d in (0.3, 1.0, 4.0)]
    + [('focal', g) for g in (0.0, 0.5, 2.0, 5.0)],
)
@pytest.mark.parametrize('targets', [SOFT, HARD], ids=['soft', 'hard'])
def test_values_and_gradients_equal_pytorch(name, number, targets):
    values, gradient = pytorch(name, OUTPUTS, targets, number)
    traced = () if number is None else (jnp.float32(number),)
    ours = values_and_gradient(name, jnp.asarray(OUTPUTS), targets, *traced)
    np.testing.assert_allclose(ours[0], values, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours[1], gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', CLASSIFICATION)
def test_large_outputs_are_exact(name):
    sizes = np.array([30, -30, 200, -200, 1e4, -1e4, 1e30, -1e30], np.float32)
    outputs = np.zeros((len(sizes), 3), np.float32)
    outputs[:, 1] = sizes
    for right in range(2):
        targets = np.eye(3, dtype=np.float32)[np.full(len(sizes), right)]
        number = 2.0 if name == 'focal' else None
        values, gradient = pytorch(name, outputs, targets, number)
        ours = values_and_gradient(name, jnp.asarray(outputs), targets)
        np.testing.assert_allclose(ours[0], values, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ours[1], gradient, rtol=1e-5, atol=1e-6)


def test_hinge_is_crammer_and_singers():
    assert losses.hinge(OUTPUTS, HARD).mean() == pytest.approx(
        hinge_loss(LABELS, OUTPUTS, labels=np.arange(5)), rel=1e-6
    )


@given(seeds)
def test_integer_labels_equal_one_hot_targets(seed):
    rng = np.random.default_rng(seed)
    outputs, labels = example(seed, 100)[0], rng.integers(0, 4, 6).astype(np.int32)
    fast = losses.cross_entropy_with_labels(outputs, labels)
    slow = losses.cross_entropy(outputs, np.eye(4, dtype=np.float32)[labels])
    np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-5)


def test_integer_labels_gradient_equals_one_hots():
    fast = jax.grad(lambda o: losses.cross_entropy_with_labels(o, LABELS).sum())(OUTPUTS)
    slow = jax.grad(lambda o: losses.cross_entropy(o, HARD).sum())(OUTPUTS)
    np.testing.assert_allclose(fast, slow, rtol=1e-5, atol=1e-6)


@given(seeds, st.floats(0, 6, width=32))
def test_focal_loss_lies_under_cross_entropy(seed, gamma):
    outputs, targets = example(seed)
    focal, entropy = losses.focal(outputs, targets, gamma), losses.cross_entropy(outputs, targets)
    assert np.all(np.asarray(focal) <= np.asarray(entropy) * (1 + 1e-5) + 1e-6)
    if gamma == 0:
        np.testing.assert_allclose(focal, entropy, rtol=1e-6)


@given(seeds)
def test_divergence_is_positive_and_zero_at_the_target(seed):
    outputs, targets = example(seed)
    assert np.all(np.asarray(losses.kl(outputs, targets)) >= -1e-6)
    np.testing.assert_allclose(
        losses.kl(jnp.log(jnp.maximum(targets, 1e-30)), targets), 0, atol=1e-5
    )


@given(seeds, st.floats(0.125, 8, width=32))
def test_huber_lies_under_half_the_square_and_under_the_line(seed, delta):
    outputs, targets = example(seed)
    huber = np.asarray(losses.huber(outputs, targets, delta))
    assert np.all(huber <= 0.5 * np.asarray(losses.mse(outputs, targets)) * (1 + 1e-5))
    assert np.all(huber <= delta * np.asarray(losses.mae(outputs, targets)) * (1 + 1e-5))
    np.testing.assert_allclose(
        losses.huber(outputs, targets, 1e6), 0.5 * losses.mse(outputs, targets), rtol=1e-5
    )


@pytest.mark.parametrize('name', (*CLASSIFICATION, 'mse', 'mae', 'huber'))
def test_any_leading_axes_and_float32_from_bfloat16(name):
    outputs = jnp.asarray(OUTPUTS, jnp.bfloat16)
    flat = getattr(losses, name)(outputs, SOFT)
    deep = getattr(losses, name)(outputs.reshape(3, 4, 5), SOFT.reshape(3, 4, 5))
    assert flat.dtype == deep.dtype == jnp.float32 and deep.shape == (3, 4)
    np.testing.assert_allclose(deep.reshape(12), flat, rtol=1e-6)
    exact = getattr(losses, name)(outputs.astype(jnp.float32), SOFT)
    np.testing.assert_allclose(flat, exact, rtol=1e-6)
