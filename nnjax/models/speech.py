"""Networks for features of sound [N, T, F] and their lengths: one word, or a transcript.

What stands behind a length means nothing: it is set to zero, which is also what pads a convolution,
so that a sound scores the same in an array of any length.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count
from nnjax.models import layers, sequences
from nnjax.models.rnn import RNN
from nnjax.ops import sequence

Transcript = dict[str, jax.Array]  # 'logits' [N, T', classes] and their 'lengths' [N]


def halved(lengths: jax.Array) -> jax.Array:
    """Lengths behind a convolution of stride 2 and window 3, padded by 1."""
    return (lengths + 1) // 2


class SeparableCNN(nn.Module):
    """Features [N, T, F] or [N, T, F, 1], and their lengths if any -> logits [N, classes].

    Depthwise separable convolutions for small devices (Zhang et al., Hello edge, 2017): a 3x3
    convolution that halves both axes, then for each width a 3x3 depthwise and a 1x1 convolution,
    halving both axes where the width grows; the mean over the real frames; a dense layer.

    Attributes:
      classes: number of outputs.
      channels: of the first convolution and of each block.
      dropout: share of the means dropped in training.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 20
    channels: tuple[Count, ...] = (64, 64, 128, 128, 192, 192)
    dropout: BelowOne = 0.2
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, lengths: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        x = _features(self, x)[..., None]
        real = sequences.real(x, lengths)
        first, *rest = self.channels
        x = self._unit(sequence.cleaned(x, real), first, 2, 1, 'first', train)
        lengths = None if lengths is None else halved(lengths)
        for number, channels in enumerate(rest):
            stride = 2 if channels > x.shape[-1] else 1
            real = sequences.real(x, lengths)
            x = sequence.cleaned(x, real)
            x = self._unit(x, x.shape[-1], stride, x.shape[-1], f'depthwise{number}', train)
            x = self._unit(x, channels, 1, 1, f'pointwise{number}', train, window=1)
            lengths = halved(lengths) if stride == 2 and lengths is not None else lengths
        real = sequences.real(x, lengths)
        count = x.shape[1] if real is None else jnp.maximum(jnp.sum(real, 1, keepdims=True), 1)
        x = jnp.sum(jnp.mean(sequence.cleaned(x, real), 2), 1) / jnp.asarray(count).astype(x.dtype)
        x = layers.Dropout(self.dropout)(x, train)
        return layers.Dense(self.classes, dtype=self.dtype, name='head')(x).astype(jnp.float32)

    def _unit(self, x, channels, stride, groups, name, train, window=3):
        """A convolution, its normalisation and relu."""
        x = layers.Conv(
            channels,
            (window, window),
            strides=stride,
            padding=window // 2,
            feature_group_count=groups,
            use_bias=False,
            kernel_init=layers.he_normal,
            dtype=self.dtype,
            name=name,
        )(x)
        return layers.norm('batch', relu=True, name=f'{name}_norm')(x, train)


class Subsample(nn.Module):
    """Features [N, T, F], lengths [N] -> [N, T / 2^steps, width] and their lengths.

    3x3 convolutions of stride 2 over time and frequency, then a dense layer.
    """

    width: int
    channels: int
    steps: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = x[..., None]
        for number in range(self.steps):
            x = sequence.cleaned(x, sequences.real(x, lengths))
            x = layers.Conv(
                self.channels,
                (3, 3),
                strides=2,
                padding=1,
                kernel_init=layers.he_normal,
                dtype=self.dtype,
                name=f'conv{number}',
            )(x)
            x, lengths = jax.nn.relu(x), halved(lengths)
        x = layers.Dense(self.width, dtype=self.dtype, name='dense')(x.reshape(*x.shape[:2], -1))
        return sequence.cleaned(x, sequences.real(x, lengths)), lengths


