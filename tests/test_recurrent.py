"""LSTM and GRU over sequences: values and every gradient against PyTorch, by kernel and by scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnjax.ops import recurrent
from nnjax.ops.native import library

few = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `kernels` holds for all
)
sizes = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 20))


def normal(seed, *shape):
    return jnp.asarray(0.5 * np.random.default_rng(seed).standard_normal(shape, np.float32))


def value_and_gradients(function, *arguments):
    def weighted(*arguments):
        outputs = jax.tree.leaves(function(*arguments))
        return sum(
            jnp.sum(y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)) for y in outputs
        ), outputs

    # a new function every time: what is compiled with the kernels is not met without
    run = jax.jit(jax.grad(weighted, tuple(range(len(arguments))), has_aux=True))
    gradients, outputs = run(*arguments)
    return [*outputs, *gradients]


def torchs(torch, cell, x, w, h, c, b):
    """The same by PyTorch: identity weights hand the gates' inputs through."""
    gates, hidden = x.shape[-1], w.shape[0]
    leaves = [torch.tensor(np.asarray(a), requires_grad=True) for a in (x, w, h, c, b)]
    x, w, h, c, b = leaves
    zeros = torch.zeros(gates)
    weights = [torch.eye(gates), w.T]
    if cell == 'lstm':
        ys, _, last = torch._VF.lstm(
            x, (h[None], c[None]), [*weights, zeros, zeros], True, 1, 0.0, False, False, True
        )
        outputs, used = [ys, last[0]], [0, 1, 2, 3]
    else:
        bias = torch.cat([torch.zeros(2 * hidden), b])
        ys, _ = torch._VF.gru(x, h[None], [*weights, zeros, bias], True, 1, 0.0, False, False, True)
        outputs, used = [ys], [0, 1, 4, 2]
    total = sum((y * torch.cos(torch.arange(y.numel())).reshape(y.shape)).sum() for y in outputs)
    total.backward()
    return [y.detach().numpy() for y in outputs] + [leaves[i].grad.numpy() for i in used]


def near(actual, expected, tolerance=1e-5):
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * max(1, np.abs(e).max()))


@pytest.mark.usefixtures('kernels')
@few
@given(sizes)
def test_lstm_is_pytorchs(torch, size):
    n, t, k = size
    x, w, h, c = normal(0, n, t, 4 * k), normal(1, k, 4 * k), normal(2, n, k), normal(3, n, k)
    expected = torchs(torch, 'lstm', x, w, h, c, jnp.zeros(k))
    near(value_and_gradients(recurrent.lstm, x, w, h, c), expected)


@pytest.mark.usefixtures('kernels')
@few
@given(sizes)
def test_gru_is_pytorchs(torch, size):
    n, t, k = size
    x, w, b, h = normal(0, n, t, 3 * k), normal(1, k, 3 * k), normal(2, k), normal(3, n, k)
    expected = torchs(torch, 'gru', x, w, h, jnp.zeros((n, k)), b)
    near(value_and_gradients(recurrent.gru, x, w, b, h), expected)


CASES = {
    'lstm': (recurrent.lstm, [(4, 5, 24), (6, 24), (4, 6), (4, 6)]),
    'gru': (recurrent.gru, [(4, 5, 18), (6, 18), (6,), (4, 6)]),
}


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize('cell', CASES)
def test_second_derivatives_are_the_scans(cell):
    function, shapes = CASES[cell]
    arguments = [normal(n, *shape) for n, shape in enumerate(shapes)]

    def plain(*arguments):
        if cell == 'lstm':
            x, w, h, c = arguments
            hs, cs, _ = recurrent._lstm_scan(x, w, h[0], h, c)
            return hs[:, 1:], cs[:, -1]
        x, w, b, h = arguments
        return recurrent._gru_scan(x, w, b, h, h[:, :0])[0][:, 1:]

    def second(function):
        def slope(w):
            loss = lambda w: sum(
                jnp.sum(jnp.sin(y))
                for y in jax.tree.leaves(function(arguments[0], w, *arguments[2:]))
            )
            return jnp.sum(jax.grad(loss)(w) ** 2)

        return jax.jit(jax.grad(slope))(arguments[1])

    near([second(function)], [second(plain)], 1e-4)


@pytest.mark.usefixtures('kernels')
@pytest.mark.parametrize('cell', CASES)
def test_lanes_are_single_runs(cell):
    function, shapes = CASES[cell]
    lanes = [normal(n, 3, *shape) for n, shape in enumerate(shapes)]
    both = lambda *arguments: value_and_gradients(function, *arguments)
    together = jax.vmap(both)(*lanes)
    for number in range(3):
        near([y[number] for y in together], both(*(a[number] for a in lanes)), 1e-6)


@pytest.mark.skipif(library.load().path is None, reason=library.load().why)
@pytest.mark.parametrize('cell', CASES)
def test_the_kernel_is_used_and_not_exported(cell):
    function, shapes = CASES[cell]
    arguments = [normal(n, *shape) for n, shape in enumerate(shapes)]
    both = jax.jit(lambda *a: value_and_gradients(function, *a))
    assert f'nnjax_{cell.title()}Backward' in both.lower(*arguments).as_text()
    exported = jax.export.export(both)(*arguments)
    assert 'nnjax_' not in exported.mlir_module()
    near(exported.call(*arguments), both(*arguments), 1e-4)
    bad = [arguments[0].at[0, 2, 0].set(jnp.nan), *arguments[1:]]
    first = jax.tree.leaves(function(*bad))[0]
    assert np.isfinite(first[0, :2]).all() and not np.isfinite(first[0, 2:]).all()
    assert np.isfinite(first[1:]).all()


@pytest.mark.parametrize('cell', CASES)
def test_bfloat16_is_served_by_the_scan(cell):
    function, shapes = CASES[cell]
    arguments = [normal(n, *shape) for n, shape in enumerate(shapes)]
    narrow = function(*(a.astype(jnp.bfloat16) for a in arguments))
    for a, e in zip(jax.tree.leaves(narrow), jax.tree.leaves(function(*arguments)), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), e, atol=5e-2)
