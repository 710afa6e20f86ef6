"""Conformer: attention for what is far, convolution for what is near (Gulati et al., 2020)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count
from nnjax.models import layers, sequences, speech
from nnjax.ops import sequence
from nnjax.ops.attention import attention


class Conformer(nn.Module):
    """Features [N, T, F], lengths [N] -> {'logits': [N, T', vocabulary], 'lengths': [N]}.

    Convolutions that make time shorter, then blocks of half a hidden layer, attention, a
    convolution over time and the other half, each on what is normalised, and a last normalisation.
    Positions are sinusoids added once, and the convolutions' own; the paper's are relative. Its
    batch normalisation is over channels here, so that padding plays no part in it.

    Attributes:
      vocabulary: outputs of a frame, the first for CTC's blank.
      width: of every frame, a multiple of 2 * heads.
      blocks: number of blocks.
      heads: of the attention.
      window: frames that a convolution sees; an odd number.
      channels: of the first convolutions.
      steps: first convolutions; each halves time.
      dropout: share dropped in training behind each part of a block.
      dtype: of the computation; parameters and logits are float32.
    """

    vocabulary: Count = 32
    width: Count = 144
    blocks: Count = 4
    heads: Count = 4
    window: Count = 15
    channels: Count = 32
    steps: Count = 2
    dropout: BelowOne = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, lengths: jax.Array | None = None, train: bool = False
    ) -> speech.Transcript:
        if self.width % (2 * self.heads):
            raise UserError(
                f'Conformer: width={self.width} is no multiple of 2 * heads={2 * self.heads}'
            )
        x, lengths = speech.begun(self, x, lengths)
        places = sequences.sinusoids(jnp.arange(x.shape[1]), self.width).astype(x.dtype)
        x = layers.Dropout(self.dropout)(x + places[None], train)
        real = sequence.real(lengths, x.shape[1])
        for number in range(self.blocks):
            x = self._block(x, lengths, real, f'block{number}', train)
        logits = layers.Dense(self.vocabulary, dtype=self.dtype, name='head')(x)
        return {'logits': logits.astype(jnp.float32), 'lengths': lengths}

    def _block(self, x, lengths, real, name, train):
        drop = layers.Dropout(self.dropout)
        norm = lambda part: layers.LayerNorm(name=f'{name}_{part}_norm')
        x = x + 0.5 * drop(self._hidden(norm('first')(x), f'{name}_first'), train)
        x = x + drop(self._attention(norm('attention')(x), lengths, f'{name}_attention'), train)
        x = x + drop(self._convolution(norm('conv')(x), real, f'{name}_conv'), train)
        x = x + 0.5 * drop(self._hidden(norm('second')(x), f'{name}_second'), train)
        return norm('last')(x)

    def _hidden(self, x, name):
        x = jax.nn.silu(self._dense(x, 4 * self.width, f'{name}_dense1'))
        return self._dense(x, self.width, f'{name}_dense2')

    def _attention(self, x, lengths, name):
        x = self._dense(x, 3 * self.width, f'{name}_qkv')
        q, k, v = jnp.moveaxis(x.reshape(*x.shape[:2], 3, self.heads, -1), 2, 0)
        y = attention(q, k, v, lengths).reshape(x.shape[0], x.shape[1], self.width)
        return self._dense(y, self.width, f'{name}_out')

    def _convolution(self, x, real, name):
        x, gate = jnp.split(self._dense(x, 2 * self.width, f'{name}_in'), 2, -1)
        x = sequence.cleaned(x * jax.nn.sigmoid(gate), real)
        x = speech.over_time(self, x, f'{name}_depthwise')
        x = jax.nn.silu(layers.LayerNorm(name=f'{name}_inner_norm')(x))
        return self._dense(x, self.width, f'{name}_out')

    def _dense(self, x, width, name):
        return layers.Dense(width, dtype=self.dtype, name=name)(x)
