"""The one door through which every model reaches a convolution, a matrix product or a pool.

Parameters have linen's names, shapes and initial values, so a linen checkpoint fits.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import unknown
from nnjax.ops import normalize, pool
from nnjax.ops import shard as shards
from nnjax.ops.convolution import convolution
from nnjax.ops.product import product

max_pool = pool.max_pool
avg_pool = pool.avg_pool
adaptive_avg_pool = pool.adaptive_avg_pool
local_response_norm = normalize.local_response_norm
shard = shards.shard

Norm = Literal['batch', 'layer', 'group', 'none']
he_normal = nn.initializers.he_normal()  # keeps the variance through relu (He et al., 2015)

Activation = Literal[
    'celu', 'elu', 'gelu', 'gelu_exact', 'hard_sigmoid', 'hard_silu', 'hard_tanh', 'identity',
    'leaky_relu', 'log_sigmoid', 'log_softmax', 'mish', 'relu', 'relu6', 'selu', 'sigmoid', 'silu',
    'soft_sign', 'softmax', 'softplus', 'squareplus', 'swish', 'tanh',
]  # fmt: skip


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The function of this name in jax.nn; softmax and log_softmax are over the last axis.

    'gelu' is the approximation by tanh, as in jax.nn and GPT-2: within 5e-4 of 'gelu_exact', which
    is PyTorch's default, and faster.

    Raises:
      UserError: jax.nn has no such activation.
    """
    if name not in get_args(Activation):
        raise unknown('activation', name, get_args(Activation))
    if name == 'gelu_exact':
        return partial(jax.nn.gelu, approximate=False)
    return getattr(jax.nn, name)


def _linen_convolution(
    x, kernel, strides, padding, *, lhs_dilation, rhs_dilation, dimension_numbers,
    feature_group_count, precision,
):  # fmt: skip
    """`convolution` with the arguments linen gives; its dimension numbers are channels last."""
    del dimension_numbers
    return convolution(
        x,
        kernel,
        strides,
        padding,
        input_dilation=lhs_dilation,
        kernel_dilation=rhs_dilation,
        groups=feature_group_count,
        precision=precision,
    )


def _linen_product(x, kernel, dimension_numbers, precision=None, **options):
    """`product` with the arguments linen's Dense gives: x [..., K], kernel [K, N]."""
    del dimension_numbers
    return product(x, kernel, precision=precision, **options)


class Dense(nn.Dense):
    """linen's Dense, every field of it, on nnjax's matrix product."""

    dot_general: Callable[..., jax.Array] = _linen_product


class Conv(nn.Conv):
    """linen's Conv, every field and padding mode of it, on nnjax's convolution."""

    conv_general_dilated: Callable[..., jax.Array] = _linen_convolution


class Bias(nn.Module):
    """Adds a parameter 'bias' [C], zeros at first, to x [..., C]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        bias = self.param('bias', nn.initializers.zeros, x.shape[-1:]).astype(x.dtype)
        return x + bias.reshape((1,) * (x.ndim - 1) + bias.shape)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with linen's parameters and statistics.

    In training the statistics are those of the batch's examples, of all devices together; their
    moving averages, in the collection 'batch_stats', serve elsewhere.

    Attributes:
      relu: whether the positive part is taken, which costs nothing here.
      pool: side of the 2-D windows whose maximum is taken after that, for less than it costs alone.
      shift: whether there is a parameter 'shift', the bias of the layer before: the batch's mean
        takes it away again, so it is only added to the moving average.
      momentum: share of the moving averages that a step keeps.
      epsilon: added to the variance.
      scale_init: initial values of the scale.
      dtype: of the result; None is that of x. Statistics are float32.
    """

    relu: bool = False
    pool: int = 1
    shift: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Callable[..., jax.Array] = nn.initializers.ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """x [N, ..., C] -> the same shape, but for the pool."""
        channels = x.shape[-1:]
        x = x if self.dtype is None else x.astype(self.dtype)
        scale = self.param('scale', self.scale_init, channels, jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, channels, jnp.float32)
        mean = self.variable('batch_stats', 'mean', jnp.zeros, channels, jnp.float32)
        variance = self.variable('batch_stats', 'var', jnp.ones, channels, jnp.float32)
        shift = self.param('shift', nn.initializers.zeros, channels) if self.shift else 0
        if not train:
            average = mean.value - shift
            return normalize.apply_norm(
                x, average, variance.value, scale, bias, self.epsilon, self.relu, self.pool
            )
        part = shards.current()
        y, *found = normalize.batch_norm(
            x, scale, bias, self.epsilon, self.relu, part.axis, part.real, self.pool
        )
        found[0] += shift
        if not self.is_initializing():
            for average, now in zip((mean, variance), found):
                average.value = self.momentum * average.value + (1 - self.momentum) * now
        return y


class LayerNorm(nn.Module):
    """Normalises each position over its channels; fields are those of `BatchNorm`."""

    relu: bool = False
    epsilon: float = 1e-5
    scale_init: Callable[..., jax.Array] = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """x [..., C] -> the same shape and dtype."""
        scale = self.param('scale', self.scale_init, x.shape[-1:], jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, x.shape[-1:], jnp.float32)
        return self._normalized(x, scale, bias)

    def _normalized(self, x, scale, bias):
        return normalize.layer_norm(x, scale, bias, self.epsilon, self.relu)


class GroupNorm(LayerNorm):
    """Normalises each example over space and 32 groups of channels.

    The number of groups is the largest divisor of the channels that 32 has too.
    """

    def _normalized(self, x, scale, bias):
        groups = math.gcd(32, x.shape[-1])
        return normalize.group_norm(x, scale, bias, groups, self.epsilon, self.relu)


def norm(kind: Norm, **fields: Any) -> Callable[..., jax.Array]:
    """The normalisation of this name as a layer (x, train) -> x; `fields` are its own.

    With pool=N the maxima of its windows NxN; 'none' only takes the positive part, where relu=True.
    """
    if kind == 'batch':
        return BatchNorm(**fields)
    side = fields.pop('pool', 1)
    if kind != 'none':
        layer = {'layer': LayerNorm, 'group': GroupNorm}[kind](**fields)
    else:
        layer = lambda x, train=False: jax.nn.relu(x) if fields.get('relu') else x
    return layer if side == 1 else lambda x, train=False: max_pool(layer(x, train), side)


def scaled(width: int, factor: float) -> int:
    """A layer's width times a factor, rounded, one at least."""
    return max(1, round(factor * width))


def example_keys(module: nn.Module, count: int) -> jax.Array:
    """A key [count] for each example, of the 'dropout' collection and its place in the global batch."""
    key = module.make_rng('dropout')
    places = shards.current().offset + jnp.arange(count)
    return jax.vmap(lambda place: jax.random.fold_in(key, place))(places)


class Dropout(nn.Module):
    """Zeroes a share of the elements of each example in training and scales up the others.

    The mask of an example is a function of the key of the 'dropout' collection and of its position
    in the global batch (see `shard`), however the batch is split over devices or microbatches.

    Attributes:
      rate: the share to drop, in [0, 1); a Python 0 draws nothing, an array may be traced.
    """

    rate: float | jax.Array

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """x [N, ...] -> the same shape and dtype."""
        if not train or (isinstance(self.rate, (int, float)) and self.rate == 0):
            return x
        keep = 1 - jnp.float32(self.rate)
        draw = lambda key: jax.random.bernoulli(key, keep, x.shape[1:])
        kept = jax.vmap(draw)(example_keys(self, len(x)))
        return jnp.where(kept, x / keep.astype(x.dtype), jnp.zeros((), x.dtype))
