"""The door to convolutions, products and pools: values and gradients against PyTorch and linen."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax import lax

from nnjax.errors import UserError
from nnjax.models import layers
from nnjax.ops import convolution as convolution_module
from nnjax.ops.convolution import convolution
from nnjax.ops.native import library
from nnjax.ops.pool import avg_pool, max_pool

few = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `kernels` holds for all
)


def normal(seed, *shape):
    """NumPy's, to compile nothing."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def near(actual, expected, tolerance=1e-4):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def value_and_gradients(function, *arguments):
    """(output, gradients of a weighted sum of it with different weights everywhere)."""

    @jax.jit
    def both(*arguments):
        y, pull = jax.vjp(function, *arguments)
        return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return both(*arguments)


def torch_value_and_gradients(torch, function, *arguments):
    """The same of a PyTorch function of NumPy arrays."""
    leaves = [torch.tensor(np.asarray(a), requires_grad=True) for a in arguments]
    y = function(*leaves)
    y.backward(torch.cos(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape))
    return y.detach().numpy(), tuple(leaf.grad.numpy() for leaf in leaves)


def channels_first(x):
    return x.movedim(-1, 1)


def channels_last(x):
    return x.movedim(1, -1)


# Convolution


@st.composite
def convolutions(draw):
    """(x shape, kernel shape, fields of Conv), from 1-D and 2-D, small enough to compile fast."""
    rank = draw(st.sampled_from([1, 2]))

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    groups, inputs = draw(st.sampled_from([(1, 1), (1, 3), (2, 2), (4, 1), (3, 1)]))
    outputs = groups * draw(st.integers(1, 2))
    pads = [draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(rank)]
    padding = draw(st.sampled_from(['SAME', 'VALID', 'CIRCULAR', pads]))
    fields = {
        'features': outputs,
        'kernel_size': per_axis(1, 3),
        'strides': per_axis(1, 3),
        'padding': padding,
        'kernel_dilation': per_axis(1, 2),
        'input_dilation': per_axis(1, 2) if padding is pads else (1,) * rank,
        'feature_group_count': groups,
    }
    rows = draw(st.integers(1, 3))
    return (rows, *per_axis(5, 7), groups * inputs), fields