class ConvRNN(nn.Module):
    """Features [N, T, F], lengths [N] -> {'logits': [N, T', vocabulary], 'lengths': [N]}.

    Convolutions that make time shorter, then LSTMs in both directions (Deep speech 2, 2016).

    Attributes:
      vocabulary: outputs of a frame, the first for CTC's blank.
      hidden: numbers of a state, in each direction.
      layers: LSTMs, one on another.
      width: of the frames that the first LSTM reads.
      channels: of the convolutions.
      steps: convolutions; each halves time.
      dropout: share of every LSTM's outputs dropped in training.
      dtype: of the computation; parameters and logits are float32.
    """

    vocabulary: Count = 32
    hidden: Count = 128
    layers: Count = 1
    width: Count = 128
    channels: Count = 32
    steps: Count = 2
    dropout: BelowOne = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, lengths: jax.Array | None = None, train: bool = False
    ) -> Transcript:
        x, lengths = begun(self, x, lengths)
        network = RNN(
            classes=self.vocabulary,
            cell='lstm',
            hidden=self.hidden,
            layers=self.layers,
            bidirectional=True,
            pool='none',
            dropout=self.dropout,
            dtype=self.dtype,
            name='rnn',
        )
        return {'logits': network(jax.nn.relu(x), lengths, train), 'lengths': lengths}


class TimeCNN(nn.Module):
    """Features [N, T, F], lengths [N] -> {'logits': [N, T', vocabulary], 'lengths': [N]}.

    Convolutions that make time shorter, then depthwise separable ones over time, each with a way
    round (QuartzNet, Kriman et al., 2020, with layer normalisation). A frame depends on a stretch of
    features alone, `reach` to either side: long sounds can be read in windows, to the same end.

    Attributes:
      vocabulary: outputs of a frame, the first for CTC's blank.
      width: of every frame.
      blocks: separable convolutions.
      window: frames that each of them sees; an odd number.
      channels: of the first convolutions.
      steps: first convolutions; each halves time.
      dropout: share of every block's outputs dropped in training.
      dtype: of the computation; parameters and logits are float32.
    """

    vocabulary: Count = 32
    width: Count = 192
    blocks: Count = 6
    window: Count = 11
    channels: Count = 32
    steps: Count = 2
    dropout: BelowOne = 0.1
    dtype: Any = None

    @property
    def shortening(self) -> int:
        """Features for each frame of the logits."""
        return 2**self.steps

    @property
    def reach(self) -> int:
        """Features to either side that a frame depends on."""
        return self.shortening * (1 + self.blocks * (self.window // 2))

    @nn.compact
    def __call__(
        self, x: jax.Array, lengths: jax.Array | None = None, train: bool = False
    ) -> Transcript:
        x, lengths = begun(self, x, lengths)
        real = sequences.real(x, lengths)
        drop = layers.Dropout(self.dropout)
        for number in range(self.blocks):
            y = layers.LayerNorm(name=f'norm{number}')(x)
            y = over_time(self, sequence.cleaned(y, real), f'depthwise{number}')
            y = layers.Dense(self.width, dtype=self.dtype, name=f'pointwise{number}')(y)
            x = x + drop(jax.nn.relu(y), train)
        x = layers.LayerNorm(name='norm')(x)
        logits = layers.Dense(self.vocabulary, dtype=self.dtype, name='head')(x)
        return {'logits': logits.astype(jnp.float32), 'lengths': lengths}


def begun(module, x, lengths) -> tuple[jax.Array, jax.Array]:
    """The features made shorter in time, and their lengths."""
    x = _features(module, x)
    lengths = jnp.full(len(x), x.shape[1], jnp.int32) if lengths is None else lengths
    first = Subsample(module.width, module.channels, module.steps, module.dtype, name='first')
    return first(x, lengths)


def over_time(module, x, name) -> jax.Array:
    """A depthwise convolution along the time of x [N, T, D], as long as the module's window."""
    if module.window % 2 == 0:
        raise UserError(f'{type(module).__name__}: window={module.window} must be odd')
    return layers.Conv(
        x.shape[-1],
        (module.window,),
        padding=module.window // 2,
        feature_group_count=x.shape[-1],
        dtype=module.dtype,
        name=name,
    )(x)


def _features(module: nn.Module, x: jax.Array) -> jax.Array:
    """[N, T, F] or [N, T, F, 1] -> [N, T, F]."""
    if x.ndim == 4 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.ndim != 3:
        raise UserError(
            f'{type(module).__name__}: expected features of sound [batch, frames, channels], got '
            f"{x.shape}; samples become features by augment='log_mel'"
        )
    return x
