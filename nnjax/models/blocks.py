"""What Transformers are made of: attention to itself and to a memory, norms, blocks."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from nnjax.models import layers
from nnjax.ops.attention import attend, attention, rotated

Norm = Literal['layer', 'rms']
Order = Literal['pre', 'post']
Activation = Literal['relu', 'gelu', 'gelu_exact', 'silu', 'swiglu']
Cache = dict[str, jax.Array]


class Places(NamedTuple):
    """Where the positions of some rows stand, and which of them are one text.

    Attributes:
      positions: int32 [1 or N, T], counted from the start of a text.
      lengths: int32 [N], how many positions are real, or None for all.
      segments: int32 [N, T], the text that a position of a packed row belongs to, or None.
    """

    positions: jax.Array
    lengths: jax.Array | None = None
    segments: jax.Array | None = None


class Moment(NamedTuple):
    """Where the next token of each text stands, when K texts of a row are written side by side.

    The keys and values of a row's texts share one cache, each text with places of its own, and say
    which of them they see: so texts that begin alike hold their beginning once, in anyone's places.

    Attributes:
      positions: int32 [N K, 1], counted from the start of a text.
      slots: int32 [N K], the place in the cache of its row that a text writes to.
      mask: bool [N, K, S], the places that a text sees, its new one among them.
    """

    positions: jax.Array
    slots: jax.Array
    mask: jax.Array


class RMSNorm(nn.Module):
    """x [..., C] divided by the root of its mean square (Zhang and Sennrich, 2019), and scaled."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param('scale', nn.initializers.ones, x.shape[-1:], jnp.float32)
        y = x.astype(jnp.float32)
        y = y * lax.rsqrt(jnp.mean(jnp.square(y), -1, keepdims=True) + self.epsilon)
        return (y * scale.reshape((1,) * (x.ndim - 1) + scale.shape)).astype(x.dtype)


NORMS = {'layer': layers.LayerNorm, 'rms': RMSNorm}


