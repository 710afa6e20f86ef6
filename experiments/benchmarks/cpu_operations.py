"""Speed of single operations on the CPU, with nnjax's kernels and without, against the machine's limit.

  python experiments/benchmarks/cpu_operations.py [--rounds=15] [--dtype=float32]

The limit is the best that a large matrix product reaches here, by the kernels. Every figure is from a loop
inside one program, so that no call is counted, only work; the two ways take turns, medians count.
"""

import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax import lax

from nnjax.ops import normalize, pool, recurrent
from nnjax.ops.convolution import convolution
from nnjax.ops.native import convolution as conv
from nnjax.ops.native import library
from nnjax.ops.native import matmul as mat
from nnjax.ops.native import pool as pools

ROUNDS = flags.DEFINE_integer('rounds', 15, 'turns of every operation')
DTYPE = flags.DEFINE_enum('dtype', 'float32', ['float32', 'bfloat16'], 'of the operands')

REPEATS = 5  # in one program
BATCH = 64


def cases(dtype):
    """Yields (name, FLOPs, native, stock, operands); native and stock are functions of the operands."""
    ones = functools.partial(jnp.ones, dtype=dtype)
    for side, inside, outside in ((28, 1, 32), (28, 32, 32), (14, 64, 64), (7, 128, 128)):
        x, w = ones((BATCH, side, side, inside)), ones((3, 3, inside, outside))
        y = ones((BATCH, side, side, outside))
        geometry = conv.Geometry((1, 1), (1, 1), (1, 1), (1, 1), (side, side), (3, 3), 1)
        flops = 2 * y.size * 9 * inside
        operations = {'forward': ('y', x, w), 'data': ('x', y, w), 'weights': ('w', x, y)}
        for name, (result, a, b) in operations.items():
            if inside == 1 and name == 'data':
                continue  # nobody needs the gradient of an image
            kernel = {'x': conv._X, 'w': conv._W, 'y': conv._Y}[result]
            label = f'convolution {side}x{side}x{inside} to {outside}, {name}'
            stock = functools.partial(conv._stock, result)
            yield label, flops, kernel, stock, a, b, geometry
    for rows, depth, columns in ((64, 784, 64), (64, 256, 1024), (4096, 256, 1024)):
        a, b, c = ones((rows, depth)), ones((depth, columns)), ones((rows, columns))
        for form, kernel, one, two in (
            ('forward', mat._NN, a, b),
            ('data', mat._NT, c, b),
            ('weights', mat._TN, a, c),
        ):
            kind = {'forward': 'nn', 'data': 'nt', 'weights': 'tn'}[form]
            label = f'product {rows}x{depth}x{columns}, {form}'
            stock = functools.partial(mat._stock, kind)
            yield label, 2 * rows * depth * columns, kernel, stock, one, two, None


def timer(function, a, b, static):
    """-> a function that gives the seconds of one call, on average over a loop of them."""

    @jax.jit
    def many(a, b):
        def body(_, pair):  # the next call depends on the last, so none is dropped
            a, b = pair
            nothing = (0 * function(a, b, static).ravel()[0]).astype(b.dtype)
            return (a, b + nothing) if b.size < a.size else (a + nothing, b)

        return lax.fori_loop(0, REPEATS, body, (a, b))

    jax.block_until_ready(many(a, b))

    def once() -> float:
        began = time.perf_counter()
        jax.block_until_ready(many(a, b))
        return (time.perf_counter() - began) / REPEATS

    return once


def medians(*timers) -> list[float]:
    """Median seconds of each, turn by turn."""
    taken = [[timer() for timer in timers] for _ in range(ROUNDS.value)]
    return [statistics.median(times) for times in zip(*taken, strict=True)]


def both_ways(dtype):
    """Yields (name, ours, another, operands): functions that are run forward and backward."""
    ones = functools.partial(jnp.ones, dtype=dtype)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((BATCH, 28, 28, 32)), dtype)
    scale = jnp.ones(32)
    ours = lambda x, s: normalize.batch_norm(x, s, s, relu=True)[0]

    def plain(x, s):
        wide = x.astype(jnp.float32)
        mean, square = jnp.mean(wide, (0, 1, 2)), jnp.mean(wide * wide, (0, 1, 2))
        gain = s * lax.rsqrt(square - mean * mean + 1e-5)
        return jax.nn.relu((wide - mean) * gain + s).astype(dtype)

    yield 'batch norm and relu 28x28x32', ours, plain, (x, scale)
    for stride in (1, 2):
        geometry = pools.Geometry((3, 3), (stride, stride), (1, 1), (1, 1), (28, 28))
        ours = functools.partial(pool.max_pool, window=3, strides=stride, padding=((1, 1), (1, 1)))
        stock = lambda x, g=geometry: pools._stock(x, static=g)[0]
        yield f'max pool 3x3, stride {stride}, 28x28x32', ours, stock, (x,)
    w, b = ones((3, 3, 32, 32)), ones(32)
    alone = lambda x, w, b: convolution(x, w, (1, 1), 'SAME')
    more = lambda x, w, b: jax.nn.relu(alone(x, w, b) + b)
    yield 'convolution alone; with bias and relu', alone, more, (x, w, b)
    if dtype != jnp.float32:
        return
    hidden = 256
    x, w = ones((BATCH, 64, 4 * hidden)) * 0.1, ones((hidden, 4 * hidden)) * 0.01
    zeros = jnp.zeros((BATCH, hidden))
    kernel = lambda x, w: recurrent.lstm(x, w, zeros, zeros)[0]
    scan = lambda x, w: recurrent._lstm_scan(x, w, zeros[0], zeros, zeros)[0][:, 1:]
    yield 'LSTM, 64 steps of 256', kernel, scan, (x, w)


def gradient_timer(function, operands):
    """-> a function that gives the seconds of one forward and backward pass."""

    @jax.jit
    def run(*operands):
        y, pull = jax.vjp(function, *operands)
        return y, pull(y)

    jax.block_until_ready(run(*operands))

    def once() -> float:
        began = time.perf_counter()
        jax.block_until_ready(run(*operands))
        return time.perf_counter() - began

    return once


def main(_):
    if why := library.load().why:
        raise SystemExit(f'no kernels here: {why}')
    dtype = jnp.dtype(DTYPE.value)
    rows, depth, columns = 4096, 256, 1024
    a, b = jnp.ones((rows, depth), dtype), jnp.ones((depth, columns), dtype)
    (seconds,) = medians(timer(mat._NN, a, b, None))
    limit = 2 * rows * depth * columns / seconds / 1e9
    print(f'{DTYPE.value}; limit {limit:.0f} GFLOP/s\n')
    print(f'{"operation":<44} {"kernel":>8} {"XLA":>8}  {"ratio":>6}  {"of limit":>8}')
    for label, flops, kernel, stock, a, b, static in cases(dtype):
        ours, xla = medians(timer(kernel, a, b, static), timer(stock, a, b, static))
        rate = flops / ours / 1e9
        print(
            f'{label:<44} {rate:8.0f} {flops / xla / 1e9:8.0f}  {xla / ours:5.1f}x  {rate / limit:8.0%}',
            flush=True,
        )
    print(f'\n{"forward and backward":<44} {"kernel":>8} {"XLA":>8}')
    for label, *functions, operands in both_ways(dtype):
        ours, xla = medians(*(gradient_timer(f, operands) for f in functions))
        print(f'{label:<44} {1e3 * ours:6.2f}ms {1e3 * xla:6.2f}ms  {xla / ours:5.2f}x', flush=True)


if __name__ == '__main__':
    app.run(main)
