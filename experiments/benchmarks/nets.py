"""Networks of `cpu_training.py` and `cpu_sequences.py`, on nnjax's layers or, where `stock`, on linen's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from sizes import CHANNELS, HEADS, LAYERS, VOCABULARY, WIDTH

from nnjax import models
from nnjax.models import blocks
from nnjax.models import layers as ours


class BatchNorm(nn.Module):
    """What stands before, in and behind nnjax's batch norm as layers of their own: linen's."""

    relu: bool = False
    pool: int = 1
    shift: bool = False
    epsilon: float = 1e-5
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x, train: bool = False):
        norm = nn.BatchNorm(
            not train,
            momentum=0.9,
            epsilon=self.epsilon,
            dtype=x.dtype,
            scale_init=self.scale_init,
        )
        if self.shift:
            x = x + self.param('shift', nn.initializers.zeros, x.shape[-1:]).astype(x.dtype)
        x = nn.relu(norm(x)) if self.relu else norm(x)
        side = (self.pool, self.pool)
        return nn.max_pool(x, side, side) if self.pool > 1 else x


class Dropout(nn.Module):
    """linen's dropout, called as nnjax's."""

    rate: float

    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.Dropout(self.rate)(x, not train)


class CNN(nn.Module):
    """Convolutions without padding, 32-64-128, as flax's examples write them."""

    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        for channels in CHANNELS:
            x = nn.relu(nn.Conv(channels, (3, 3), padding='VALID', dtype=self.dtype)(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(128, dtype=self.dtype)(x.reshape(len(x), -1)))
        return nn.Dense(10, dtype=self.dtype)(x).astype(jnp.float32)


class VGG(nn.Module):
    """Two convolutions with batch norm before each pool, 32-64-128; images [N, H, W, C] -> [N, 10]."""

    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        for channels in CHANNELS:
            for _ in range(2):
                x = ours.Conv(channels, (3, 3), use_bias=False, dtype=self.dtype)(x)
                x = ours.BatchNorm(relu=True)(x, train)
            x = ours.max_pool(x, 2)
        x = ours.Dense(10, dtype=self.dtype)(x.reshape(x.shape[0], -1))
        return x.astype(jnp.float32)


class Recurrent(nn.Module):
    """Token numbers [N, T] -> [N, 10] from the last output of linen's own recurrent layer."""

    cell: str

    @nn.compact
    def __call__(self, tokens, train: bool = False):
        cell = {'lstm': nn.OptimizedLSTMCell, 'gru': nn.GRUCell}[self.cell](WIDTH)
        x = nn.Embed(VOCABULARY, WIDTH)(tokens)
        return nn.Dense(10)(nn.RNN(cell)(x)[:, -1])


def recurrent(cell: str) -> tuple:
    return models.RNN, dict(cell=cell, hidden=WIDTH, vocabulary=VOCABULARY)


TOKENS = dict(vocabulary=VOCABULARY, width=WIDTH, heads=HEADS, layers=LAYERS)

# name -> (module, its fields)
NETS = {
    'mlp': (models.MLP, {}),
    'cnn': (models.CNN, {}),
    'vgg': (VGG, {}),
    'vgg11': (models.VGG, dict(depth=11, width=0.25, norm='batch', head='average')),
    'deepcnn': (models.DeepCNN, {}),
    'resnet20': (models.CifarResNet, {}),
    'googlenet': (models.GoogLeNet, dict(width=0.25, stem='small', auxiliary=False)),
    'lstm': recurrent('lstm'),
    'gru': recurrent('gru'),
    'transformer': (models.TransformerEncoder, dict(positions='none', **TOKENS)),
    'translator': (models.Transformer, TOKENS),
}


def on_linen() -> dict:
    """The networks with linen's layers in place of nnjax's, for the rest of this process."""

    def max_pool(x, window, strides=None, padding='VALID'):
        strides = window if strides is None else strides
        return nn.max_pool(x, (window, window), (strides, strides), padding)

    def attention(q, k, v, lengths=None, segments=None, causal=False):
        return jax.nn.dot_product_attention(
            q, k, v, key_value_seq_lengths=lengths, is_causal=causal
        )

    blocks.attention = attention
    ours.Conv, ours.Dense, ours.BatchNorm = nn.Conv, nn.Dense, BatchNorm
    ours.max_pool, ours.Dropout = max_pool, Dropout
    own = {cell: (Recurrent, {'cell': cell}) for cell in ('lstm', 'gru')}
    return NETS | {'cnn': (CNN, {}), **own}
