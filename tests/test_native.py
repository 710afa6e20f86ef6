"""The compiled CPU kernels: right against float64, at home in JAX, safe, and absent in one line."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from jax.sharding import AxisType, PartitionSpec

import nnjax
from nnjax import models
from nnjax.config import bind
from nnjax.ops.convolution import convolution
from nnjax.ops.native import library, winograd
from nnjax.ops.product import product
from nnjax.training import runner
from tests.test_train import config, difference

needs_kernels = pytest.mark.skipif(library.load().path is None, reason=library.load().why)
few = settings(max_examples=12, deadline=None, derandomize=True)
TOLERANCE = {'float32': 1e-5, 'bfloat16': 1e-2}


def normal(seed, shape, dtype='float32'):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def exact(function, *arguments):
    """A function's value and gradients in float64, of arguments as they are rounded here."""
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a, np.float64)) for a in arguments]
        return jax.device_get(value_and_gradients(function, *wide))


def value_and_gradients(function, *arguments):
    @jax.jit
    def both(*arguments):
        y, pull = jax.vjp(function, *arguments)
        weights = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).astype(jnp.bfloat16)
        return y, *pull(weights.reshape(y.shape).astype(y.dtype))

    return both(*arguments)


def assert_close(actual, expected, dtype):
    """Error relative to the largest entry."""
    for a, e in zip(actual, expected, strict=True):
        a = np.asarray(a, np.float64)
        assert a.shape == e.shape
        assert np.max(np.abs(a - e), initial=0) <= TOLERANCE[dtype] * np.max(
            np.abs(e), initial=1e-30
        )


@st.composite
def convolutions(draw):
    rank = draw(st.sampled_from([1, 2]))

    def axes(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    groups, inside, outside = draw(
        st.sampled_from([(1, 1, 8), (1, 3, 5), (1, 16, 32), (2, 4, 3), (6, 1, 1), (16, 1, 2)])
    )
    pads = [draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(rank)]
    fields = dict(
        strides=axes(1, 3),
        padding=draw(st.sampled_from(['SAME', 'VALID', pads])),
        kernel_dilation=axes(1, 2),
        groups=groups,
    )
    x = (draw(st.integers(1, 5)), *axes(6, 12), groups * inside)
    return x, (*axes(1, 3), inside, groups * outside), fields


@needs_kernels
@few
@given(convolutions(), st.sampled_from(['float32', 'bfloat16']))
def test_convolution_is_exact(case, dtype):
    x_shape, w_shape, fields = case
    x, w = normal(0, x_shape, dtype), normal(1, w_shape, dtype)
    assert 'convolution_y' in str(jax.make_jaxpr(lambda x, w: convolution(x, w, **fields))(x, w))

    def stock(x, w):
        letters = 'xy'[: x.ndim - 2]
        return lax.conv_general_dilated(
            x,
            w,
            fields['strides'],
            fields['padding'],
            rhs_dilation=fields['kernel_dilation'],
            feature_group_count=fields['groups'],
            dimension_numbers=(f'N{letters}C', f'{letters}IO', f'N{letters}C'),
        )

    actual = value_and_gradients(lambda x, w: convolution(x, w, **fields), x, w)
    assert all(a.dtype == dtype for a in actual)
    assert_close(actual, exact(stock, x, w), dtype)


@needs_kernels
@few
@given(
    st.tuples(st.integers(1, 5), st.integers(3, 11), st.integers(3, 11)),
    st.sampled_from([(32, 48), (48, 32), (64, 64)]),
    st.tuples(*[st.integers(0, 2)] * 4),
    st.sampled_from([1, 3]),
)
def test_fewer_products_are_exact(shape, channels, pads, threads):
    """Whatever is cut off a tile, by images of odd sides or by padding, and however work is shared."""
    x, w = normal(0, (*shape, channels[0])), normal(1, (3, 3, *channels))
    pads = [pads[:2], pads[2:]]
    slide = lambda x, w: convolution(x, w, (1, 1), pads)
    stock = lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, 'FEWEST', 1)
        patch.setattr(winograd, 'SAVED', 0)
        patch.setattr(library, 'PIECE', 1)
        patch.setattr(library, 'threads', lambda: threads)
        jax.clear_caches()
        program = jax.jit(lambda x, w: value_and_gradients(slide, x, w)).lower(x, w).as_text()
        for target in ('WinogradY', 'WinogradX', 'WinogradW'):
            assert target in program
        assert_close(value_and_gradients(slide, x, w), exact(stock, x, w), 'float32')


