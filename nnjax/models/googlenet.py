"""GoogLeNet, the first Inception network (Szegedy et al., 2015)."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.fields import BelowOne, Count, Positive
from nnjax.models import images, layers

# The paper's table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
MODULES = {
    'inception3a': (64, 96, 128, 16, 32, 32),
    'inception3b': (128, 128, 192, 32, 96, 64),
    'inception4a': (192, 96, 208, 16, 48, 64),
    'inception4b': (160, 112, 224, 24, 64, 64),
    'inception4c': (128, 128, 256, 24, 64, 64),
    'inception4d': (112, 144, 288, 32, 64, 64),
    'inception4e': (256, 160, 320, 32, 128, 128),
    'inception5a': (256, 160, 320, 32, 128, 128),
    'inception5b': (384, 192, 384, 48, 128, 128),
}
AUXILIARY = {'inception4a': 'auxiliary1', 'inception4d': 'auxiliary2'}  # a head after a module
HIDDEN = 1024  # of an auxiliary head


class Unit(nn.Module):
    """A convolution that keeps an image's size but for the stride, its normalisation, relu."""

    channels: int
    kernel: int
    norm: Literal['batch', 'lrn']
    dtype: Any
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        batch = self.norm == 'batch'
        x = layers.Conv(
            self.channels,
            (self.kernel, self.kernel),
            strides=self.stride,
            padding=self.kernel // 2,
            use_bias=not batch,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            name='conv',
        )(x)
        norm = layers.norm('batch' if batch else 'none', relu=True, epsilon=1e-3, name='norm')
        return norm(x, train)


class Inception(nn.Module):
    """x [N, H, W, C] -> [N, H, W, channels of four branches side by side].

    The third branch is the paper's 5x5 convolution in the form with local response normalisation
    and, as in torchvision, a 3x3 one in the form with batch normalisation.
    """

    widths: tuple[int, ...]
    norm: Literal['batch', 'lrn']
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def unit(x, channels, kernel, name):
            return Unit(channels, kernel, self.norm, self.dtype, name=name)(x, train)

        one, reduced3, three, reduced5, five, projected = self.widths
        kernel = 3 if self.norm == 'batch' else 5
        branches = [
            unit(x, one, 1, 'branch1'),
            unit(unit(x, reduced3, 1, 'branch2_0'), three, 3, 'branch2_1'),
            unit(unit(x, reduced5, 1, 'branch3_0'), five, kernel, 'branch3_1'),
            unit(layers.max_pool(x, 3, 1, 'SAME'), projected, 1, 'branch4_1'),
        ]
        return jnp.concatenate(branches, -1)


class Auxiliary(nn.Module):
    """A head for training: x [N, H, W, C] -> logits [N, classes]."""

    classes: int
    width: float
    norm: Literal['batch', 'lrn']
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = layers.adaptive_avg_pool(x, 4)
        x = Unit(layers.scaled(128, self.width), 1, self.norm, self.dtype, name='conv')(x, train)
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), -1)  # channels first, as PyTorch flattens
        x = layers.Dense(
            layers.scaled(HIDDEN, self.width),
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            name='dense',
        )(x)
        x = layers.Dropout(self.dropout)(jax.nn.relu(x), train)
        return layers.Dense(self.classes, dtype=self.dtype, name='head')(x).astype(jnp.float32)


class GoogLeNet(nn.Module):
    """Images [N, H, W, C] -> logits [N, classes]; torchvision's googlenet, or the paper's.

    In training a network with auxiliary heads gives {'logits': [N, classes], 'auxiliary': ([N,
    classes], [N, classes])}, of which `tasks.classification` makes one loss; elsewhere the heads
    are not computed.

    Attributes:
      classes: number of outputs.
      width: factor of every layer's width.
      stem: 'imagenet' are the paper's first layers, which leave 1 of 64 pixels; 'small', for images
        such as 32x32, is one 3x3 convolution that leaves all.
      norm: 'batch' is torchvision's form, with batch normalisation and no 5x5 convolution; 'lrn' is
        the paper's, whose two local response normalisations are in the stem for large images: with
        the small one nothing is normalised.
      auxiliary: whether there are two more heads for training.
      dropout: share of units dropped in training before the last dense layer.
      auxiliary_dropout: the same in the auxiliary heads.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 10
    width: Positive = 1.0
    stem: Literal['imagenet', 'small'] = 'imagenet'
    norm: Literal['batch', 'lrn'] = 'batch'
    auxiliary: bool = True
    dropout: BelowOne = 0.2
    auxiliary_dropout: BelowOne = 0.7
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array | dict:
        self._check(x.shape)
        x = self._stem(x, train)
        auxiliary = []
        for name, widths in MODULES.items():
            if name in ('inception4a', 'inception5a'):
                x = pool(x, 3 if name == 'inception4a' else 2)
            widths = tuple(layers.scaled(w, self.width) for w in widths)
            x = Inception(widths, self.norm, self.dtype, name=name)(x, train)
            if self.auxiliary and name in AUXILIARY and (train or self.is_initializing()):
                head = Auxiliary(
                    self.classes,
                    self.width,
                    self.norm,
                    self.auxiliary_dropout,
                    self.dtype,
                    name=AUXILIARY[name],
                )
                auxiliary.append(head(x, train))
        x = layers.Dropout(self.dropout)(x.mean((1, 2)), train)
        x = layers.Dense(self.classes, dtype=self.dtype, name='head')(x).astype(jnp.float32)
        return {'logits': x, 'auxiliary': tuple(auxiliary)} if train and auxiliary else x

    def _stem(self, x, train):
        def unit(x, channels, kernel, name, stride=1):
            channels = layers.scaled(channels, self.width)
            return Unit(channels, kernel, self.norm, self.dtype, stride, name=name)(x, train)

        lrn = layers.local_response_norm if self.norm == 'lrn' else lambda x: x
        if self.stem == 'small':
            return unit(x, 192, 3, 'conv3')
        x = lrn(pool(unit(x, 64, 7, 'conv1', stride=2), 3))
        x = lrn(unit(unit(x, 64, 1, 'conv2'), 192, 3, 'conv3'))
        return pool(x, 3)

    def _check(self, shape):
        large = self.stem == 'imagenet'
        images.check(self, shape, 'conv1/conv' if large else 'conv3/conv')
        side = (min(shape[1:3]) + 1) // 2 // 2 // 2 if large else min(shape[1:3])
        if side < 2:
            stage = f'the 3x3 pool before inception4a receives {side} pixels a side'
            remedy = "use larger images or stem='small'" if large else 'use larger images'
            raise images.too_small(self, shape, stage, remedy)


def pool(x: jax.Array, window: int) -> jax.Array:
    """The maximum of windows 2 apart; the last may reach over the edge (PyTorch's ceil_mode)."""
    edges = [(0, (n - window) % 2) for n in x.shape[1:3]]
    return layers.max_pool(x, window, 2, edges)
