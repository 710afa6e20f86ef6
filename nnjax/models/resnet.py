"""Residual networks for large images and for small ones (He et al., 2016)."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.fields import Count, Positive
from nnjax.models import images, layers

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STRIDE = 32  # of all, behind the stem for large images
EXPANSION = 4  # of a bottleneck's last convolution


class Block(nn.Module):
    """x [N, H, W, C] -> relu(x' + what its convolutions make of x), [N, H', W', channels'].

    Two 3x3 convolutions, or as a bottleneck 1x1, 3x3 and 1x1 with four times the channels; the
    stride is in the first 3x3 one. Where the shape changes, the shortcut x' is a strided 1x1
    convolution ('project'), or every stride-th pixel with channels of zeros behind its own ('pad').
    """

    channels: int
    stride: int
    bottleneck: bool
    shortcut: Literal['pad', 'project']
    norm: layers.Norm
    zero_init: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        kernels = (1, 3, 1) if self.bottleneck else (3, 3)
        widths = [self.channels] * len(kernels)
        widths[-1] *= EXPANSION if self.bottleneck else 1
        y = x
        for number, (kernel, width) in enumerate(zip(kernels, widths), 1):
            stride = self.stride if number == kernels.index(3) + 1 else 1
            last = number == len(kernels)
            scale = nn.initializers.zeros if last and self.zero_init else nn.initializers.ones
            y = convolution(self, width, kernel, stride, f'conv{number}')(y)
            y = layers.norm(
                self.norm, relu=not last, scale_init=scale, name=f'norm{number}'
            )(y, train)  # fmt: skip
        return jax.nn.relu(y + self._shortcut(x, y.shape, train))

    def _shortcut(self, x, shape, train):
        if x.shape == shape:
            return x
        if self.shortcut == 'pad':
            x = x[:, :: self.stride, :: self.stride]
            return jnp.pad(x, [(0, 0)] * 3 + [(0, shape[-1] - x.shape[-1])])
        x = convolution(self, shape[-1], 1, self.stride, 'shortcut_conv')(x)
        return layers.norm(self.norm, name='shortcut_norm')(x, train)


class ResNet(nn.Module):
    """Images [N, H, W, C] -> logits [N, classes]; torchvision's resnet18 ... resnet101.

    With `maps` it gives what each stage gives instead.

    The stride of a bottleneck is in its 3x3 convolution, as torchvision has it ("v1.5").

    Attributes:
      classes: number of outputs.
      depth: number of layers with weights; from 50 on the blocks are bottlenecks.
      width: factor of every layer's width.
      stem: 'imagenet' is a 7x7 convolution of stride 2 and a max-pool, which leave a sixteenth of
        the pixels; 'small', for images such as 32x32, is a 3x3 convolution that leaves all.
      norm: normalisation after each convolution.
      zero_init: whether a block's last scale starts at 0, and so the block as the identity.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 10
    depth: Literal[18, 34, 50, 101] = 18
    width: Positive = 1.0
    stem: Literal['imagenet', 'small'] = 'imagenet'
    norm: layers.Norm = 'batch'
    zero_init: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, maps: bool = False):
        images.check(self, x.shape, 'conv1')
        large = self.stem == 'imagenet'
        if large and min(x.shape[1:3]) < STRIDE:
            stage = f'the stages leave one pixel of {STRIDE}x{STRIDE}'
            raise images.too_small(self, x.shape, stage, "use larger images or stem='small'")
        kernel, stride = (7, 2) if large else (3, 1)
        x = convolution(self, layers.scaled(64, self.width), kernel, stride, 'conv1')(x)
        x = layers.norm(self.norm, relu=True, name='norm1')(x, train)
        if large:
            x = layers.max_pool(x, 3, 2, [(1, 1), (1, 1)])
        found = residual(self, x, train, 64, BLOCKS[self.depth], self.depth >= 50, 'project')
        return found if maps else head(self, found[-1])


class CifarResNet(nn.Module):
    """Images [N, H, W, C] -> logits [N, classes]; the paper's networks of section 4.2, for 32x32.

    A 3x3 convolution and three stages of 16, 32 and 64 channels. With `maps` it gives what each
    stage gives instead, of strides 1, 2 and 4.

    Attributes:
      classes: number of outputs.
      depth: number of layers with weights.
      width: factor of every layer's width.
      shortcut: where the shape changes; 'pad' has no parameters (the paper's option A), 'project'
        is a 1x1 convolution (option B).
      norm: normalisation after each convolution.
      zero_init: whether a block's last scale starts at 0, and so the block as the identity.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 10
    depth: Literal[20, 32, 44, 56, 110] = 20
    width: Positive = 1.0
    shortcut: Literal['pad', 'project'] = 'pad'
    norm: layers.Norm = 'batch'
    zero_init: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, maps: bool = False):
        images.check(self, x.shape, 'conv1')
        x = convolution(self, layers.scaled(16, self.width), 3, 1, 'conv1')(x)
        x = layers.norm(self.norm, relu=True, name='norm1')(x, train)
        blocks = ((self.depth - 2) // 6,) * 3
        found = residual(self, x, train, 16, blocks, False, self.shortcut)
        return found if maps else head(self, found[-1])


def residual(model, x, train, width: int, blocks: tuple[int, ...], bottleneck: bool, shortcut: str):
    """What follows the stem: stages of `blocks` blocks -> what each gives."""
    found = []
    for stage, count in enumerate(blocks, 1):
        for number in range(count):
            x = Block(
                channels=layers.scaled(width * 2 ** (stage - 1), model.width),
                stride=2 if stage > 1 and number == 0 else 1,
                bottleneck=bottleneck,
                shortcut=shortcut,
                norm=model.norm,
                zero_init=model.zero_init,
                dtype=model.dtype,
                name=f'stage{stage}_{number}',
            )(x, train)
        found.append(x)
    return tuple(found)


def head(model, x: jax.Array) -> jax.Array:
    """The mean over space [N, H, W, C] and the logits of it."""
    x = x.mean((1, 2))
    return layers.Dense(model.classes, dtype=model.dtype, name='head')(x).astype(jnp.float32)


def convolution(module, channels: int, kernel: int, stride: int, name: str) -> layers.Conv:
    """A convolution that keeps an image's size but for the stride."""
    return layers.Conv(
        channels,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        use_bias=module.norm == 'none',
        kernel_init=layers.he_normal,
        dtype=module.dtype,
        name=name,
    )
