"""Batch normalisation and overlapping pools: exact, whatever computes them, on any number of devices."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nnjax.models import layers
from nnjax.ops.native import library
from nnjax.ops.normalize import apply_norm, batch_norm
from nnjax.ops.pool import avg_pool, max_pool
from tests.test_native import (
    TOLERANCE,
    assert_close,
    exact,
    few,
    needs_kernels,
    normal,
    value_and_gradients,
)

DTYPES = st.sampled_from(['float32', 'bfloat16'])


def plain_norm(relu, x, scale, bias):
    axes = tuple(range(x.ndim - 1))
    wide = lambda v: jnp.broadcast_to(v, x.shape)
    mean = jnp.mean(x, axes)
    centred = x - wide(mean)
    variance = jnp.mean(jnp.square(centred), axes)
    y = centred * wide(scale / jnp.sqrt(variance + 1e-5)) + wide(bias)
    return jnp.where(y > 0, y, 0) if relu else y


@few
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3).filter(lambda shape: np.prod(shape) > 1),
    st.sampled_from([1, 3, 16, 33, 130]),
    st.booleans(),
    DTYPES,
)
def test_batch_norm_is_exact(shape, channels, relu, dtype):
    x = normal(0, (*shape, channels), dtype)
    scale, bias = normal(1, (channels,)), normal(2, (channels,)) + 0.5
    ours = lambda x, s, b: batch_norm(x, s, b, relu=relu)[0]
    actual = value_and_gradients(ours, x, scale, bias)
    expected = exact(lambda x, s, b: plain_norm(relu, x, s, b), x, scale, bias)
    assert actual[0].dtype == dtype
    # The gradient is a difference of near equals where few rows make the statistics.
    loose = {'float32': 1e-4, 'bfloat16': 5e-2}[dtype]
    for a, e, limit in zip(actual, expected, (TOLERANCE[dtype], *[loose] * 3), strict=True):
        a = np.asarray(a, np.float64)
        largest = max(np.max(np.abs(e)), np.max(np.abs(expected[2])))
        assert np.max(np.abs(a - e)) <= limit * largest


@few
@given(
    st.tuples(st.integers(1, 4), st.integers(2, 9), st.integers(2, 9), st.sampled_from([3, 16])),
    st.integers(2, 3),
    st.booleans(),
    DTYPES,
)
def test_a_pool_may_come_before_the_norm(shape, side, relu, dtype):
    """Values and gradients are those of the pool behind it, also where scales are negative."""
    side = min(side, *shape[1:3])
    x, scale, bias = normal(0, shape, dtype), normal(1, shape[3:]), normal(2, shape[3:])

    def plain(x, scale, bias):
        edges = (1, side, side, 1)
        lowest = np.array(-np.inf, x.dtype)
        return lax.reduce_window(
            plain_norm(relu, x, scale, bias), lowest, lax.max, edges, edges, 'VALID'
        )

    ours = lambda x, s, b: batch_norm(x, s, b, relu=relu, pool=side)[0]
    actual = value_and_gradients(ours, x, scale, bias)
    expected = exact(plain, x, scale, bias)
    loose = {'float32': 1e-4, 'bfloat16': 5e-2}[dtype]
    for a, e, limit in zip(actual, expected, (TOLERANCE[dtype], *[loose] * 3), strict=True):
        largest = max(np.max(np.abs(e)), np.max(np.abs(expected[2])))
        assert np.max(np.abs(np.asarray(a, np.float64) - e)) <= limit * largest


def test_a_shift_is_the_bias_of_the_layer_before():
    """It changes what evaluation reads, nothing in training, and has no gradient."""
    x, shift = normal(0, (6, 5, 5, 8)), normal(1, (8,))
    plain, shifted = layers.BatchNorm(pool=2), layers.BatchNorm(pool=2, shift=True)
    variables = shifted.init(jax.random.key(0), x)
    variables['params']['shift'] = shift
    bare = {**variables, 'params': {k: v for k, v in variables['params'].items() if k != 'shift'}}
    biased = x + shift.reshape(1, 1, 1, -1)
    expected, averages = plain.apply(bare, biased, True, mutable=['batch_stats'])
    actual, found = shifted.apply(variables, x, True, mutable=['batch_stats'])
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, averages)
    np.testing.assert_allclose(
        shifted.apply(variables | found, x), plain.apply(bare | averages, biased), atol=1e-5
    )
    loss = lambda p: jnp.sum(
        jnp.sin(shifted.apply({**variables, 'params': p}, x, True, mutable=['batch_stats'])[0])
    )
    assert not np.any(jax.grad(loss)(variables['params'])['shift'])


def test_a_far_mean_costs_no_digits():
    x = normal(0, (64, 7, 7, 24)) * 0.5 + 3000
    _, mean, variance = jax.jit(batch_norm)(x, jnp.ones(24), jnp.zeros(24))
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, wide.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, wide.var((0, 1, 2)), rtol=1e-3)


def test_the_layer_is_linens():
    """Values, gradients and moving averages; evaluation reads the averages."""
    x = normal(0, (6, 5, 5, 8)) * 3 + 1
    ours, linens = layers.BatchNorm(relu=True), nn.BatchNorm(momentum=0.9)
    variables = ours.init(jax.random.key(0), x)
    names = lambda tree: jax.tree.map(jnp.shape, tree)
    assert names(variables) == names(linens.init(jax.random.key(0), x, use_running_average=True))

    def run(params, x, apply):
        y, updated = apply({**variables, 'params': params}, x)
        return y, updated['batch_stats']

    theirs = lambda v, x: linens.apply(v, x, use_running_average=False, mutable=['batch_stats'])
    both = [
        lambda v, x: ours.apply(v, x, True, mutable=['batch_stats']),
        lambda v, x: (lambda y, u: (nn.relu(y), u))(*theirs(v, x)),
    ]
    params = {'scale': normal(1, (8,)), 'bias': normal(2, (8,))}
    (y, averages), (y2, averages2) = (run(params, x, apply) for apply in both)
    np.testing.assert_allclose(y, y2, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), averages, averages2)
    loss = lambda apply: lambda p, x: jnp.sum(jnp.sin(run(p, x, apply)[0]))
    grads = [jax.grad(loss(apply), (0, 1))(params, x) for apply in both]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *grads)
    variables = {'params': params, 'batch_stats': averages}
    np.testing.assert_allclose(
        ours.apply(variables, x),
        nn.relu(linens.apply(variables, x, use_running_average=True)),
        atol=1e-5,
    )
    assert ours.apply(variables, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert (apply_norm(x, averages['mean'], averages['var'], **params) < 0).any()


def test_devices_share_their_statistics():
    """Four devices with a quarter of the batch each: the same result, gradients and averages."""
    x, scale, bias = normal(0, (8, 3, 3, 16)), normal(1, (16,)), normal(2, (16,))

    def everything(x, scale, bias, axis=None):
        loss = lambda *a: jnp.sum(jnp.sin(batch_norm(*a, relu=True, axis=axis)[0]))
        grads = jax.grad(loss, (0, 1, 2))(x, scale, bias)
        shared = lax.psum(grads[1:], axis) if axis else grads[1:]
        return batch_norm(x, scale, bias, axis=axis), grads[0], shared

    whole = everything(x, scale, bias)
    split = jax.pmap(lambda x: everything(x, scale, bias, 'd'), 'd', devices=jax.devices()[:4])
    (y, mean, variance), dx, shared = split(x.reshape(4, 2, 3, 3, 16))
    for actual, expected in (
        (y.reshape(x.shape), whole[0][0]),
        (mean[3], whole[0][1]),
        (variance[3], whole[0][2]),
        (dx.reshape(x.shape), whole[1]),
        (shared[0][1], whole[2][0]),
        (shared[1][1], whole[2][1]),
    ):
        np.testing.assert_allclose(actual, expected, atol=2e-5)


@pytest.mark.parametrize('axis', [None, 'd'])
def test_rows_that_fill_a_batch_up_have_no_part_in_it(axis):
    """Statistics, values and gradients of the real rows are those without the others, NaN or not."""
    x, scale, bias = normal(0, (6, 3, 3, 8)), normal(1, (8,)), normal(2, (8,))
    loss = lambda y, real: jnp.sum(jnp.where(real[:, None, None, None] > 0, jnp.sin(y), 0))

    def everything(x, counted, **options):
        norm = lambda *a: batch_norm(*a, relu=True, **options)
        grads = jax.grad(lambda *a: loss(norm(*a)[0], counted), (0, 1, 2))(x, scale, bias)
        grads = grads[0], lax.psum(grads[1:], axis) if axis and options else grads[1:]
        return norm(x, scale, bias), grads

    (y, *averages), (dx, shared) = everything(x, jnp.ones(6))
    filled = jnp.concatenate([x, jnp.full((2, 3, 3, 8), jnp.nan)])
    real = jnp.array([1, 1, 1, 1, 1, 1, 0, 0], jnp.float32)
    run = lambda x, real: everything(x, real, axis=axis, real=real)
    if axis:
        split = lambda a: a.reshape(4, 2, *a.shape[1:])
        found = jax.pmap(run, axis, devices=jax.devices()[:4])(split(filled), split(real))
        (y2, *averages2), (dx2, shared2) = found
        y2, dx2 = (a.reshape(filled.shape) for a in (y2, dx2))
        averages2, shared2 = jax.tree.map(lambda a: a[1], (averages2, shared2))
    else:
        (y2, *averages2), (dx2, shared2) = run(filled, real)
    np.testing.assert_array_equal(dx2[6:], 0)
    near = lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5)
    jax.tree.map(
        near, [y, *averages, dx, list(shared)], [y2[:6], *averages2, dx2[:6], list(shared2)]
    )


@st.composite
def pools(draw):
    rank = draw(st.sampled_from([1, 2]))
    axes = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))
    window = axes(1, 4)
    pads = [(draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in window]
    shape = (draw(st.integers(1, 3)), *axes(4, 9), draw(st.sampled_from([1, 5, 16, 20])))
    return shape, window, axes(1, 3), draw(st.sampled_from(['SAME', 'VALID', pads]))


def by_windows(x, window, strides, padding, lowest, combine):
    return lax.reduce_window(x, lowest, combine, (1, *window, 1), (1, *strides, 1), padding)


def outer(padding):
    return padding if isinstance(padding, str) else [(0, 0), *padding, (0, 0)]


@few
@given(pools(), DTYPES, st.booleans())
def test_pools_are_exact(case, dtype, ties):
    shape, window, strides, padding = case
    rng = np.random.default_rng(0)
    values = rng.integers(0, 3, shape) if ties else rng.permutation(int(np.prod(shape)))
    x = jnp.asarray(values.reshape(shape) / 8, dtype)
    if not ties and dtype == 'bfloat16':
        x = x % 4  # exact in eight bits, ties but few
    actual = value_and_gradients(lambda x: max_pool(x, window, strides, padding), x)
    windows = lambda x, low, f: by_windows(x, window, strides, outer(padding), low, f)
    # XLA's own gradient also goes to the first of equal maxima.
    expected = value_and_gradients(lambda x: windows(x, np.array(-np.inf, x.dtype), lax.max), x)
    np.testing.assert_array_equal(actual[0], expected[0])
    assert_close(actual[1:], [np.asarray(e, np.float64) for e in expected[1:]], dtype)

    actual = value_and_gradients(lambda x: avg_pool(x, window, strides, padding), x)
    size = float(np.prod(window))
    assert_close(actual, exact(lambda x: windows(x, 0.0, lax.add) / size, x), dtype)


def test_every_derivative_of_a_pool():
    """Forward mode and second order, against the reduction of windows; lanes fold into the batch."""
    x, t = normal(0, (2, 6, 6, 5)), normal(1, (2, 6, 6, 5))
    ours = lambda x: jnp.sum(jnp.sin(max_pool(x, 3, 1, 'SAME')) ** 2)
    lowest = np.float32(-np.inf)
    windows = lambda x: by_windows(x, (3, 3), (1, 1), 'SAME', lowest, lax.max)
    theirs = lambda x: jnp.sum(jnp.sin(windows(x)) ** 2)
    for order in (lambda f: f, jax.grad):
        a, b = (jax.jvp(order(f), (x,), (t,)) for f in (ours, theirs))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), a, b)
    twice = [jax.grad(lambda x, f=f: jnp.sum(jax.grad(f)(x) * t))(x) for f in (ours, theirs)]
    np.testing.assert_allclose(*twice, atol=1e-4)
    lanes = jax.vmap(jax.grad(ours))
    xs = jnp.stack([x, t])
    np.testing.assert_array_equal(lanes(xs), jnp.stack([jax.grad(ours)(x) for x in xs]))
    assert 'scan' not in str(jax.make_jaxpr(lanes)(xs))


@needs_kernels
def test_they_reach_their_kernels_and_exports_do_not():
    @jax.jit
    def run(x, scale):
        def net(x):
            y, *_ = batch_norm(x, scale, scale, relu=True)
            return jnp.sum(jnp.sin(max_pool(y, 3, 2)))

        return jax.value_and_grad(net)(x)

    x, scale = normal(0, (4, 9, 9, 16)), jnp.ones(16)
    text = run.lower(x, scale).as_text()
    for name in ('ColumnMoments', 'ColumnSums', 'PoolMaximum', 'PoolSpread'):
        assert f'nnjax_{name}' in text
    exported = jax.export.export(run)(x, scale)
    assert 'nnjax_' not in exported.mlir_module()
    for a, b in zip(exported.call(x, scale), run(x, scale), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@needs_kernels
@pytest.mark.parametrize('threads', [1, 3, 7])
def test_any_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr(library, 'PIECE', 1)
    monkeypatch.setattr(library, 'threads', lambda: threads)
    x, scale, bias = normal(0, (5, 3, 3, 20)), normal(1, (20,)), normal(2, (20,))
    norm = lambda x, s, b: batch_norm(x, s, b, relu=True)[0]
    for a, e in zip(
        value_and_gradients(norm, x, scale, bias),
        exact(lambda x, s, b: plain_norm(True, x, s, b), x, scale, bias),
        strict=True,
    ):
        np.testing.assert_allclose(a, e, atol=2e-5)
    pool = lambda x: max_pool(x, 2, 1)
    windows = lambda x: by_windows(x, (2, 2), (1, 1), 'VALID', np.float32(-np.inf), lax.max)
    for a, e in zip(value_and_gradients(pool, x), value_and_gradients(windows, x), strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)


def test_values_that_are_not_finite_stay_in_their_windows_and_channels():
    x = normal(0, (2, 6, 6, 4)).at[0, 2, 3, 1].set(jnp.nan)
    bad = np.isnan(max_pool(x, 3, 1))
    assert bad[0, :3, 1:4, 1].all() and bad.sum() == 9
    assert np.isnan(batch_norm(x, jnp.ones(4), jnp.ones(4))[0]).any((0, 1, 2)).tolist() == [
        False, True, False, False,
    ]  # fmt: skip


def test_arrays_that_say_how_they_are_sharded():
    """Types with explicit mesh axes go to XLA, which knows how to take them apart."""
    mesh = jax.make_mesh((4,), ('d',), axis_types=(AxisType.Explicit,))
    w = normal(1, (3, 3, 4, 8))

    @jax.jit
    def run(x, w):
        y = layers.Conv(8, (3, 3)).apply({'params': {'kernel': w, 'bias': jnp.zeros(8)}}, x)
        y, *_ = batch_norm(y, jnp.ones(8), jnp.zeros(8))
        return max_pool(y, 3, 2)

    x = normal(0, (8, 9, 9, 4))
    expected = run(x, w)
    with jax.set_mesh(mesh):
        found = run(jax.device_put(x, NamedSharding(mesh, PartitionSpec('d'))), w)
        assert jax.typeof(found).sharding.spec[0] == 'd'
    np.testing.assert_allclose(found, expected, atol=1e-4)
