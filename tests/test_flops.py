"""FLOPs against hand counts, XLA's own count, and the laws of the convention."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from nnjax.analysis import flops


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x)))


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3), padding='VALID')(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.Conv(16, (3, 3), padding='SAME')(x)
        return nn.Dense(10)(x.reshape(x.shape[0], -1))


def forward(model, x):
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    return flops.count(model.apply, variables, x)


MLP_EXAMPLE = 2 * (784 * 64 + 64 * 10) + (64 + 10) + 64  # products, biases, relu


@pytest.mark.parametrize('batch', [1, 64])
def test_mlp_by_hand(batch):
    assert forward(MLP(), shape(batch, 784)) == batch * MLP_EXAMPLE


def test_cnn_by_hand():
    first = 26 * 26 * 8 * (2 * 9 + 1 + 1) + 26 * 26 * 8  # products, bias, relu; each pooled once
    taps = (13 * 3 - 2) ** 2  # along an axis 'SAME' loses one tap at each end
    second = 2 * taps * 8 * 16 + 13 * 13 * 16
    dense = 2 * 13 * 13 * 16 * 10 + 10
    assert forward(CNN(), shape(4, 28, 28, 1)) == 4 * (first + second + dense)


def test_near_xla():
    def program(x, w, b):
        return nn.relu(x @ w + b[None]).sum()

    args = shape(64, 256), shape(256, 128), shape(128)
    xla = jax.jit(program).lower(*args).compile().cost_analysis()['flops']
    assert flops.count(program, *args) == pytest.approx(xla, rel=0.01)


CONVOLUTIONS = st.fixed_dictionaries(
    {
        'size': st.tuples(st.integers(5, 9), st.integers(5, 9)),
        'kernel': st.tuples(st.integers(1, 3), st.integers(1, 3)),
        'groups': st.sampled_from([1, 2]),
        'window_strides': st.tuples(st.integers(1, 3), st.integers(1, 3)),
        'padding': st.sampled_from(['SAME', 'VALID', ((2, 0), (1, 3))]),
        'lhs_dilation': st.tuples(st.integers(1, 2), st.integers(1, 2)),
        'rhs_dilation': st.tuples(st.integers(1, 2), st.integers(1, 2)),
    }
)


def convolution(size, kernel, groups, padding, **kwargs):
    x, w = shape(2, *size, 2 * groups), shape(*kernel, 2, 3 * groups)
    if isinstance(padding, str):  # which JAX refuses beside lhs_dilation
        kwargs['lhs_dilation'] = None
    function = functools.partial(
        lax.conv_general_dilated,
        padding=padding,
        feature_group_count=groups,
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        **kwargs,
    )
    return function, x, w


@settings(max_examples=25, deadline=None)
@given(CONVOLUTIONS)
def test_convolution_counts_products_of_real_entries(case):
    function, x, w = convolution(**case)
    products = function(jnp.ones(x.shape), jnp.ones(w.shape)).sum()  # each product is a one
    assert flops.count(function, x, w) == 2 * int(products)


@settings(max_examples=25, deadline=None)
@given(CONVOLUTIONS)
def test_each_gradient_of_a_convolution_costs_the_convolution(case):
    function, x, w = convolution(**case)

    def gradients(x, w, ct):
        return jax.vjp(function, x, w)[1](ct)

    whole = flops.count(gradients, x, w, jax.eval_shape(function, x, w))
    assert whole == 2 * flops.count(function, x, w)


@pytest.mark.parametrize('padding', ['SAME', 'VALID'])
def test_pooling_counts_taps_on_real_entries(padding):
    def pool(x):
        return lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), padding)

    ones = jnp.ones((2, 8, 7, 3))
    assert flops.count(pool, ones) == int(pool(ones).sum())


def test_batched_and_wide_products():
    assert flops.count(jnp.matmul, shape(5, 3, 4), shape(5, 4, 6)) == 2 * 5 * 3 * 4 * 6
    assert flops.count(jnp.vdot, shape(100), shape(100)) == 200


def layer(w, x):
    return jnp.tanh(x @ w)


LAYER = 2 * 2 * 8 * 8 + 2 * 8
W, X = shape(8, 8), shape(2, 8)


def test_scan_counts_its_body_every_time():
    def inner(w, x):
        return lax.scan(lambda c, _: (layer(w, c), None), x, None, length=7)[0]

    def outer(w, x):
        return lax.fori_loop(0, 3, lambda _, c: inner(w, c), x)

    assert flops.count(inner, W, X) == 7 * LAYER
    assert flops.count(outer, W, X) == 3 * 7 * LAYER


def test_a_scan_and_its_unrolled_loop_have_equal_gradients():
    def scanned(w, x):
        return lax.scan(lambda c, _: (layer(w, c), None), x, None, length=6)[0].sum()

    def unrolled(w, x):
        for _ in range(6):
            x = layer(w, x)
        return x.sum()

    a, b = (flops.count(jax.grad(f), W, X) for f in (scanned, unrolled))
    assert a == pytest.approx(b, rel=0.1)
    assert b > 2.5 * 6 * LAYER


def test_a_loop_of_unknown_length_says_so():
    def loop(w, x):
        return lax.while_loop(lambda c: jnp.sum(c) > 0, functools.partial(layer, w), x)

    once = LAYER + 16 + 1  # the body, the condition's sum and comparison
    tally = flops.tally(loop, W, X)
    assert tally.flops == once == flops.count(loop, W, X)
    assert len(tally.notes) == 1 and 'while' in next(iter(tally.notes))
    given = flops.tally(loop, W, X, trips=5)
    assert given.flops == 5 * once and not given.notes


def test_cond_counts_the_dearest_branch():
    def choose(w, x):
        return lax.cond(x[0, 0] > 0, layer, lambda w, x: x, w, x)

    assert flops.count(choose, W, X) == LAYER + 1


@pytest.mark.parametrize(
    'transform',
    [
        lambda f: f,
        lambda f: jax.grad(lambda w, x: f(w, x).sum()),
    ],
)
def test_platform_dependent_counts_this_platform(transform):
    def choose(w, x):
        return lax.platform_dependent(w, x, cpu=layer, default=lambda w, x: layer(w @ w, x))

    assert flops.count(transform(choose), W, X) == flops.count(transform(layer), W, X)


def test_a_foreign_call_counts_as_its_other_branch_or_is_noted():
    def foreign(w, x):
        return jax.ffi.ffi_call('some_kernel', X)(w, x)

    def choose(w, x):
        return lax.platform_dependent(w, x, cpu=foreign, default=layer)

    assert flops.tally(choose, W, X).flops == LAYER
    assert not flops.tally(choose, W, X).notes
    assert flops.tally(foreign, W, X).notes == {'some_kernel: not counted'}


def test_calls_are_looked_into():
    own = jax.custom_vjp(layer)
    own.defvjp(lambda w, x: (layer(w, x), (w, x)), lambda r, g: (r[1].T @ g, g @ r[0].T))
    tangent = jax.custom_jvp(layer)
    tangent.defjvp(lambda p, t: (layer(*p), layer(*t)))
    for function in (
        jax.jit(layer),
        own,
        tangent,
        jax.checkpoint(layer),
        jax.vmap(layer, (None, 0)),
    ):
        assert flops.count(function, W, X) == LAYER
    backward = 2 * (2 * 2 * 8 * 8)
    assert flops.count(jax.grad(lambda w, x: own(w, x).sum(), (0, 1)), W, X) == backward


def test_rematerialization_is_counted_again():
    def deep(block, w, x):
        return block(w, block(w, x)).sum()

    plain = flops.count(jax.grad(functools.partial(deep, layer)), W, X)
    again = flops.count(jax.grad(functools.partial(deep, jax.checkpoint(layer))), W, X)
    assert plain + 2 * 2 * 8 * 8 <= again <= plain + 2 * LAYER


def test_all_devices_are_counted():
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ('d',), axis_types=(AxisType.Auto,))
    spec = PartitionSpec('d')
    mapped = jax.shard_map(layer, mesh=mesh, in_specs=(PartitionSpec(), spec), out_specs=spec)
    assert flops.count(mapped, W, shape(2 * devices, 8)) == devices * LAYER
    parallel = jax.pmap(layer, in_axes=(None, 0))
    assert flops.count(parallel, W, shape(devices, 2, 8)) == devices * LAYER


def test_what_nobody_reads_is_free():
    def wasteful(w, x):
        layer(w, x)
        return jax.jit(lambda w, x: (layer(w, x), w @ w))(w, x)[0]

    assert flops.count(wasteful, W, X) == LAYER


def test_moving_and_integers_are_free():
    def move(x, i):
        x = jnp.concatenate([x.T, x.T]).reshape(-1)[i].astype(jnp.bfloat16)
        return jnp.where(i > 3, x, 0), i * 2 + 1, jax.random.bits(jax.random.key(0), (9,))

    assert flops.count(move, X, shape(5, dtype=jnp.int32)) == 0


def test_reductions_sorts_and_transforms():
    x = shape(4, 16)
    assert flops.count(lambda x: x.sum(1), x) == 64
    assert flops.count(lambda x: jnp.argmax(x, 1), x) == 64
    assert flops.count(lambda x: lax.reduce(x, 0.0, lambda a, b: a + b * b, (1,)), x) == 2 * 64
    assert flops.count(lambda x: x.at[0].add(1.0), x) == 16
    assert flops.count(lambda x: jnp.sort(x, 1), x) == 64 * 4
    assert flops.count(lambda x: jnp.fft.rfft(x, axis=1), x) == 2.5 * 64 * 4
    assert (
        flops.count(lambda x: jnp.fft.fft(x, axis=1), shape(4, 16, dtype=jnp.complex64))
        == 5 * 64 * 4
    )


def test_scopes_hold_their_own_share():
    def program(w, x):
        with jax.named_scope('outer'):
            x = layer(w, x)
            with jax.named_scope('inner'):
                return lax.scan(lambda c, _: (layer(w, c), None), x, None, length=2)[0]

    scopes = {s: n for s, n in flops.tally(program, W, X).scopes.items() if n}
    assert scopes == {'outer': LAYER, 'outer/inner': 2 * LAYER}


def test_nothing_is_computed():
    assert flops.count(jnp.matmul, shape(10**6, 10**6), shape(10**6, 10**6)) == 2 * 10**18


def test_an_mlp_train_step_is_about_three_forwards():
    model, batch = MLP(), shape(64, 784)
    params = jax.eval_shape(model.init, jax.random.key(0), batch)

    def step(params, x, y, lr):
        def loss(params):
            logits = model.apply(params, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        return jax.tree.map(lambda p, g: p - lr * g, params, jax.grad(loss)(params))

    ratio = flops.count(step, params, batch, shape(64, dtype=jnp.int32), 0.1) / (64 * MLP_EXAMPLE)
    assert 2 < ratio < 3  # the first layer needs no gradient of its input
