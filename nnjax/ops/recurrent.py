"""Recurrent cells over whole sequences, with gradients that leave only the recurrence inside of time.

The products with the inputs come before (they need no order), and a weight's gradient is one
product over all steps after, instead of a sum that grows step by step. What remains is, for LSTM
and GRU, a kernel on a CPU (`nnjax.ops.native.recurrent`) and a scan elsewhere.
"""

import jax
import jax.numpy as jnp
from jax import lax

from nnjax.ops.native import recurrent as native
from nnjax.ops.product import product, row_product


@jax.custom_vjp
def lstm(x: jax.Array, w: jax.Array, h: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x [N, T, 4 H], w [H, 4 H], h, c [N, H] -> outputs [N, T, H], last c [N, H].

    x is the inputs' part of the gates i, f, g, o with the bias, w the weights of the recurrent part
    (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000):
    i, f, o = sigmoid, g = tanh, c' = f c + i g, h' = o tanh(c').
    """
    hs, cs, _ = _lstm_forward(x, w, x[0, 0, : w.shape[0]], h, c, static=None)
    return hs[:, 1:], cs[:, -1]


@jax.custom_vjp
def gru(x: jax.Array, w: jax.Array, b: jax.Array, h: jax.Array) -> jax.Array:
    """x [N, T, 3 H], w [H, 3 H], b [H], h [N, H] -> outputs [N, T, H].

    x is the inputs' part of the gates r, z, n with their biases, w the weights of the recurrent
    part, b a bias that the reset gate multiplies (Cho et al., 2014, as linen and PyTorch have it):
    r, z = sigmoid, n = tanh(x_n + r (w_n h + b)), h' = (1 - z) n + z h.
    """
    return _gru_forward(x, w, b, h, h[:, :0], static=None)[0][:, 1:]


@jax.custom_vjp
def simple(x: jax.Array, w: jax.Array, h: jax.Array) -> jax.Array:
    """x [N, T, H], w [H, H], h [N, H] -> outputs [N, T, H]: h' = tanh(x + w h) (Elman, 1990)."""
    return _simple_saved(x, w, h)[0]


def _simple_saved(x, w, h):
    def step(h, x):
        h = jnp.tanh(x + product(h, w))
        return h, h

    hs = _over_time(step, h, x)[1]
    return hs, (w, h, hs)


def _simple_gradients(saved, cotangent):
    w, h, hs = saved

    def step(dh, item):
        after, dout = item
        dx = (dh + dout) * (1 - after * after)
        return product(dx, w.T), dx

    dh, dx = _over_time(step, jnp.zeros_like(h), (hs, cotangent), reverse=True)
    return dx, row_product(_with_first(h, hs[:, :-1]), dx), dh


def _lstm_saved(x, w, h, c):
    hs, cs, gates = _lstm_forward(x, w, x[0, 0, : w.shape[0]], h, c, static=None)
    return (hs[:, 1:], cs[:, -1]), (gates, w, hs, cs)


def _lstm_gradients(saved, cotangents):
    gates, w, hs, cs = saved
    dx, dh, dc = _lstm_backward(gates, w, hs, cs, *cotangents, static=None)
    return dx, row_product(hs[:, :-1], dx), dh, dc


def _gru_saved(x, w, b, h):
    hs, empty, gates = _gru_forward(x, w, b, h, h[:, :0], static=None)
    return hs[:, 1:], (gates, w, hs, empty)


def _gru_gradients(saved, cotangent):
    gates, w, hs, empty = saved
    dgates, dh, _ = _gru_backward(gates, w, hs, empty, cotangent, empty[:, 0], static=None)
    dr, dz, dn, da = jnp.split(dgates, 4, -1)
    dw = row_product(hs[:, :-1], jnp.concatenate([dr, dz, da], -1))
    return jnp.concatenate([dr, dz, dn], -1), dw, jnp.sum(da, (0, 1)), dh


simple.defvjp(_simple_saved, _simple_gradients)
lstm.defvjp(_lstm_saved, _lstm_gradients)
gru.defvjp(_gru_saved, _gru_gradients)


# The recurrences by scans: their values where no kernel serves, and their derivatives everywhere.


def _lstm_scan(x, w, b, h, c):
    del b

    def step(carry, x):
        h, c = carry
        i, f, g, o = jnp.split(x + product(h, w), 4, -1)
        i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
        c = f * c + i * g
        h = o * jnp.tanh(c)
        return (h, c), (h, c, jnp.concatenate([i, f, g, o], -1))

    hs, cs, gates = _over_time(step, (h, c), x)[1]
    return [_with_first(h, hs), _with_first(c, cs), gates]


def _lstm_scan_back(gates, w, hs, cs, dhs, dc):
    def step(carry, item):
        dh, dc = carry
        gates, c, after, dout = item
        i, f, g, o = jnp.split(gates, 4, -1)
        dh = dh + dout
        t = jnp.tanh(after)
        d = dc + dh * o * (1 - t * t)
        parts = d * g * i * (1 - i), d * c * f * (1 - f), d * i * (1 - g * g), dh * t * o * (1 - o)
        dx = jnp.concatenate(parts, -1)
        return (product(dx, w.T), d * f), dx

    items = gates, cs[:, :-1], cs[:, 1:], dhs
    (dh, dc), dx = _over_time(step, (jnp.zeros_like(hs[:, 0]), dc), items, reverse=True)
    return [dx, dh, dc]


def _gru_scan(x, w, b, h, c):
    def step(h, x):
        r, z, n = jnp.split(x, 3, -1)
        wr, wz, wn = jnp.split(product(h, w), 3, -1)
        r, z, a = jax.nn.sigmoid(r + wr), jax.nn.sigmoid(z + wz), wn + b[None]
        n = jnp.tanh(n + r * a)
        h = (1 - z) * n + z * h
        return h, (h, jnp.concatenate([r, z, n, a], -1))

    hs, gates = _over_time(step, h, x)[1]
    return [_with_first(h, hs), jnp.zeros((*hs.shape[:1], hs.shape[1] + 1, 0), x.dtype), gates]


def _gru_scan_back(gates, w, hs, cs, dhs, dc):
    def step(dh, item):
        gates, h, dout = item
        r, z, n, a = jnp.split(gates, 4, -1)
        dh = dh + dout
        dn = dh * (1 - z) * (1 - n * n)
        dr, dz, da = dn * a * r * (1 - r), dh * (h - n) * z * (1 - z), dn * r
        before = dh * z + product(jnp.concatenate([dr, dz, da], -1), w.T)
        return before, jnp.concatenate([dr, dz, dn, da], -1)

    dh, dx = _over_time(step, jnp.zeros_like(hs[:, 0]), (gates, hs[:, :-1], dhs), reverse=True)
    return [dx, dh, dc]


def _over_time(step, carry, items, reverse=False):
    """lax.scan along axis 1 of [N, T, ...]."""
    swap = lambda x: jnp.swapaxes(x, 0, 1)
    carry, results = lax.scan(step, carry, jax.tree.map(swap, items), reverse=reverse)
    return carry, jax.tree.map(swap, results)


def _with_first(first, rest):
    return jnp.concatenate([first[:, None], rest], 1)


_lstm_forward = native.forward('lstm', _lstm_scan)
_lstm_backward = native.backward('lstm', _lstm_scan_back)
_gru_forward = native.forward('gru', _gru_scan)
_gru_backward = native.backward('gru', _gru_scan_back)
