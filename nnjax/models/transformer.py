"""Transformers (Vaswani et al., 2017): an encoder, a decoder, and both together."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import Count
from nnjax.models import layers, sequences
from nnjax.models.stack import Cache, Stack, places


class TransformerEncoder(Stack):
    """Sequences, lengths, segments -> logits [N, classes], or [N, T, classes] with pool='none'.

    Sequences are token ids [N, T] where there is a vocabulary, else numbers [N, T] or [N, T, ...].
    With pool='none' and two classes the outputs are the scores of a span's start and end.

    Attributes:
      classes: number of outputs.
      pool: what the head sees: 'cls' a learned token put in front, the mean, maximum or last of
        the real positions, or with 'none' each position.
      vocabulary: number of token ids; None for inputs that are numbers.
      asked: whether a token's vector says that it stands in the question before the text too.
    """

    classes: Count = 10
    pool: Literal['cls', 'mean', 'max', 'last', 'none'] = 'mean'
    vocabulary: Count | None = None
    asked: bool = False

    def setup(self):
        self.entry = self._entry(self.vocabulary, self.asked)
        self.blocks = self._blocks('block')
        self.last_norm = self._last_norm()
        self.head = layers.Dense(self.classes, dtype=self.dtype)
        if self.pool == 'cls':
            init = nn.initializers.normal(1.0)
            self.class_token = self.param('class_token', init, (1, 1, self.width))

    def __call__(
        self,
        x: jax.Array,
        lengths: jax.Array | None = None,
        segments: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        if segments is not None and (self.pool != 'none' or self.asked):
            raise UserError(
                "TransformerEncoder: packed rows need pool='none' and asked=False, "
                f'not {self.pool!r} and {self.asked}'
            )
        where, real = places(x, lengths, segments)
        x = self.entry(x, where, real, train)
        if self.pool == 'cls':
            token = jnp.broadcast_to(self.class_token.astype(x.dtype), (len(x), 1, self.width))
            x = jnp.concatenate([token, x], 1)
            lengths = None if lengths is None else lengths + 1
            where, _ = places(x, lengths)
        for block in self.blocks:
            x = block(x, where, train)
        x = self.last_norm(x)
        x = x[:, 0] if self.pool == 'cls' else sequences.pooled(x, lengths, self.pool)
        return self.head(x).astype(jnp.float32)


class TransformerDecoder(Stack):
    """Token ids [N, T], lengths, segments -> logits [N, T, vocabulary] of the token that follows.

    Attributes:
      vocabulary: number of token ids.
      tied: whether the table of the tokens' vectors also makes the logits.
    """

    vocabulary: Count = 256
    tied: bool = True

    def setup(self):
        self.entry = self._entry(self.vocabulary)
        self.blocks = self._blocks('block', causal=True)
        self.last_norm = self._last_norm()
        if not self.tied:
            self.head = layers.Dense(self.vocabulary, use_bias=False, dtype=self.dtype)

    def __call__(
        self,
        ids: jax.Array,
        lengths: jax.Array | None = None,
        segments: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        where, real = places(ids, lengths, segments)
        x = self.entry(ids, where, real, train)
        for block in self.blocks:
            x = block(x, where, train)
        return self._logits(x)

    def begin(self, rows: int, length: int, beams: int = 1) -> Cache:
        """The cache of `rows` rows before the first token of at most `length`.

        It has a row for each, and so has what `decode` reads; with `beams` texts side by side for
        each row, next to each other, all but what is under 'memory' is repeated so many times.
        """
        self.entry.check_length(length)
        return self._empty(rows, length, beams)

    def decode(self, cache: Cache, ids: jax.Array) -> tuple[jax.Array, Cache]:
        """The next ids [N] -> logits [N, vocabulary] of what follows them, and the cache."""
        x, cache = self._following(self.entry, self.blocks, cache, ids)
        return self._logits(x), cache

    def _logits(self, x):
        x = self.last_norm(x)
        return (self.entry.logits(x) if self.tied else self.head(x)).astype(jnp.float32)


class Transformer(Stack):
    """Source ids [N, S], lengths, target ids [N, T], lengths -> logits [N, T, target vocabulary].

    The logits at a target's position are those of the token that follows it. 'base' of Vaswani et
    al. (2017) is width=512, heads=8, layers=6, activation='relu', order='post', dropout=0.1.

    Attributes:
      vocabulary: number of token ids.
      target_vocabulary: of the target, with a table of its own; None if both share all.
      tied: whether the table of the target's vectors also makes the logits.
    """

    vocabulary: Count = 256
    target_vocabulary: Count | None = None
    tied: bool = True

    def setup(self):
        self.source_entry = self._entry(self.vocabulary)
        shared = self.target_vocabulary is None
        self.target_entry = self.source_entry if shared else self._entry(self.target_vocabulary)
        self.encoder, self.encoder_norm = self._blocks('encoder'), self._last_norm()
        self.decoder = self._blocks('decoder', causal=True, cross=True)
        self.decoder_norm = self._last_norm()
        if not self.tied:
            count = self.target_vocabulary or self.vocabulary
            self.head = layers.Dense(count, use_bias=False, dtype=self.dtype)

    def __call__(
        self,
        source: jax.Array,
        source_lengths: jax.Array | None,
        target: jax.Array,
        target_lengths: jax.Array | None,
        train: bool = False,
    ) -> jax.Array:
        memory = self.encode(source, source_lengths, train)
        where, real = places(target, target_lengths)
        x = self.target_entry(target, where, real, train)
        for block in self.decoder:
            x = block(x, where, train, memory['outputs'], memory['lengths'])
        return self._logits(x)

    def encode(
        self, source: jax.Array, lengths: jax.Array | None = None, train: bool = False
    ) -> Cache:
        """Source ids [N, S] and their lengths -> what a decoder needs of them."""
        where, real = places(source, lengths)
        x = self.source_entry(source, where, real, train)
        for block in self.encoder:
            x = block(x, where, train)
        return {'outputs': self.encoder_norm(x), 'lengths': lengths}

    def begin(self, memory: Cache, length: int, beams: int = 1) -> Cache:
        """The cache of `encode`'s sources, as that of `TransformerDecoder.begin`."""
        self.target_entry.check_length(length)
        cache = self._empty(len(memory['outputs']), length, beams)
        source = [block.remember(memory['outputs']) for block in self.decoder]
        kept = {**cache['memory'], 'source': source, 'lengths': memory['lengths']}
        return {**cache, 'memory': kept}

    def decode(self, cache: Cache, ids: jax.Array) -> tuple[jax.Array, Cache]:
        """The next ids [N] -> logits [N, target vocabulary] of what follows them, and the cache."""
        x, cache = self._following(self.target_entry, self.decoder, cache, ids)
        return self._logits(x), cache

    def _logits(self, x):
        x = self.decoder_norm(x)
        x = self.target_entry.logits(x) if self.tied else self.head(x)
        return x.astype(jnp.float32)