@needs_kernels
@few
@given(st.tuples(*(st.integers(1, 70) for _ in range(3))), st.sampled_from(['float32', 'bfloat16']))
def test_product_is_exact(sizes, dtype):
    rows, depth, columns = sizes
    x, w = normal(0, (rows, depth), dtype), normal(1, (depth, columns), dtype)
    assert 'matmul_nn' in str(jax.make_jaxpr(product)(x, w))
    assert_close(value_and_gradients(product, x, w), exact(jnp.matmul, x, w), dtype)


@needs_kernels
@pytest.mark.parametrize('threads', ['1', '2', '5'])
def test_any_number_of_threads(threads, monkeypatch):
    monkeypatch.setattr(library, 'PIECE', 1)
    monkeypatch.setattr(library, 'threads', lambda: int(threads))
    x, w = normal(0, (7, 9, 9, 3)), normal(1, (3, 3, 3, 8))
    slide = lambda x, w: convolution(x, w, (1, 1), 'SAME')
    stock = lambda x, w: lax.conv_general_dilated(
        x, w, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    assert_close(value_and_gradients(slide, x, w), exact(stock, x, w), 'float32')
    a, b = normal(2, (7, 30)), normal(3, (30, 20))
    actual = value_and_gradients(lambda a, b: product(a, b), a, b)
    assert_close(actual, exact(jnp.matmul, a, b), 'float32')


def slide(x, w):
    return convolution(x, w, (2, 1), ((1, 0), (1, 1)))


X, W = (8, 9, 9, 4), (3, 3, 4, 8)


@needs_kernels
def test_lanes():
    """Examples fold into the batch; lanes with weights of their own run one after another."""
    xs, ws = normal(0, (3, *X)), normal(1, (3, *W))
    folded = jax.make_jaxpr(jax.vmap(slide, (0, None)))(xs, ws[0])
    assert 'scan' not in str(folded) and 'convolution_y' in str(folded)
    one_by_one = np.stack([slide(x, ws[0]) for x in xs])
    np.testing.assert_array_equal(jax.vmap(slide, (0, None))(xs, ws[0]), one_by_one)
    gradient = jax.grad(lambda x, w: jnp.sum(jnp.sin(slide(x, w))), (0, 1))
    lanes = jax.vmap(gradient)(xs, ws)
    for number in range(3):
        jax.tree.map(
            np.testing.assert_array_equal,
            jax.tree.map(lambda a, n=number: a[n], lanes),
            gradient(xs[number], ws[number]),
        )


@needs_kernels
@pytest.mark.parametrize('check', [True, False])
def test_shards(check):
    """Under shard_map over eight devices, with its check of what varies and without."""
    x, w = normal(0, X), normal(1, W)
    loss = lambda w, x: jnp.sum(jnp.sin(slide(x, w)))
    mesh = jax.make_mesh((8,), ('d',), axis_types=(AxisType.Auto,))

    def gradient(w, x):
        found = jax.grad(loss)(w, x)
        return found if check else lax.psum(found, 'd')  # checked, JAX adds the psum itself

    sharded = jax.shard_map(
        gradient,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec('d')),
        out_specs=PartitionSpec(),
        check_vma=check,
    )
    np.testing.assert_allclose(jax.jit(sharded)(w, x), jax.grad(loss)(w, x), atol=1e-4)


@needs_kernels
def test_an_exported_program_needs_no_kernel():
    x, w = normal(0, X), normal(1, W)
    both = jax.jit(lambda x, w: value_and_gradients(slide, x, w))
    exported = jax.export.export(both, platforms=['cpu', 'cuda', 'tpu'])(x, w)
    assert 'nnjax_' not in exported.mlir_module()
    assert 'nnjax_' in both.lower(x, w).as_text()
    for actual, expected in zip(exported.call(x, w), both(x, w), strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-4)


@needs_kernels
def test_many_threads_at_once():
    """Calls from several threads give, bit by bit, what they give alone."""
    cases = [(normal(n, (2 + n, 8, 8, 4)), normal(n, W)) for n in range(4)]
    gradient = jax.jit(jax.grad(lambda x, w: jnp.sum(jnp.sin(slide(x, w))), (0, 1)))
    alone = [jax.device_get(gradient(*case)) for case in cases]
    wrong = []

    def work(number):
        for turn in range(60):
            case = (number + turn) % len(cases)
            found = jax.device_get(gradient(*cases[case]))
            if not all(map(np.array_equal, found, alone[case])):
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_kernels
@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_pass_through(bad):
    x = normal(0, X).at[2, 4, 4, 1].set(bad)
    y = np.asarray(slide(x, normal(1, W)))
    assert not np.isfinite(y[2]).all()
    assert np.isfinite(np.delete(y, 2, 0)).all()


