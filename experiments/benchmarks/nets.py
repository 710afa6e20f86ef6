"""Networks of `cpu_training.py` that nnjax and flax write alike, apart from whose layers they use."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.models import layers as ours
from nnjax.ops import recurrent

WIDTH, HEADS, VOCABULARY = 256, 4, 1000


class VGG(nn.Module):
    """Two convolutions with batch norm before each pool, 32-64-128; images [N, H, W, C] -> [N, 10]."""

    stock: bool = False
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x, train: bool = False):
        layers = nn if self.stock else ours
        for channels in (32, 64, 128):
            for _ in range(2):
                x = layers.Conv(channels, (3, 3), use_bias=False, dtype=self.dtype)(x)
                if self.stock:
                    norm = nn.BatchNorm(not train, momentum=0.9, dtype=self.dtype)
                    x = nn.relu(norm(x))
                else:
                    x = ours.BatchNorm(relu=True)(x, train)
            x = layers.max_pool(x, (2, 2), (2, 2))
        x = layers.Dense(10, dtype=self.dtype)(x.reshape(x.shape[0], -1))
        return x.astype(jnp.float32)


class LSTM(nn.Module):
    """Token numbers [N, T] -> [N, 10] from the last output of an LSTM."""

    stock: bool = False

    @nn.compact
    def __call__(self, tokens, train: bool = False):
        x = nn.Embed(VOCABULARY, WIDTH)(tokens)
        if self.stock:
            return nn.Dense(10)(nn.RNN(nn.OptimizedLSTMCell(WIDTH))(x)[:, -1])
        w = self.param('recurrent', nn.initializers.orthogonal(), (WIDTH, 4 * WIDTH))
        zeros = jnp.zeros((len(x), WIDTH))
        ys, _ = recurrent.lstm(ours.Dense(4 * WIDTH)(x), w, zeros, zeros)
        return ours.Dense(10)(ys[:, -1])


class Transformer(nn.Module):
    """Token numbers [N, T] -> [N, 10]: four pre-norm encoder blocks, the mean over positions."""

    stock: bool = False

    @nn.compact
    def __call__(self, tokens, train: bool = False):
        Dense = nn.Dense if self.stock else ours.Dense
        x = nn.Embed(VOCABULARY, WIDTH)(tokens)
        heads = (*tokens.shape, HEADS, WIDTH // HEADS)
        for _ in range(4):
            y = nn.LayerNorm()(x)
            query, key, value = (Dense(WIDTH)(y).reshape(heads) for _ in range(3))
            y = jax.nn.dot_product_attention(query, key, value).reshape(x.shape)
            x = x + Dense(WIDTH)(y)
            y = nn.gelu(Dense(4 * WIDTH)(nn.LayerNorm()(x)))
            x = x + Dense(WIDTH)(y)
        return Dense(10)(jnp.mean(nn.LayerNorm()(x), 1))


NETS = {'vgg': VGG, 'lstm': LSTM, 'transformer': Transformer}
