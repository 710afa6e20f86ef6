"""What Transformers are made of: attention to itself and to a memory, norms, blocks."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from nnjax.models import layers
from nnjax.ops.attention import attention, rotated

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
        self, x: jax.Array, places: Places, cache: Cache | None = None
    ) -> tuple[jax.Array, Cache | None]:
        """With a cache of the keys and values before, x [N, 1, D] is the next of each row."""
        width, heads, groups = x.shape[-1], self.heads, self.groups
        dense = partial(layers.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        x = dense((heads + 2 * groups) * (width // heads), name='qkv')(x)
        x = x.reshape(*x.shape[:2], -1, width // heads)
        q, k, v = x[:, :, :heads], x[:, :, heads : heads + groups], x[:, :, heads + groups :]
        if self.rotary:
            q, k = rotated(q, places.positions), rotated(k, places.positions)
        if cache is not None:
            cache = _written(cache, {'key': k, 'value': v}, places.positions[:, 0])
            k, v = cache['key'], cache['value']
        y = attention(q, k, v, places.lengths, places.segments, self.causal and cache is None)
        return dense(width, name='proj')(y.reshape(*y.shape[:2], width)), cache


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

    def remember(self, memory: jax.Array) -> Cache:
        """memory [N, S, D] -> its keys and values [N, S, G, D / H]."""
        both = self.key_value(memory)
        both = both.reshape(*memory.shape[:2], 2 * self.groups, -1)
        return {'key': both[:, :, : self.groups], 'value': both[:, :, self.groups :]}

    def __call__(self, x: jax.Array, remembered: Cache, lengths: jax.Array | None) -> jax.Array:
        """Of x, N may be a multiple of the memory's rows: so many in turn attend to each of them."""
        k, v = remembered['key'], remembered['value']
        q = self.query(x).reshape(len(k), -1, self.heads, self.width // self.heads)
        return self.proj(attention(q, k, v, lengths).reshape(x.shape))


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
        remembered = None if memory is None else self.remember(memory)
        return self._parts(x, places, remembered, lengths, train)[0]

    def remember(self, memory: jax.Array) -> Cache:
        """A memory [N, S, D] as `step` reads it."""
        return self.memory.remember(memory)

    def step(
        self,
        x: jax.Array,
        places: Places,
        cache: Cache,
        remembered: Cache | None = None,
        lengths: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache]:
        """x [N, 1, D], the next of each row, and the cache before it -> the same after it."""
        return self._parts(x, places, remembered, lengths, False, cache)

    def _parts(self, x, places, remembered, lengths, train, cache=None):
        y, cache = self.attention(self._read(self.norm1, x), places, cache)
        x = self._added(self.norm1, x, y, train)
        if self.cross:
            y = self.memory(self._read(self.norm3, x), remembered, lengths)
            x = self._added(self.norm3, x, y, train)
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


def _written(cache: Cache, new: Cache, positions: jax.Array) -> Cache:
    """Arrays [N, 1, ...] put into those of the cache [N, L, ...] at each row's position [N]."""
    rows = jnp.arange(len(positions))
    return {n: cache[n].at[rows, positions].set(new[n][:, 0]) for n in cache}