@pytest.mark.parametrize(
    'x, w',
    [
        (jnp.zeros((0, 9, 9, 4)), jnp.zeros(W)),
        (jnp.zeros(X, jnp.float16), jnp.zeros(W, jnp.float16)),
        (jnp.zeros((2, 5, 5, 5, 4)), jnp.zeros((2, 2, 2, 4, 8))),
    ],
    ids=['empty', 'float16', '3-D'],
)
def test_what_the_kernels_do_not_serve_is_the_stocks(x, w):
    run = lambda x, w: convolution(x, w, (1,) * (x.ndim - 2), 'VALID')
    assert 'convolution_y' not in str(jax.make_jaxpr(run)(x, w))
    assert run(x, w).shape[0] == len(x)
    assert 'matmul_nn' not in str(
        jax.make_jaxpr(product)(x[..., :0], w[..., 0, :0, :].reshape(0, 8))
    )


@needs_kernels
def test_what_onednn_refuses_is_the_stocks(monkeypatch):
    class Refusing:
        def ConvolutionScratch(self, _):
            return -1

    kernels = library.load()
    x, w = normal(0, X), normal(1, W)
    expected = slide(x, w)
    refusing = library.Library(kernels.path, '', kernels.tag, Refusing())
    monkeypatch.setattr(library, 'load', lambda: refusing)
    lowered = jax.jit(lambda x, w: slide(x, w)).lower(x, w)
    assert 'nnjax_' not in lowered.as_text()
    np.testing.assert_allclose(lowered.compile()(x, w), expected, atol=1e-4)


@needs_kernels
def test_an_error_names_the_shapes():
    call = jax.ffi.ffi_call(
        f'nnjax_MatmulNN_{library.load().tag}',
        (jax.ShapeDtypeStruct((2, 4), jnp.float16), jax.ShapeDtypeStruct((0,), jnp.uint8)),
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match=r'\[2, 3\] and \[3, 4\].*bfloat16'):
        call(jnp.ones((2, 3), jnp.float16), jnp.ones((3, 4), jnp.float16), pieces=np.int64(1))


@pytest.mark.slow
@needs_kernels
def test_training_is_the_stocks_to_float_noise(monkeypatch):
    c = config(
        model=bind(models.CNN, channels=(8, 16), padding='SAME', dense=(16,)), total='8 steps'
    )
    with_kernels = nnjax.train(c)
    monkeypatch.setattr(library, 'load', lambda: library.Library(None, 'turned off'))
    runner.forget()
    try:
        without = nnjax.train(c)
    finally:
        runner.forget()
    assert 0 < difference(with_kernels.state.params, without.state.params) < 1e-4
    for a, b in zip(with_kernels.records, without.records, strict=True):
        assert a['loss'] == pytest.approx(b['loss'], rel=1e-4)


def test_absence_is_said_in_one_line(monkeypatch, tmp_path):
    load = library._load.__wrapped__
    monkeypatch.setenv('NNJAX_NATIVE', '0')
    assert load().why == 'NNJAX_NATIVE=0 turns them off'
    monkeypatch.delenv('NNJAX_NATIVE')
    with monkeypatch.context() as patch:
        patch.setattr(library.platform, 'system', lambda: 'Darwin')
        assert 'Linux on x86-64' in load().why
    with monkeypatch.context() as patch:
        patch.setattr(library, 'PACKAGES', ('no-such-package', 'nor-this'))
        assert 'pip install no-such-package nor-this' in load().why
    if library.load().path is None:
        return
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(library.shutil, 'which', lambda name: None)
        assert 'install g++' in load().why
    monkeypatch.setenv('CXX', 'false')
    assert 'could not build them' in load().why
    monkeypatch.setenv('NNJAX_CACHE_DIR', str(tmp_path / 'file'))
    (tmp_path / 'file').write_text('')
    assert 'could not be built' in load().why
    assert not list(tmp_path.rglob('*.so*'))


def test_threads_respect_the_process(monkeypatch):
    monkeypatch.setattr(library.os, 'sched_getaffinity', lambda _: {0, 1, 2, 3})
    for text, threads in {'': 4, '2': 2, '3,1': 3, '9': 4, '0': 4, 'x': 4}.items():
        monkeypatch.setenv('OMP_NUM_THREADS', text)
        assert library.threads() == threads
    assert library.pieces(rows=100, flops=10**9) == 4
    assert library.pieces(rows=3, flops=10**9) == 3
    assert library.pieces(rows=100, flops=10) == 1
