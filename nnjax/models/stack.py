"""What the Transformers of `nnjax.models.transformer` have in common, besides their blocks."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count
from nnjax.models import blocks, layers, sequences
from nnjax.models.blocks import Block, Moment, Places
from nnjax.ops import sequence

Positions = Literal['sinusoidal', 'learned', 'rotary', 'none']
Cache = dict[str, Any]  # with a row for each text, but under 'memory' for all texts of a row


class Entry(nn.Module):
    """ids [N, T], or numbers [N, T, ...], and where they stand -> [N, T, D].

    Tokens' vectors have variance 1 (a table times the root of D), as have learned positions.

    Attributes:
      owner: the name of the model, for messages.
      vocabulary: number of ids; None for numbers, which a dense layer takes.
      width, positions, length, dropout, dtype: those of `Stack`.
      asked: that of `nnjax.models.sequences.Embed`.
    """

    owner: str
    vocabulary: int | None
    width: int
    positions: Positions
    length: int
    dropout: float
    dtype: Any
    asked: bool = False

    def setup(self):
        self.drop = layers.Dropout(self.dropout)
        if self.vocabulary is None:
            self.dense = layers.Dense(self.width, dtype=self.dtype)
        else:
            self.embed = sequences.Embed(self.vocabulary, self.width, self.dtype, self.asked)
        if self.positions == 'learned':
            init = nn.initializers.normal(self.width**-0.5)
            self.table = self.param('positions', init, (self.length, self.width))

    def __call__(
        self, x: jax.Array, places: Places | Moment, real: jax.Array | None, train: bool
    ) -> jax.Array:
        """What stands where `real` [N, T] is false is not read."""
        sequences.check(self.owner, x, self.vocabulary)
        if self.vocabulary is None:
            x = self.dense(sequences.frames(x, real))
        else:
            x = self.embed(x, real) * math.sqrt(self.width)
        if self.positions == 'learned':
            self.check_length(x.shape[1])
            where = self.table[places.positions] * math.sqrt(self.width)
        elif self.positions == 'sinusoidal':
            where = sequences.sinusoids(places.positions, self.width)
        else:
            return self.drop(x, train)
        return self.drop(x + jnp.broadcast_to(where.astype(x.dtype), x.shape), train)

    def logits(self, x: jax.Array) -> jax.Array:
        """x [..., D] -> [..., vocabulary]."""
        return self.embed.logits(x)

    def check_length(self, length: int) -> None:
        """So many positions are known."""
        if self.positions == 'learned' and length > self.length:
            raise UserError(
                f'{self.owner}: a sequence of {length}, but learned positions for {self.length}: '
                f'set --config.model.length={length} or choose other positions'
            )


class Stack(nn.Module):
    """What the three have in common.

    Attributes:
      width: numbers of a position.
      heads: attention heads; they divide the width.
      layers: number of blocks, of the encoder and of the decoder.
      hidden: numbers of a block's hidden layer; None is four times the width.
      groups: heads of keys and values, fewer than `heads` for grouped-query attention.
      activation: in the hidden layers; swiglu has two halves of `hidden` numbers.
      norm: 'layer', or 'rms' without means.
      order: whether a block normalises what its parts read (pre) or what they add up to (post).
      positions: how tokens know their place: sinusoidal or learned vectors, or rotary attention.
      length: positions that can be learned; other kinds have no limit.
      dropout: share dropped of the first vectors, of what each part gives, of the hidden layers.
      remat: whether the backward pass computes each block again instead of keeping its numbers.
      dtype: of the computation; parameters and logits are float32.
    """

    width: Count = 256
    heads: Count = 4
    layers: Count = 4
    hidden: Count | None = None
    groups: Count | None = None
    activation: blocks.Activation = 'gelu'
    norm: blocks.Norm = 'layer'
    order: blocks.Order = 'pre'
    positions: Positions = 'sinusoidal'
    length: Count = 512
    dropout: BelowOne = 0.0
    remat: bool = False
    dtype: Any = None

    def _entry(self, vocabulary: int | None, asked: bool = False) -> Entry:
        return Entry(
            type(self).__name__,
            vocabulary,
            self.width,
            self.positions,
            self.length,
            self.dropout,
            self.dtype,
            asked,
        )

    def _blocks(self, name: str, **fields) -> list[Block]:
        self._check()
        kind = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        make = partial(
            kind,
            self.width,
            self.heads,
            self.hidden or 4 * self.width,
            groups=self.groups,
            activation=self.activation,
            norm=self.norm,
            order=self.order,
            rotary=self.positions == 'rotary',
            dropout=self.dropout,
            dtype=self.dtype,
            **fields,
        )
        return [make(name=f'{name}{number}') for number in range(self.layers)]

    def _last_norm(self) -> Callable[[jax.Array], jax.Array]:
        """Blocks that normalise first leave their sum as it is."""
        return blocks.NORMS[self.norm]() if self.order == 'pre' else lambda x: x

    def _empty(self, rows: int, length: int, beams: int) -> Cache:
        """The cache of `rows` rows before the first token of their texts."""
        sizes = rows, self.groups or self.heads, self.width // self.heads, beams * length
        each = [blocks.empty(*sizes, self.dtype or jnp.float32) for _ in range(self.layers)]
        return {
            'position': jnp.zeros(rows, jnp.int32),
            'origin': jnp.zeros((rows, length), jnp.int32),  # whose slots hold a text's tokens
            'memory': {'own': each},
        }

    def _following(
        self, entry: Entry, blocks: list[Block], cache: Cache, ids: jax.Array
    ) -> tuple[jax.Array, Cache]:
        """A cache and the next ids [N] -> the last block's outputs [N, D], the cache after them."""
        moment, origin = _moment(cache)
        memory, own = cache['memory'], []
        x = entry(ids[:, None], moment, None, False)
        for number, block in enumerate(blocks):
            source = memory['source'][number] if 'source' in memory else None
            x, now = block.step(x, moment, memory['own'][number], source, memory.get('lengths'))
            own.append(now)
        position = cache['position'] + 1
        return x[:, 0], {'position': position, 'origin': origin, 'memory': {**memory, 'own': own}}

    def _check(self):
        groups = self.groups or self.heads
        if self.width % self.heads or self.heads % groups:
            raise UserError(
                f'{type(self).__name__}: width={self.width}, heads={self.heads}, groups={groups}: '
                'the heads must divide the width, and the groups the heads'
            )
        if self.positions == 'rotary' and self.width // self.heads % 2:
            raise UserError(
                f'{type(self).__name__}: rotary positions need an even width of a head, '
                f'not {self.width}/{self.heads}'
            )


