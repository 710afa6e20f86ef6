"""VGG: stages of 3x3 convolutions (Simonyan and Zisserman, 2015)."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.fields import BelowOne, Count, Positive
from nnjax.models import images, layers

CONVOLUTIONS = {  # of each stage, by depth: the paper's columns A, B, D and E
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
CHANNELS = (64, 128, 256, 512, 512)
HIDDEN = 4096


class VGG(nn.Module):
    """Images [N, H, W, C] -> logits [N, classes]; torchvision's vgg11 ... vgg19 and vgg11_bn ...

    With `maps` it gives what each stage hands to its pool instead, of strides 1, 2, 4, 8 and 16.

    Five stages, each ended by a 2x2 max-pool. A pool is skipped where a side is 1 already, so that
    images of any size fit: 28x28 ones are 14, 7, 3, 1 and 1 wide after the stages.

    Attributes:
      classes: number of outputs.
      depth: number of layers with weights.
      width: factor of every layer's width.
      norm: normalisation after each convolution.
      head: 'classic' averages to 7x7 and has two hidden dense layers of 4096, 'average' averages
        to one position and has none; it suits small images.
      dropout: share of units dropped in training, before each dense layer but the classic first.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 10
    depth: Literal[11, 13, 16, 19] = 16
    width: Positive = 1.0
    norm: layers.Norm = 'none'
    head: Literal['classic', 'average'] = 'classic'
    dropout: BelowOne = 0.5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, maps: bool = False):
        images.check(self, x.shape, 'conv1_1')
        found = []
        for stage, count in enumerate(CONVOLUTIONS[self.depth], 1):
            side = 2 if min(x.shape[1:3]) >= 2 else 1
            for number in range(1, count + 1):
                pool = side if number == count and not maps else 1
                x = self._unit(x, CHANNELS[stage - 1], f'{stage}_{number}', pool, train)
            if maps:
                found.append(x)
                x = layers.max_pool(x, side)
        if maps:
            return tuple(found)
        if self.head == 'classic':
            x = layers.adaptive_avg_pool(x, 7)
            x = jnp.moveaxis(x, -1, 1).reshape(len(x), -1)  # channels first, as PyTorch flattens
            for name in ('dense1', 'dense2'):
                x = layers.Dense(
                    layers.scaled(HIDDEN, self.width),
                    kernel_init=layers.he_normal,
                    dtype=self.dtype,
                    name=name,
                )(x)
                x = layers.Dropout(self.dropout)(jax.nn.relu(x), train)
        else:
            x = layers.Dropout(self.dropout)(x.mean((1, 2)), train)
        return layers.Dense(self.classes, dtype=self.dtype, name='head')(x).astype(jnp.float32)

    def _unit(self, x, channels, number, pool, train):
        """A convolution, its normalisation and relu, and a pool."""
        batch = self.norm == 'batch'
        x = layers.Conv(
            layers.scaled(channels, self.width),
            (3, 3),
            padding=1,
            use_bias=not batch,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            name=f'conv{number}',
        )(x)
        fields = {'relu': True, 'pool': pool, 'name': f'norm{number}'}
        return layers.norm(self.norm, **fields, **({'shift': True} if batch else {}))(x, train)
