"""Detection of objects on a backbone that classifies images."""

import inspect
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import Count, Natural
from nnjax.models import layers

PRIOR = 0.01  # probability of a class in a cell at first: focal loss begins calm (Lin et al., 2017)


class Detector(nn.Module):
    """Images [N, H, W, C] -> {'logits' [N, h, w, classes], 'sides' [N, h, w, 4]}, a cell of a map each.

    A map of one stride, into which coarser ones of the backbone are added, enlarged (as in Lin et
    al., Feature pyramid networks, 2017); then two towers of 3x3 convolutions, for classes and for
    boxes, as in FCOS (Tian et al., 2019). `sides` are positive distances from the cell's middle to
    the top, left, bottom and right of the object, as shares of the picture's height and width.

    Attributes:
      backbone: network with a `maps` argument, such as VGG, ResNet or CNN.
      classes: number of outputs.
      stride: pixels a side of a cell.
      channels: of the map and of the towers.
      tower: convolutions in each tower.
      norm: normalisation after each convolution of the towers.
      dtype: of the computation outside the backbone; parameters and outputs are float32.
    """

    backbone: nn.Module
    classes: Count = 10
    stride: Count = 4
    channels: Count = 64
    tower: Natural = 2
    norm: layers.Norm = 'batch'
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        size = x.shape[1:3]
        merged = self._merged(self._maps(x, train), size, train)
        logits = self._tower(merged, 'class', train)
        sides = self._tower(merged, 'box', train)
        prior = nn.initializers.constant(math.log(PRIOR / (1 - PRIOR)))
        small = nn.initializers.normal(0.01)
        logits = self._conv(self.classes, 3, 'logits', kernel_init=small, bias_init=prior)(logits)
        sides = self._conv(4, 3, 'sides', kernel_init=small)(sides).astype(jnp.float32)
        # At first a box is four cells high and wide, about what an object's cells see.
        cell = [self.stride / size[n % 2] for n in range(4)]
        reach = 2 * jnp.array(cell, jnp.float32).reshape(1, 1, 1, 4)
        # Beyond e^4 cells no picture goes, and no gradient explodes.
        sides = reach * jnp.exp(jnp.clip(sides, -4, 4))
        return {'logits': logits.astype(jnp.float32), 'sides': sides}

    def _maps(self, x: jax.Array, train: bool) -> tuple[jax.Array, ...]:
        if 'maps' not in inspect.signature(type(self.backbone).__call__).parameters:
            raise UserError(
                f'Detector: {type(self.backbone).__name__} gives no maps; '
                'use CNN, VGG, ResNet or CifarResNet as model.backbone'
            )
        return self.backbone(x, train, maps=True)

    def _merged(self, maps, size: tuple[int, int], train: bool) -> jax.Array:
        """The maps of the stride and of coarser ones, as one."""
        wanted = tuple(-(-n // self.stride) for n in size)
        shapes = [m.shape[1:3] for m in maps]
        if wanted not in shapes or any(n % self.stride for n in size):
            found = sorted({h for h, _ in shapes}, reverse=True)
            raise UserError(
                f'Detector: stride={self.stride} of {size[0]}x{size[1]} images is a map of '
                f'{wanted[0]} rows; {type(self.backbone).__name__} has maps of '
                f'{", ".join(map(str, found))} rows'
            )
        first = len(shapes) - 1 - shapes[::-1].index(wanted)
        merged = None
        for number in range(len(maps) - 1, first - 1, -1):
            lateral = self._conv(self.channels, 1, f'lateral{number + 1}')(maps[number])
            merged = lateral if merged is None else lateral + _enlarged(merged, lateral.shape)
        return merged

    def _tower(self, x: jax.Array, kind: str, train: bool) -> jax.Array:
        for number in range(1, self.tower + 1):
            x = self._conv(
                self.channels,
                3,
                f'{kind}{number}',
                kernel_init=layers.he_normal,
                use_bias=self.norm == 'none',
            )(x)
            x = layers.norm(self.norm, relu=True, name=f'{kind}_norm{number}')(x, train)
        return x

    def _conv(self, channels: int, kernel: int, name: str, **options) -> layers.Conv:
        window = (kernel, kernel)
        return layers.Conv(channels, window, dtype=self.dtype, name=name, **options)


def _enlarged(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """[N, h, w, C] -> [N, H, W, C] by repeating the nearest, as `shape` has it."""
    for axis in (1, 2):
        places = (jnp.arange(shape[axis]) * x.shape[axis]) // shape[axis]
        x = jnp.take(x, places, axis)
    return x