class Attention(nn.Module):
    """x [N, T, D] -> the same shape: every position attends to its row.

    Attributes:
      heads: number of heads, which divides D.
      groups: number of heads of keys and values, which divides `heads`.
      causal: whether a position sees itself and those before only.
      rotary: whether queries and keys are turned by their positions.
      kernel_init: initial values of the products' weights.
      dtype: of the computation.
    """

    heads: int
    groups: int
    causal: bool
    rotary: bool
    kernel_init: Callable
    dtype: Any

    @nn.compact
    def __call__(
        self, x: jax.Array, places: Places | Moment, cache: Cache | None = None
    ) -> tuple[jax.Array, Cache | None]:
        """With a cache of the keys and values before, x [N K, 1, D] is at its moment."""
        width, heads, groups = x.shape[-1], self.heads, self.groups
        dense = partial(layers.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        x = dense((heads + 2 * groups) * (width // heads), name='qkv')(x)
        x = x.reshape(*x.shape[:2], -1, width // heads)
        q, k, v = x[:, :, :heads], x[:, :, heads : heads + groups], x[:, :, heads + groups :]
        if self.rotary:
            q, k = rotated(q, places.positions), rotated(k, places.positions)
        if cache is None:
            y = attention(q, k, v, places.lengths, places.segments, self.causal)
        else:
            cache = _written(cache, k[:, 0], v[:, 0], places.slots)
            y = _recalled(q, cache, places.mask)
        return dense(width, name='proj')(y.reshape(*x.shape[:2], width)), cache


class Cross(nn.Module):
    """x [N, T, D] -> the same shape: every position attends to a memory. Fields as `Attention`."""

    width: int
    heads: int
    groups: int
    kernel_init: Callable
    dtype: Any

    def setup(self):
        dense = partial(layers.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        self.query, self.proj = dense(self.width), dense(self.width)
        self.key_value = dense(2 * self.groups * (self.width // self.heads))

    def __call__(self, x: jax.Array, memory: jax.Array, lengths: jax.Array | None) -> jax.Array:
        """memory [N, S, D], lengths [N]."""
        y = attention(self._queries(x), *self._keys(memory), lengths)
        return self.proj(y.reshape(x.shape))

    def remember(self, memory: jax.Array) -> Cache:
        """memory [N, S, D] -> its keys and values as `recall` reads them."""
        k, v = self._keys(memory)
        return {'key': k.transpose(0, 2, 3, 1), 'value': v.transpose(0, 2, 1, 3)}

    def recall(self, x: jax.Array, remembered: Cache, lengths: jax.Array | None) -> jax.Array:
        """x [N K, 1, D]: K texts attend to each memory."""
        places = jnp.arange(remembered['value'].shape[2])[None, None]
        mask = None if lengths is None else places < lengths[:, None, None]
        return self.proj(_recalled(self._queries(x), remembered, mask).reshape(x.shape))

    def _queries(self, x):
        return self.query(x).reshape(*x.shape[:2], self.heads, -1)

    def _keys(self, memory):
        both = self.key_value(memory).reshape(*memory.shape[:2], 2 * self.groups, -1)
        return both[:, :, : self.groups], both[:, :, self.groups :]


class Block(nn.Module):
    """x [N, T, D] -> the same shape: attention, attention to a memory if `cross`, a hidden layer.

    Attributes:
      width: D.
      heads, groups, causal, rotary, kernel_init, dtype: those of `Attention`.
      hidden: numbers of the hidden layer; with 'swiglu' of each of its two halves.
      activation: of the hidden layer; swiglu multiplies silu of one half with the other (Shazeer).
      norm, order, epsilon: normalises, by NORMS, what each part reads ('pre': Xiong et al., 2020)
        or the sum of what it read and what it gives ('post').
      dropout: share dropped of what each part gives and of the hidden layer.
      cross: whether there is a memory.
    """

    width: int
    heads: int
    hidden: int
    activation: Activation = 'gelu'
    dropout: float = 0.0
    groups: int | None = None
    causal: bool = False
    cross: bool = False
    rotary: bool = False
    norm: Norm = 'layer'
    order: Order = 'pre'
    epsilon: float = 1e-5
    kernel_init: Callable = nn.initializers.xavier_uniform()
    dtype: Any = None

    def setup(self):
        groups, norm = self.groups or self.heads, partial(NORMS[self.norm], epsilon=self.epsilon)
        self.drop = layers.Dropout(self.dropout)
        self.attention = Attention(
            self.heads, groups, self.causal, self.rotary, self.kernel_init, self.dtype
        )
        self.norm1, self.norm2 = norm(), norm()
        if self.cross:
            self.memory = Cross(self.width, self.heads, groups, self.kernel_init, self.dtype)
            self.norm3 = norm()
        dense = partial(layers.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        self.dense1 = dense((1 + (self.activation == 'swiglu')) * self.hidden)
        self.dense2 = dense(self.width)

    def __call__(
        self,
        x: jax.Array,
        places: Places,
        train: bool = False,
        memory: jax.Array | None = None,
        lengths: jax.Array | None = None,
    ) -> jax.Array:
        """memory [N, S, D] with `lengths` [N], where there is one."""
        recalled = lambda x: self.memory(x, memory, lengths)
        return self._parts(x, places, recalled, train)[0]

    def remember(self, memory: jax.Array) -> Cache:
        """A memory [N, S, D] as `step` reads it."""
        return self.memory.remember(memory)

    def step(
        self,
        x: jax.Array,
        moment: Moment,
        cache: Cache,
        remembered: Cache | None = None,
        lengths: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache]:
        """x [N K, 1, D], the next of each text, and the cache before it -> the same after it."""
        recalled = lambda x: self.memory.recall(x, remembered, lengths)
        return self._parts(x, moment, recalled, False, cache)

    def _parts(self, x, places, recalled, train, cache=None):
        y, cache = self.attention(self._read(self.norm1, x), places, cache)
        x = self._added(self.norm1, x, y, train)
        if self.cross:
            x = self._added(self.norm3, x, recalled(self._read(self.norm3, x)), train)
        y = self.dense1(self._read(self.norm2, x))
        if self.activation == 'swiglu':
            gate, y = jnp.split(y, 2, -1)
            y = jax.nn.silu(gate) * y
        else:
            y = layers.activation(self.activation)(y)
        y = self.dense2(self.drop(y, train))
        return self._added(self.norm2, x, y, train), cache

    def _read(self, norm, x):
        return norm(x) if self.order == 'pre' else x

    def _added(self, norm, x, y, train):
        x = x + self.drop(y, train)
        return x if self.order == 'pre' else norm(x)


def empty(rows: int, groups: int, width: int, length: int, dtype: Any) -> Cache:
    """Keys [N, G, D, S] and values [N, G, S, D] of no token yet, in the order `attend` has them."""
    shapes = {'key': (width, length), 'value': (length, width)}
    return {n: jnp.zeros((rows, groups, *shape), dtype) for n, shape in shapes.items()}


def _written(cache: Cache, k: jax.Array, v: jax.Array, slots: jax.Array) -> Cache:
    """k, v [N K, G, D] put into the cache of their row at the places `slots` [N K]."""
    row = jnp.arange(len(slots)) // (len(slots) // len(cache['key']))
    return {
        'key': cache['key'].at[row, :, :, slots].set(k),
        'value': cache['value'].at[row, :, slots].set(v),
    }


def _recalled(q: jax.Array, cache: Cache, mask: jax.Array | None) -> jax.Array:
    """q [N K, 1, H, D] -> [N, K, H, D]: the texts of a row look into its cache together."""
    q = q.reshape(len(cache['key']), -1, *q.shape[2:])
    return attend(q, cache['key'], cache['value'], mask)
