"""Vision Transformer (Dosovitskiy et al., 2021), with the sizes of DeiT (Touvron et al., 2021)."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count
from nnjax.models import images, layers
from nnjax.models.blocks import Block, Places

WIDTHS = {'Ti': 192, 'S': 384, 'B': 768}
HEAD = 64  # numbers of an attention head
small = nn.initializers.truncated_normal(0.02)


class ViT(nn.Module):
    """Images [N, H, W, C] -> logits [N, classes]; timm's vit_tiny, vit_small and vit_base.

    Patches and a class token, learned positions, `depth` blocks that normalise first, a last
    normalisation, and a dense layer on the class token. The sides are multiples of the patch's.

    Attributes:
      classes: number of outputs.
      size: 'Ti', 'S' and 'B' are 192, 384 and 768 wide, with 3, 6 and 12 attention heads.
      patch: side of a patch in pixels.
      depth: number of blocks.
      activation: in the hidden layers; the exact GELU is timm's.
      dropout: share of units dropped in training, after the positions and each dense layer.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 10
    size: Literal['Ti', 'S', 'B'] = 'Ti'
    patch: Count = 16
    depth: Count = 12
    activation: layers.Activation = 'gelu_exact'
    dropout: BelowOne = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        self._check(x.shape)
        width = WIDTHS[self.size]
        x = layers.Conv(
            width,
            (self.patch, self.patch),
            strides=self.patch,
            padding='VALID',
            dtype=self.dtype,
            name='patches',
        )(x)
        x = x.reshape(len(x), -1, width)
        token = self.param('class_token', nn.initializers.zeros, (1, 1, width))
        positions = self.param('positions', small, (1, 1 + x.shape[1], width))
        token, positions = token.astype(x.dtype), positions.astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, width)), x], 1)
        x = x + jnp.broadcast_to(positions, x.shape)
        x = layers.Dropout(self.dropout)(x, train)
        places = Places(jnp.arange(x.shape[1])[None])
        for number in range(self.depth):
            block = Block(
                width,
                width // HEAD,
                4 * width,
                activation=self.activation,
                dropout=self.dropout,
                epsilon=1e-6,
                kernel_init=small,
                dtype=self.dtype,
                name=f'block{number}',
            )
            x = block(x, places, train)
        x = layers.LayerNorm(epsilon=1e-6, name='norm')(x[:, 0])
        head = layers.Dense(self.classes, kernel_init=small, dtype=self.dtype, name='head')
        return head(x).astype(jnp.float32)

    def _check(self, shape):
        images.check(self, shape, 'patches')
        height, width = shape[1:3]
        if height % self.patch or width % self.patch:
            raise UserError(
                f'ViT: {height}x{width} images do not divide into patches of {self.patch}x'
                f'{self.patch} pixels: crop or resize them, or choose another `patch`'
            )
        count = (height // self.patch) * (width // self.patch)
        stored = self.variables.get('params', {}).get('positions')
        if stored is not None and stored.shape[1] != 1 + count:
            raise UserError(
                f'ViT: {height}x{width} images make {count} patches, but `positions` has '
                f'parameters for {stored.shape[1] - 1}: resize the images'
            )
