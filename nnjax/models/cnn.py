"""A small convolutional network for images."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count
from nnjax.models import images, layers

WINDOW = 2  # of the pools


class CNN(nn.Module):
    """Images [N, H, W, C] -> logits [N, classes]; with `maps`, what each block gives instead.

    Blocks of convolution, 2x2 max-pool, bias and activation, then dense layers. A bias and a
    rising activation, such as relu, give the same before the pool and after it, where they touch a
    quarter of the numbers: on a CPU a training step is a fifth faster.

    Attributes:
      classes: number of outputs.
      channels: of each block's convolution.
      kernel: side of the square kernels.
      padding: 'SAME' keeps the size of an image in a convolution, 'VALID' lessens it by kernel - 1.
      dense: widths of the hidden dense layers.
      activation: function after each block's pool and each hidden dense layer.
      dropout: share of hidden dense units dropped in training.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 10
    channels: tuple[Count, ...] = (32, 64, 128)
    kernel: Count = 3
    padding: Literal['VALID', 'SAME'] = 'VALID'
    dense: tuple[Count, ...] = (128,)
    activation: layers.Activation = 'relu'
    dropout: BelowOne = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, maps: bool = False):
        self._check(x.shape)
        activation, found = layers.activation(self.activation), []
        for channels in self.channels:
            window = (self.kernel, self.kernel)
            x = layers.Conv(
                channels, window, padding=self.padding, use_bias=False, dtype=self.dtype
            )(x)
            x = activation(layers.Bias()(layers.max_pool(x, WINDOW)))
            found.append(x)
        if maps:
            return tuple(found)
        x = x.reshape(x.shape[0], -1)
        for width in self.dense:
            x = activation(layers.Dense(width, dtype=self.dtype)(x))
            x = layers.Dropout(self.dropout)(x, train)
        return layers.Dense(self.classes, dtype=self.dtype)(x).astype(jnp.float32)

    def _check(self, shape: tuple[int, ...]):
        """Refuses images that would vanish on the way."""
        images.check(self, shape, 'Conv_0')
        before = shape[1:3]
        for number, channels in enumerate(self.channels, 1):
            shrink = self.kernel - 1 if self.padding == 'VALID' else 0
            after = [n - shrink for n in before]
            if min(after) < WINDOW:
                raise UserError(
                    f'CNN: {shape[1]}x{shape[2]} images are too small: convolution {number} of '
                    f'{len(self.channels)} ({channels} channels, {self.kernel}x{self.kernel} '
                    f'{self.padding}) receives {before[0]}x{before[1]}, its 2x2 pool '
                    f'{max(after[0], 0)}x{max(after[1], 0)}; '
                    "use a shorter `channels`, larger images or padding='SAME'"
                )
            before = [n // WINDOW for n in after]