def torch_convolution(torch, x, kernel, bias, fields):
    """linen's Conv in PyTorch: zeros between inputs, edges added by hand, then a VALID one."""
    rank = x.ndim - 2
    reach = [(k - 1) * d for k, d in zip(fields['kernel_size'], fields['kernel_dilation'])]
    spread = x.new_zeros(
        x.shape[0],
        *((n - 1) * d + 1 for n, d in zip(x.shape[1:], fields['input_dilation'])),
        x.shape[-1],
    )
    spread[(slice(None), *(slice(None, None, d) for d in fields['input_dilation']))] = x
    padding, mode = fields['padding'], 'constant'
    if padding == 'VALID':
        padding = [(0, 0)] * rank
    elif padding == 'CIRCULAR':
        padding, mode = [(r // 2, r - r // 2) for r in reach], 'circular'
    elif padding == 'SAME':
        sizes = zip(x.shape[1:], fields['strides'], reach)
        needed = [max((-(-n // s) - 1) * s + r + 1 - n, 0) for n, s, r in sizes]
        padding = [(n // 2, n - n // 2) for n in needed]
    edges = list(itertools.chain(*reversed(padding)))
    x = torch.nn.functional.pad(channels_first(spread), edges, mode=mode)
    kernel = kernel.permute(rank + 1, rank, *range(rank))
    convolve = (torch.nn.functional.conv1d, torch.nn.functional.conv2d)[rank - 1]
    options = (fields['strides'], 0, fields['kernel_dilation'], fields['feature_group_count'])
    return channels_last(convolve(x, kernel, bias, *options))


@pytest.mark.usefixtures('kernels')
@few
@given(convolutions())
def test_conv_is_pytorchs(torch, case):
    shape, fields = case
    inputs = shape[-1] // fields['feature_group_count']
    x, bias = normal(0, *shape), normal(1, fields['features'])
    kernel = normal(2, *fields['kernel_size'], inputs, fields['features'])

    def apply(x, kernel, bias):
        return layers.Conv(**fields).apply({'params': {'kernel': kernel, 'bias': bias}}, x)

    actual = value_and_gradients(apply, x, kernel, bias)
    expected = torch_value_and_gradients(
        torch, lambda *a: torch_convolution(torch, *a, fields), x, kernel, bias
    )
    jax.tree.map(near, actual, expected)


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize(
    'fields',
    [
        {'kernel_size': (3, 3)},
        {'kernel_size': (1, 1), 'strides': 2, 'use_bias': False},
        {'kernel_size': (3, 2), 'padding': 'CIRCULAR', 'feature_group_count': 2},
        {'kernel_size': (2, 3), 'padding': 'REFLECT', 'dtype': jnp.bfloat16},
        {'kernel_size': (3, 3), 'feature_group_count': 4, 'param_dtype': jnp.bfloat16,
         'dtype': jnp.float32},
    ],
    ids=str,
)  # fmt: skip
def test_linen_checkpoint_fits(fields):
    x = normal(0, 3, 6, 7, 4)
    ours, stock = layers.Conv(8, **fields), nn.Conv(8, **fields)
    variables = stock.init(jax.random.key(1), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(1), x), variables)
    y, expected = ours.apply(variables, x), stock.apply(variables, x)
    assert y.dtype == expected.dtype
    near(
        y.astype(jnp.float32), expected.astype(jnp.float32), 1e-5 if 'dtype' not in fields else 2e-2
    )


@pytest.mark.usefixtures('kernels')
def test_conv_takes_any_batch_axes():
    layer, x = layers.Conv(2, (3, 3)), normal(0, 2, 3, 5, 5, 1)
    apply = jax.jit(layer.apply)
    variables = {'params': {'kernel': normal(1, 3, 3, 1, 2), 'bias': normal(2, 2)}}
    near(apply(variables, x)[1], apply(variables, x[1]))
    near(apply(variables, x[1, 2]), apply(variables, x[1])[2])


def stock(x, kernel, strides=(1, 1), padding='VALID'):
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


def ours(x, kernel, strides=(1, 1), padding='VALID'):
    return convolution(x, kernel, strides, padding)


@pytest.mark.parametrize('rows', [1, 7, 8])
def test_slices_of_a_batch_change_nothing(rows, monkeypatch):
    x, kernel = normal(0, rows, 6, 6, 3), normal(1, 3, 3, 3, 4)
    monkeypatch.setattr(library, 'load', lambda: library.Library(None, 'turned off'))
    monkeypatch.setattr(convolution_module, 'CACHE', 2 * 16 * 27 * 4)  # two images of patches
    jaxpr = str(jax.make_jaxpr(ours)(x, kernel))
    assert ('scan' in jaxpr) == (rows > 2)
    jax.tree.map(near, value_and_gradients(ours, x, kernel), value_and_gradients(stock, x, kernel))


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize('sliced', [False, True])
def test_second_derivatives_are_the_stocks(sliced, monkeypatch):
    if sliced:
        monkeypatch.setattr(convolution_module, 'CACHE', 1)
    x, kernel, direction = normal(0, 2, 5, 5, 2), normal(1, 3, 3, 2, 2), normal(2, 3, 3, 2, 2)

    def second(convolve):
        def slope(x, kernel):
            return jax.grad(lambda k: jnp.sum(jnp.sin(convolve(x, k, (2, 1), 'SAME'))))(kernel)

        reverse = jax.grad(lambda x, k: jnp.sum(slope(x, k) * direction), (0, 1))(x, kernel)
        return reverse, jax.jvp(lambda k: slope(x, k), (kernel,), (direction,))[1]

    jax.tree.map(
        near, jax.jit(second, static_argnums=0)(ours), jax.jit(second, static_argnums=0)(stock)
    )


@pytest.mark.usefixtures('kernels')
def test_lanes_and_loops_change_nothing():
    x, kernels = normal(0, 4, 6, 6, 2), normal(1, 3, 3, 3, 2, 4)
    one_by_one = jnp.stack([ours(x, kernel) for kernel in kernels])
    near(jax.vmap(ours, (None, 0))(x, kernels), one_by_one)
    near(jax.jit(lambda: lax.map(lambda kernel: ours(x, kernel), kernels))(), one_by_one)
    shared = jax.pmap(lambda x: ours(x, kernels[0]))(x.reshape(4, 1, 6, 6, 2))
    near(shared.reshape(4, 4, 4, 4), one_by_one[0])


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='the stock operation is fast there')
@pytest.mark.parametrize('groups', [1, 2, 4])
def test_no_stock_convolution_on_a_cpu(groups):
    """Inside a loop XLA:CPU would run it 12 to 30 times slower."""
    layer, x = layers.Conv(8, (3, 3), strides=2, feature_group_count=groups), normal(0, 2, 6, 6, 4)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    step = jax.grad(lambda v, x: layer.apply(v, x).sum(), (0, 1))
    assert 'conv_general_dilated' not in str(jax.make_jaxpr(step)(variables, x))


def test_unserved_shapes_go_to_the_stock_operation():
    kernel = normal(1, 3, 3, 1, 2)
    assert ours(jnp.zeros((2, 2, 5, 1)), kernel).shape == (2, 0, 3, 2)
    assert ours(jnp.zeros((0, 5, 5, 1)), kernel).shape == (0, 3, 3, 2)
    with pytest.raises(ValueError, match='not implemented for transposed'):
        convolution(jnp.zeros((1, 5, 5, 1)), kernel, (1, 1), 'SAME', input_dilation=(2, 2))
    with pytest.raises(TypeError, match='dtype'):
        ours(jnp.zeros((1, 5, 5, 1), jnp.bfloat16), kernel)


def test_export_with_any_batch_size():
    kernel = normal(1, 3, 3, 1, 2)
    (batch,) = jax.export.symbolic_shape('batch')
    shape = jax.ShapeDtypeStruct((batch, 6, 6, 1), jnp.float32)
    exported = jax.export.export(jax.jit(lambda x: max_pool(ours(x, kernel), 2)))(shape)
    x = normal(0, 5, 6, 6, 1)
    near(exported.call(x), max_pool(stock(x, kernel), 2))


# Pools


@st.composite
def pools(draw):
    rank = draw(st.sampled_from([1, 2]))
    window = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    strides = draw(st.none() | st.tuples(*[st.integers(1, 3)] * rank))
    pads = tuple(draw(st.integers(0, k // 2)) for k in window)
    shape = (2, *(draw(st.integers(4, 9)) for _ in range(rank)), 3)
    return draw(st.sampled_from(['max_pool', 'avg_pool'])), shape, window, strides, pads


@few
@given(pools())
def test_pools_are_pytorchs(torch, case):
    name, shape, window, strides, pads = case
    x = jnp.asarray(np.round(2 * normal(0, *shape)))  # has ties: the first takes the gradient
    edges = [(pad, pad) for pad in pads]
    theirs = getattr(torch.nn.functional, f'{name}{len(window)}d')
    actual = value_and_gradients(lambda x: getattr(layers, name)(x, window, strides, edges), x)
    expected = torch_value_and_gradients(
        torch, lambda x: channels_last(theirs(channels_first(x), window, strides, pads)), x
    )
    jax.tree.map(near, actual, expected)


@pytest.mark.parametrize('window', [2, 3, 5])
@pytest.mark.parametrize('strides', [1, 2, None])
def test_pools_with_padding_same_are_linens(window, strides):
    x = normal(0, 2, 7, 6, 3)
    stock_strides = (window if strides is None else strides,) * 2
    for pool, linen in ((max_pool, nn.max_pool), (avg_pool, nn.avg_pool)):
        with jax.numpy_dtype_promotion('standard'):  # linen's avg_pool divides by an integer
            expected = linen(x, (window, window), stock_strides, 'SAME')
        near(pool(x, window, strides, 'SAME'), expected)


def test_max_pool_of_integers_and_of_half_precision():
    x = jnp.arange(-16, 0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(max_pool(x, 2, padding='SAME').ravel(), [-11, -9, -3, -1])
    assert max_pool(x.astype(jnp.bfloat16), 3, 1).dtype == jnp.bfloat16


@pytest.mark.parametrize('window, strides', [(2, 2), (2, 1)])
def test_avg_pool_of_integers_is_the_mean(window, strides):
    x = jnp.asarray([[[0, 1, 2], [0, 0, 1], [255, 255, 254]]], jnp.uint8)[..., None]
    found = avg_pool(x, window, strides)
    assert found.dtype == jnp.float32 and found[0, 0, 0, 0] == 0.25
    if strides == 1:
        np.testing.assert_array_equal(found.ravel(), [0.25, 1, 127.5, 127.5])


@pytest.mark.parametrize('window', [2, 4])
def test_max_pool_twice_differentiated(window):
    """The Hessian of sum(max ** 3) is 6 x where x is a maximum, forwards and backwards."""
    x = jax.random.permutation(jax.random.key(0), 16).astype(jnp.float32)

    def cubes(x):
        return jnp.sum(max_pool(x.reshape(1, 4, 4, 1), window) ** 3)

    top = np.isin(x, max_pool(x.reshape(1, 4, 4, 1), window))
    expected = np.diag(6 * np.asarray(x) * top)
    near(jax.jit(jax.hessian(cubes))(x), expected)
    near(jax.jit(jax.jacrev(jax.grad(cubes)))(x), expected)


@pytest.mark.parametrize('shape', [(14, 14), (7, 7), (8, 12), (3, 1), (1, 9), (15, 20)])
@pytest.mark.parametrize('size', [1, 4, 7])
def test_adaptive_average_is_pytorchs(torch, shape, size):
    x = normal(0, 2, *shape, 3)
    actual = value_and_gradients(lambda x: layers.adaptive_avg_pool(x, size), x)
    expected = torch_value_and_gradients(
        torch,
        lambda x: channels_last(torch.nn.functional.adaptive_avg_pool2d(channels_first(x), size)),
        x,
    )
    jax.tree.map(lambda a, b: near(a, b, 1e-5), actual, expected)


# Normalisation

NORMS = {
    'layer': lambda f, x, scale, bias: f.layer_norm(x, x.shape[-1:], scale, bias),
    'group': lambda f, x, scale, bias: channels_last(
        f.group_norm(channels_first(x), {64: 32, 6: 2, 5: 1}[x.shape[-1]], scale, bias)
    ),
}


@pytest.mark.parametrize('kind', NORMS)
@pytest.mark.parametrize('shape', [(2, 5, 4, 6), (3, 7, 64), (2, 3, 5)])
@pytest.mark.parametrize('relu', [False, True])
def test_norm_is_pytorchs(torch, kind, shape, relu):
    x, scale, bias = 3 + normal(0, *shape), normal(1, shape[-1]), normal(2, shape[-1])
    layer = layers.norm(kind, relu=relu)
    actual = value_and_gradients(
        lambda x, scale, bias: layer.apply({'params': {'scale': scale, 'bias': bias}}, x, True),
        x, scale, bias,
    )  # fmt: skip
    positive = torch.relu if relu else lambda y: y
    expected = torch_value_and_gradients(
        torch, lambda *a: positive(NORMS[kind](torch.nn.functional, *a)), x, scale, bias
    )
    jax.tree.map(near, actual, expected)
    variables = {'params': {'scale': scale, 'bias': bias}}
    half = layer.apply(variables, x.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    near(half.astype(jnp.float32), actual[0], 0.1)


def test_norm_by_name():
    x = normal(0, 2, 3)
    np.testing.assert_array_equal(layers.norm('none')(x, True), x)
    np.testing.assert_array_equal(layers.norm('none', relu=True)(x), jnp.maximum(x, 0))
    assert layers.norm('batch', relu=True, epsilon=1e-3) == layers.BatchNorm(True, epsilon=1e-3)


@pytest.mark.parametrize('size', [1, 4, 5])
def test_local_response_norm_is_pytorchs(torch, size):
    x = 3 * normal(0, 2, 3, 3, 7)
    numbers = {'alpha': 0.3, 'beta': 0.6, 'k': 1.5}
    theirs = torch.nn.functional.local_response_norm
    actual = value_and_gradients(lambda x: layers.local_response_norm(x, size, **numbers), x)
    expected = torch_value_and_gradients(
        torch, lambda x: channels_last(theirs(channels_first(x), size, **numbers)), x
    )
    jax.tree.map(lambda a, b: near(a, b, 1e-5), actual, expected)


# Dropout


def drop(x, rate, seed=0, **where):
    with layers.shard(**where):
        return layers.Dropout(rate).apply({}, x, train=True, rngs={'dropout': jax.random.key(seed)})


def test_dropout_mask_does_not_depend_on_how_the_batch_is_split():
    x = jnp.ones((8, 5, 3))
    whole = drop(x, 0.4)
    halves = jnp.concatenate([drop(x[:4], 0.4), drop(x[4:], 0.4, offset=4)])
    np.testing.assert_array_equal(whole, halves)
    offsets = jnp.arange(0, 8, 2)
    microbatches = jax.jit(
        lambda x: lax.map(lambda i: drop(i[0], 0.4, offset=i[1]), (x.reshape(4, 2, 5, 3), offsets))
    )(x)
    np.testing.assert_array_equal(whole, microbatches.reshape(x.shape))
    devices = jax.pmap(lambda x: drop(x, 0.4, offset=2 * lax.axis_index('d'), axis='d'), 'd')
    np.testing.assert_array_equal(whole, devices(x.reshape(4, 2, 5, 3)).reshape(x.shape))
    assert not np.array_equal(whole[:4], whole[4:])
    assert not np.array_equal(whole, drop(x, 0.4, seed=1))


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_dropout_rate_may_be_traced(dtype):
    x = jnp.ones((64, 100), dtype)
    rates = jnp.array([0.0, 0.25, 0.5])
    y = jax.jit(jax.vmap(lambda rate: drop(x, rate)))(rates)
    assert y.dtype == dtype
    near(jnp.mean(y == 0, (1, 2)), rates, 0.02)
    near(jnp.mean(y.astype(jnp.float32), (1, 2)), jnp.ones(3), 0.03)
    np.testing.assert_array_equal(y[1], drop(x, 0.25))


def test_dropout_off():
    x = normal(0, 4, 3)
    np.testing.assert_array_equal(layers.Dropout(0.5).apply({}, x), x)
    np.testing.assert_array_equal(layers.Dropout(0.0).apply({}, x, train=True), x)  # needs no key


# Activations

TORCH_NAMES = {
    'celu': 'celu', 'elu': 'elu', 'gelu_exact': 'gelu', 'hard_sigmoid': 'hardsigmoid',
    'hard_silu': 'hardswish', 'hard_tanh': 'hardtanh', 'leaky_relu': 'leaky_relu',
    'log_sigmoid': 'logsigmoid', 'mish': 'mish', 'relu': 'relu', 'relu6': 'relu6', 'selu': 'selu',
    'sigmoid': 'sigmoid', 'silu': 'silu', 'soft_sign': 'softsign', 'softplus': 'softplus',
    'swish': 'silu', 'tanh': 'tanh',
}  # fmt: skip


@pytest.mark.parametrize('name', layers.get_args(layers.Activation))
def test_activation_is_pytorchs(torch, name):
    special = {
        'gelu': lambda x: torch.nn.functional.gelu(x, approximate='tanh'),
        'identity': lambda x: 1 * x,
        'log_softmax': lambda x: torch.log_softmax(x, -1),
        'softmax': lambda x: torch.softmax(x, -1),
        'squareplus': lambda x: (x + torch.sqrt(x**2 + 4)) / 2,
    }
    theirs = special.get(name) or getattr(torch.nn.functional, TORCH_NAMES[name])
    x = jnp.concatenate([4 * normal(0, 3, 40), jnp.array([[-30.0, 0.1, 30.0]]).T], 1)
    expected = torch_value_and_gradients(torch, theirs, x)
    actual = value_and_gradients(layers.activation(name), x)
    jax.tree.map(lambda a, b: near(a, b, 1e-5), actual, expected)


def test_unknown_activation_is_one_line():
    with pytest.raises(UserError, match=r"unknown activation 'rellu'; did you mean 'relu'\?"):
        layers.activation('rellu')


def test_dense_is_linens():
    x = normal(0, 3, 4)
    variables = nn.Dense(5).init(jax.random.key(0), x)
    np.testing.assert_array_equal(
        layers.Dense(5).apply(variables, x), x @ variables['params']['kernel']
    )
