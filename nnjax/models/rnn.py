"""Recurrent networks: simple (Elman, 1990), LSTM (Hochreiter, 1997) and GRU (Cho et al., 2014)."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count
from nnjax.models import layers, sequences
from nnjax.ops import recurrent, sequence

GATES = {'simple': 1, 'lstm': 4, 'gru': 3}
Cache = list[tuple[jax.Array, ...]]  # of each layer its states [N, H]


class Layer(nn.Module):
    """x [N, T, F] and first states -> outputs [N, T, H] and last states, in one direction.

    Attributes:
      cell: 'simple', 'lstm' or 'gru'.
      hidden: H.
      dtype: of the computation.
    """

    cell: str
    hidden: int
    dtype: Any

    def setup(self):
        gates, hidden = GATES[self.cell], self.hidden
        self.inputs = layers.Dense(gates * hidden, bias_init=self._bias, dtype=self.dtype)
        self.recurrent = self.param('recurrent', _orthogonal, (hidden, gates * hidden))
        if self.cell == 'gru':
            self.bias = self.param('bias', nn.initializers.zeros, (hidden,))

    def states(self, rows: int) -> tuple[jax.Array, ...]:
        """Zeros: what an LSTM remembers besides its output is a second state."""
        zeros = jnp.zeros((rows, self.hidden), self.dtype or jnp.float32)
        return (zeros, zeros) if self.cell == 'lstm' else (zeros,)

    def __call__(self, x, states):
        x = self.inputs(x)
        w = self.recurrent.astype(x.dtype)
        if self.cell == 'lstm':
            y, memory = recurrent.lstm(x, w, *states)
            return y, (y[:, -1], memory)
        if self.cell == 'gru':
            y = recurrent.gru(x, w, self.bias.astype(x.dtype), *states)
        else:
            y = recurrent.simple(x, w, *states)
        return y, (y[:, -1],)

    def _bias(self, key, shape, dtype=jnp.float32):
        """Zeros, and ones where an LSTM forgets: it starts by remembering (Jozefowicz, 2015)."""
        ones = self.cell == 'lstm'
        forget = slice(self.hidden, 2 * self.hidden)
        return jnp.zeros(shape, dtype).at[forget].set(1) if ones else jnp.zeros(shape, dtype)


class RNN(nn.Module):
    """Sequences and their lengths -> logits [N, classes], or [N, T, classes] with pool='none'.

    Sequences are token ids [N, T] where there is a vocabulary, else numbers [N, T] or [N, T, ...]:
    an image [N, H, W, C] is read row by row. A state stops at its row's length, and a reversed
    direction begins there. With pool='none' and one direction the model also decodes: see `begin`.

    Attributes:
      classes: number of outputs.
      cell: what is repeated over time.
      hidden: numbers of a state, in each direction.
      layers: number of layers, each reading the outputs of the one before.
      bidirectional: whether a second state reads each row from its end.
      pool: which outputs the head sees: the last of each direction, their mean or maximum over
        real positions, or with 'none' each position's own.
      vocabulary: number of token ids; None for inputs that are numbers.
      embedding: width of a token's vector; None is `hidden`.
      asked: whether a token's vector says that it stands in the question before the text too.
      dropout: share of a token's vector and of every layer's outputs dropped in training.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 10
    cell: Literal['simple', 'lstm', 'gru'] = 'lstm'
    hidden: Count = 128
    layers: Count = 1
    bidirectional: bool = False
    pool: sequences.Pool = 'last'
    vocabulary: Count | None = None
    embedding: Count | None = None
    asked: bool = False
    dropout: BelowOne = 0.0
    dtype: Any = None

    def setup(self):
        if self.vocabulary is not None:
            width = self.embedding or self.hidden
            self.embed = sequences.Embed(self.vocabulary, width, self.dtype, self.asked)
        make = lambda name: Layer(self.cell, self.hidden, self.dtype, name=name)
        self.forwards = [make(f'forward{n}') for n in range(self.layers)]
        if self.bidirectional:
            self.backwards = [make(f'backward{n}') for n in range(self.layers)]
        self.head = layers.Dense(self.classes, dtype=self.dtype)
        self.drop = layers.Dropout(self.dropout)

    def __call__(
        self, x: jax.Array, lengths: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        sequences.check('RNN', x, self.vocabulary)
        real = sequences.real(x, lengths)
        if self.vocabulary is None:
            x = sequences.frames(x, real)
        else:
            x = self.drop(self.embed(x, real), train)
        for number, layer in enumerate(self.forwards):
            y, _ = layer(x, layer.states(len(x)))
            if self.bidirectional:
                layer = self.backwards[number]
                z, _ = layer(sequence.reverse(x, lengths), layer.states(len(x)))
                # the reversed direction's last output is where its row begins
                if self.pool == 'last' and number == self.layers - 1:
                    y, z = sequence.last(y, lengths), sequence.last(z, lengths)
                else:
                    z = sequence.reverse(z, lengths)
                y = jnp.concatenate([y, z], -1)
            x = self.drop(y, train)
        if x.ndim == 3:
            x = sequences.pooled(x, lengths, self.pool)
        return self.head(x).astype(jnp.float32)

    def begin(self, rows: int, length: int, beams: int = 1) -> Cache:
        """The states before the first token of `rows` texts; neither length nor beams are bounded.

        Raises:
          UserError: this model does not go from token to token.
        """
        del length, beams
        alone = not (self.bidirectional or self.asked)
        if self.vocabulary is None or self.pool != 'none' or not alone:
            raise UserError(
                "RNN: decoding needs vocabulary, pool='none', one direction and asked=False"
            )
        return [layer.states(rows) for layer in self.forwards]

    def decode(self, cache: Cache, ids: jax.Array) -> tuple[jax.Array, Cache]:
        """The states and the next ids [N] -> logits [N, classes] of what follows, states."""
        x, after = self.embed(ids[:, None]), []
        for layer, states in zip(self.forwards, cache, strict=True):
            x, states = layer(x, states)
            after.append(states)
        return self.head(x[:, 0]).astype(jnp.float32), after


def _orthogonal(key, shape, dtype=jnp.float32):
    """A rotation for each gate (Saxe et al., 2014): [H, G H]."""
    hidden, gates = shape[0], shape[1] // shape[0]
    keys = jax.random.split(key, gates)
    each = [nn.initializers.orthogonal()(k, (hidden, hidden), dtype) for k in keys]
    return jnp.concatenate(each, 1)
