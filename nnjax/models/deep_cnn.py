"""A deep stack of convolutions for small images."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.fields import BelowOne, Count
from nnjax.models import images, layers


class DeepCNN(nn.Module):
    """Images [N, H, W, C] -> logits [N, classes].

    3x3 convolutions that keep the size of an image, each with normalisation and relu; 2x2
    max-pools and dropout after some; dense layers. As set here, 28x28 images are 14, 7, 3 and 1
    wide after the pools, and 32x32 ones 16, 8, 4 and 2.

    Attributes:
      classes: number of outputs.
      channels: of each convolution.
      pools: after the how manieth convolutions, counted from 1, there is a pool.
      dense: widths of the hidden dense layers.
      norm: normalisation after each convolution.
      dropout: share of units dropped in training, after each pool and each hidden dense layer.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 10
    channels: tuple[Count, ...] = (32, 64, 128, 128, 256, 256, 512, 512, 512)
    pools: tuple[Count, ...] = (2, 4, 6, 9)
    dense: tuple[Count, ...] = (512,)
    norm: layers.Norm = 'batch'
    dropout: BelowOne = 0.2
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        images.check(self, x.shape, 'conv1')
        shape = x.shape
        for number, channels in enumerate(self.channels, 1):
            x = layers.Conv(
                channels,
                (3, 3),
                padding=1,
                use_bias=self.norm == 'none',
                kernel_init=layers.he_normal,
                dtype=self.dtype,
                name=f'conv{number}',
            )(x)
            pooled = number in self.pools
            if pooled:
                self._check_pool(shape, x.shape, number)
            pool = 2 if pooled else 1
            x = layers.norm(self.norm, relu=True, pool=pool, name=f'norm{number}')(x, train)
            if pooled:
                x = layers.Dropout(self.dropout)(x, train)
        x = x.reshape(len(x), -1)
        for number, width in enumerate(self.dense, 1):
            x = layers.Dense(
                width, kernel_init=layers.he_normal, dtype=self.dtype, name=f'dense{number}'
            )(x)
            x = layers.Dropout(self.dropout)(jax.nn.relu(x), train)
        return layers.Dense(self.classes, dtype=self.dtype, name='head')(x).astype(jnp.float32)

    def _check_pool(self, shape, here, number):
        if min(here[1:3]) < 2:
            stage = f'the pool after convolution {number} receives {here[1]}x{here[2]}'
            raise images.too_small(self, shape, stage, 'use larger images or fewer `pools`')
