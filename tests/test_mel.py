"""The power of sound in bands: right against float64, by a kernel that is at home in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nnjax.data import augment, spec
from nnjax.ops import audio
from nnjax.ops.native import library
from tests.test_native import needs_kernels, normal


def exact(x, filters, fft, window, hop):
    """The same in float64, frame by frame."""
    x, shape = np.asarray(x, np.float64), np.hanning(window + 1)[:-1]
    before = fft // 2 - (fft - window) // 2
    wide = np.pad(x, ((0, 0), (before, window)))
    starts = range(0, x.shape[1] + 1, hop)
    frames = np.stack([wide[:, n : n + window] * shape for n in starts], 1)
    return np.abs(np.fft.rfft(frames, fft)) ** 2 @ np.asarray(filters, np.float64)


def assert_near(actual, expected):
    """Error relative to each frame's largest band."""
    assert actual.shape == expected.shape and actual.dtype == np.float32
    largest = np.maximum(expected.max(-1, keepdims=True), 1e-30)
    assert np.max(np.abs(actual - expected) / largest, initial=0) < 2e-6


def lowered(x, filters, *sizes):
    return jax.jit(lambda x: audio.band_power(x, filters, *sizes)).lower(x).as_text()


@needs_kernels
@pytest.mark.parametrize(
    'shape, fft, window, hop',
    [
        ((3, 1000), 512, 400, 160),
        ((2, 999), 400, 400, 133),  # neither divides
        ((1, 700), 256, 199, 300),  # gaps between frames
        ((2, 320), 480, 256, 64),  # factors 2, 3, 4 and 5
        ((5, 40), 512, 400, 200),  # shorter than a window
        ((17, 1), 90, 80, 7),  # one sample; half the length is odd
        ((2, 90), 50, 1, 9),
        ((2, 21), 6, 5, 1),
        ((2, 10), 2, 2, 3),
    ],
)
def test_every_bin_is_exact(shape, fft, window, hop):
    x, every = normal(0, shape) * 3, jnp.eye(1 + fft // 2)
    assert 'nnjax_MelBands' in lowered(x, every, fft, window, hop)
    actual = audio.band_power(x, every, fft, window, hop)
    assert_near(actual, exact(x, every, fft, window, hop))


@pytest.mark.parametrize('fft', [448, 125])
def test_a_length_with_other_factors_is_the_stocks(fft):
    x, every = normal(0, (2, 500)), jnp.eye(1 + fft // 2)
    assert 'nnjax_MelBands' not in lowered(x, every, fft, 100, 50)
    actual = audio.band_power(x, every, fft, 100, 50)
    assert_near(actual, exact(x, every, fft, 100, 50))


def test_any_filters():
    """Gaps inside a filter, filters that are empty or cover everything, negative weights."""
    filters = np.random.default_rng(1).standard_normal((257, 7)).astype(np.float32)
    filters[:, 1] = 0
    filters[50:60, 2] = filters[:250, 3] = filters[1:, 4] = 0
    x = normal(0, (2, 3, 800))
    actual = audio.band_power(x, jnp.asarray(filters), 512, 400, 160)
    assert actual.shape == (2, 3, 6, 7)
    expected = exact(x.reshape(6, -1), filters, 512, 400, 160)
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(actual.reshape(6, 6, 7), expected, atol=2e-6 * scale)
    assert not actual[..., 1].any()


@pytest.mark.parametrize('shape', [(0, 100), (2, 0), (0,), (2, 0, 100)])
def test_nothing_has_its_shape(shape):
    actual = audio.band_power(jnp.zeros(shape), jnp.ones((33, 5)), 64, 50, 25)
    assert actual.shape == (*shape[:-1], 1 + shape[-1] // 25, 5)
    assert not actual.any()


def test_gradients_are_those_of_a_quadratic():
    """The power is quadratic in the sound: a difference over any distance is its slope exactly."""
    x, t, filters = normal(0, (2, 300)), normal(1, (2, 300)), normal(2, (65, 4))
    sizes, weights = (128, 100, 40), normal(3, (2, 8, 4))
    run = lambda x: jnp.sum(audio.band_power(x, filters, *sizes) * weights)
    value = lambda x: np.sum(exact(x, filters, *sizes) * np.asarray(weights, np.float64))
    slope = (value(x + t) - value(x - t)) / 2
    np.testing.assert_allclose(jnp.sum(jax.jit(jax.grad(run))(x) * t), slope, rtol=1e-4)
    np.testing.assert_allclose(jax.jvp(run, (x,), (t,))[1], slope, rtol=1e-4)


@needs_kernels
@pytest.mark.parametrize('threads', [1, 3, 50])
def test_lanes_and_threads_change_no_bit(threads, monkeypatch):
    x, filters = normal(0, (3, 4, 900)), normal(1, (65, 5))
    run = lambda x: audio.band_power(x, filters, 128, 100, 40)
    alone = jnp.stack([jnp.stack([run(x) for x in batch]) for batch in x])
    monkeypatch.setattr(library, 'PIECE', 1)
    monkeypatch.setattr(library, 'threads', lambda: threads)
    lanes = jax.jit(jax.vmap(jax.vmap(run)))
    text = lanes.lower(x).as_text()
    assert text.count('@nnjax_MelBands') == 1 and 'while' not in text
    np.testing.assert_array_equal(lanes(x), alone)


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_values_that_are_not_finite_stay_in_their_frames(bad):
    x = normal(0, (3, 400)).at[1, 205].set(bad)
    y = np.asarray(audio.band_power(x, jnp.ones((33, 5)), 64, 50, 25))
    expected = np.zeros((3, 17), bool)
    expected[1, [8, 9]] = True  # centred on 200 and 225; that on 175 ends with sample 199
    np.testing.assert_array_equal(~np.isfinite(y).all(-1), expected)


@needs_kernels
def test_log_mel_reaches_the_kernel_and_its_export_does_not():
    (features,) = spec.parse('log_mel(40)', augment)
    sounds = jnp.asarray(normal(0, (3, 1600)) * 3000, jnp.int16)
    keys = jax.random.split(jax.random.key(0), 3)
    run = jax.jit(jax.vmap(lambda key, x: features(key, {'audio': x})['audio']))
    assert 'nnjax_MelBands' in run.lower(keys, sounds).as_text()
    exported = jax.export.export(run, platforms=['cpu', 'cuda'])(keys, sounds)
    assert 'nnjax_' not in exported.mlir_module()
    np.testing.assert_allclose(exported.call(keys, sounds), run(keys, sounds), atol=1e-4)


def test_arrays_that_say_how_they_are_sharded():
    x, filters = normal(0, (8, 500)), jnp.ones((33, 5))
    run = jax.jit(lambda x: audio.band_power(x, filters, 64, 50, 25))
    expected = run(x)
    mesh = jax.make_mesh((4,), ('d',), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        found = run(jax.device_put(x, NamedSharding(mesh, PartitionSpec('d'))))
        assert jax.typeof(found).sharding.spec[0] == 'd'
    np.testing.assert_allclose(found, expected, rtol=1e-5)