def _moment(cache: Cache) -> tuple[Moment, jax.Array]:
    """A cache -> where its texts' next tokens stand, and its `origin` [N K, L] with them."""
    position, origin = cache['position'], cache['origin']
    rows, length = len(cache['memory']['own'][0]['key']), origin.shape[1]
    beams = len(position) // rows
    here, time = jnp.arange(len(position)) % beams, jnp.arange(length)[None]
    origin = jnp.where(time == position[:, None], here[:, None], origin)
    seen = (time <= position[:, None]).reshape(rows, beams, 1, length)
    owner = jnp.arange(beams)[None, None, :, None]
    mask = seen & (origin.reshape(rows, beams, 1, length) == owner)
    mask = mask.reshape(rows, beams, beams * length)
    return Moment(position[:, None], here * length + position, mask), origin


def places(
    x: jax.Array, lengths: jax.Array | None, segments: jax.Array | None = None
) -> tuple[Places, jax.Array | None]:
    """A sequence and what is known of its rows -> where it stands, and what is real [N, T]."""
    real = sequences.real(x, lengths)
    if segments is None:
        return Places(jnp.arange(x.shape[1])[None], lengths), real
    segments = sequence.cleaned(segments, real)
    inside = segments > 0
    real = inside if real is None else real & inside
    return Places(sequence.starts(segments), lengths, segments), real
