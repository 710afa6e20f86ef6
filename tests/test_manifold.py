"""The layout of neighbours, against scikit-learn and by what it must keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import curve_fit
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

from nnjax.ops import manifold

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(300, 5)).astype(np.float32)


def test_nearest_equals_scikit_learn():
    index, apart = manifold.nearest(jnp.asarray(POINTS), 7)
    distances, wanted = NearestNeighbors(n_neighbors=8).fit(POINTS).kneighbors(POINTS)
    assert np.array_equal(index, wanted[:, 1:])  # without the point itself
    np.testing.assert_allclose(apart, distances[:, 1:], rtol=1e-3)


def test_memberships_fall_with_distance_and_sum_to_a_constant():
    """So a point far from all has as many neighbours as one in a crowd."""
    apart = np.sort(RNG.uniform(0.1, 2, (50, 20)), 1) * np.logspace(-3, 3, 50)[:, None]
    found = np.asarray(manifold.memberships(jnp.float32(apart)))
    np.testing.assert_allclose(found.sum(1), np.log2(20), rtol=1e-3)
    assert np.all(found[:, 0] == 1) and np.all(np.diff(found, axis=1) <= 0)


def test_the_curve_is_the_nearest_to_an_exponential():
    far = np.linspace(0, 3, 300)
    curve = lambda d, a, b: 1 / (1 + a * d ** (2 * b))
    a, b = curve_fit(curve, far, np.exp(-far))[0]
    np.testing.assert_allclose((manifold.A, manifold.B), (a, b), atol=1e-3)


@pytest.mark.parametrize('force, sign', [(manifold._pull, 1), (manifold._push, -1)])
def test_forces_are_gradients_of_the_cross_entropy(force, sign):
    """Of -log(likeness) what pulls, of -log(1 - likeness) what pushes, save for its 0.001."""
    likeness = lambda x: 1 / (1 + manifold.A * jnp.sum(jnp.square(x)) ** manifold.B)
    entropy = lambda x: -jnp.log(likeness(x) if sign > 0 else 1 - likeness(x))
    x = jnp.float32([1.0, -2.0, 0.5])
    found = force(jnp.sum(jnp.square(x))) * x
    np.testing.assert_allclose(found, -jax.grad(entropy)(x), rtol=2e-3)


def test_components_equal_scikit_learn_up_to_sign_and_scale():
    found = np.asarray(manifold.components(jnp.asarray(POINTS), 3))
    wanted = PCA(3).fit_transform(POINTS)
    assert np.abs(found).max() == pytest.approx(manifold.SPAN)
    for number in range(3):
        assert abs(np.corrcoef(found[:, number], wanted[:, number])[0, 1]) > 0.999
    assert not np.asarray(manifold.components(jnp.asarray(POINTS), 9))[:, 5:].any()


@pytest.mark.slow
def test_digits_keep_their_neighbours():
    points = load_digits().data[:500].astype(np.float32)
    key = jax.random.key(0)
    found = np.asarray(manifold.layout(key, jnp.asarray(points), 2, 10, 400))
    flat = trustworthiness(points, PCA(2).fit_transform(points), n_neighbors=10)
    assert trustworthiness(points, found, n_neighbors=10) > max(0.95, flat + 0.08)
    again = manifold.layout(key, jnp.asarray(points), 2, 10, 400)
    assert np.array_equal(found, again)
