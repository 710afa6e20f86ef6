"""Connectionist temporal classification (Graves et al., 2006): what fits, and decoding on the device.

Logits are [N, T, V], their lengths [N]; ids [N, L] are filled up with 0. A frame may say the blank,
which stands between two equal symbols and otherwise means nothing.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

LEAST = -1e30  # the logarithm of no probability: finite, so that differences are


def loss(
    logits: jax.Array, lengths: jax.Array, ids: jax.Array, ids_lengths: jax.Array, blank: int = 0
) -> tuple[jax.Array, jax.Array]:
    """-log p(ids) [N] in nats, and whether the frames are enough for them [N].

    Where they are not, the loss is 0, and so is its gradient. optax's, in float32.
    """
    padding = _behind(lengths, logits.shape[1])
    # What stands behind a length may be NaN, which no weight of zero takes away.
    logits = jnp.where(padding[..., None] > 0, 0, logits.astype(jnp.float32))
    behind = _behind(ids_lengths, ids.shape[1])
    ids = jnp.where(behind > 0, blank, ids)
    values = optax.ctc_loss(logits, padding, ids, behind, blank_id=blank)
    enough = needed(ids, ids_lengths) <= lengths
    return jnp.where(enough, values, 0), enough


def needed(ids: jax.Array, lengths: jax.Array) -> jax.Array:
    """ids [N, L], lengths [N] -> frames that they need [N]: one each, and one between equal ones."""
    inside = jnp.arange(1, ids.shape[1])[None] < lengths[:, None]
    return lengths + jnp.sum((ids[:, 1:] == ids[:, :-1]) & inside, 1).astype(lengths.dtype)


def greedy(
    logits: jax.Array, lengths: jax.Array, blank: int = 0
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The likeliest symbol of every frame -> ids [N, T], how many there are [N], their frames [N, T].

    Repetitions become one symbol and blanks none; each one's frame is the first that says it.
    """
    time = logits.shape[1]
    likeliest = jnp.argmax(logits, -1).astype(jnp.int32)
    before = jnp.pad(likeliest, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    spoken = (likeliest != blank) & (likeliest != before) & (_behind(lengths, time) == 0)
    place = jnp.where(spoken, jnp.cumsum(spoken, 1) - 1, time)  # beyond the end: dropped
    rows = jnp.broadcast_to(jnp.arange(len(logits))[:, None], place.shape)
    frames = jnp.broadcast_to(jnp.arange(time, dtype=jnp.int32)[None], place.shape)
    empty = jnp.zeros_like(likeliest)
    put = lambda values: empty.at[rows, place].set(values, mode='drop')
    return put(likeliest), jnp.sum(spoken, 1).astype(jnp.int32), put(frames)


def edits(
    found: jax.Array, found_lengths: jax.Array, wanted: jax.Array, wanted_lengths: jax.Array
) -> jax.Array:
    """ids [N, K], lengths [N], ids [N, L], lengths [N] -> Levenshtein's distance [N], float32."""
    columns = jnp.arange(wanted.shape[1] + 1, dtype=jnp.float32)[None]
    first = jnp.broadcast_to(columns, (len(wanted), columns.shape[1]))

    def row(above, item):
        number, symbol = item
        diagonal = above[:, :-1] + (symbol[:, None] != wanted).astype(jnp.float32)
        best = jnp.minimum(above[:, 1:] + 1, diagonal)
        best = jnp.concatenate([above[:, :1] + 1, best], 1)
        # An insertion after an insertion ...: the running minimum, its cost taken out.
        below = jax.lax.cummin(best - columns, axis=1) + columns
        return jnp.where((number < found_lengths)[:, None], below, above), None

    items = jnp.arange(found.shape[1]), found.T
    last, _ = jax.lax.scan(row, first, items)
    return jnp.take_along_axis(last, wanted_lengths[:, None], 1)[:, 0]


class Beam(NamedTuple):
    """K prefixes, the best first: ids [K, L], lengths [K], scores [K] of those that end in a blank
    and in a symbol, and what the language model adds [K]."""

    ids: jax.Array
    lengths: jax.Array
    blank: jax.Array
    symbol: jax.Array
    language: jax.Array

    @property
    def total(self) -> jax.Array:
        return jnp.logaddexp(self.blank, self.symbol)


def beam(
    logits: jax.Array,
    lengths: jax.Array,
    size: int = 8,
    most: int | None = None,
    blank: int = 0,
    ngram: jax.Array | None = None,
    weight: float | jax.Array = 0.5,
    bonus: float | jax.Array = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Prefix beam search (Hannun et al., 2014) -> ids [N, size, L], lengths and scores [N, size].

    A prefix's score is log p(prefix) + weight * log p_ngram(prefix) + bonus * its length, the best
    first. All alignments of a prefix count, which greedy decoding cannot see.

    Args:
      logits: [N, T, V].
      lengths: frames that are real [N].
      size: prefixes that go on.
      most: L, the longest prefix; default is T.
      blank: id of the blank.
      ngram: log p of a symbol after those before it, [V] * n; see `counted`.
      weight: of the language model.
      bonus: for each symbol.
    """
    most = logits.shape[1] if most is None else most
    logs = jax.nn.log_softmax(logits.astype(jnp.float32))
    search = functools.partial(
        _search, size=size, most=most, blank=blank, ngram=ngram, weight=weight, bonus=bonus
    )
    found = jax.vmap(search)(logs, lengths)
    return found.ids, found.lengths, found.total + found.language


def _search(logs, length, *, size, most, blank, ngram, weight, bonus) -> Beam:
    start = jnp.where(jnp.arange(size) == 0, 0.0, LEAST)
    first = Beam(
        jnp.zeros((size, most), jnp.int32),
        jnp.zeros(size, jnp.int32),
        start,
        jnp.full(size, LEAST),
        jnp.zeros(size),
    )

    def frame(state: Beam, item):
        number, log = item
        after = _extended(state, log, blank, ngram, weight, bonus)
        inside = number < length
        return jax.tree.map(lambda new, old: jnp.where(inside, new, old), after, state), None

    return jax.lax.scan(frame, first, (jnp.arange(len(logs)), logs))[0]


def _extended(state: Beam, log, blank, ngram, weight, bonus) -> Beam:
    """A beam after a frame with log probabilities [V]."""
    size, most = state.ids.shape
    symbols = len(log)
    at = jnp.maximum(state.lengths - 1, 0)[:, None]
    last = jnp.where(state.lengths > 0, jnp.take_along_axis(state.ids, at, 1)[:, 0], blank)
    stay_blank = state.total + log[blank]
    stay_symbol = jnp.where(state.lengths > 0, state.symbol + log[last], LEAST)
    # [K, V]: after its own last symbol a prefix grows by the same only over a blank.
    repeats = jnp.arange(symbols)[None] == last[:, None]
    grown = jnp.where(repeats, state.blank[:, None], state.total[:, None]) + log[None]
    no_room = state.lengths[:, None] >= most
    grown = jnp.where((jnp.arange(symbols)[None] == blank) | no_room, LEAST, grown)
    # A prefix that grows into one that is there already: their alignments are of one text.
    one_longer = state.lengths[None] == state.lengths[:, None] + 1
    before = jnp.where(jnp.arange(most)[None] < state.lengths[:, None] - 1, state.ids, 0)
    same = jnp.all(before[None] == state.ids[:, None], -1) & one_longer  # [k, j]: j is k and one
    joins = jnp.where(same, jnp.take_along_axis(grown, last[None], 1), LEAST)
    stay_symbol = jnp.logaddexp(stay_symbol, jax.nn.logsumexp(joins, 0))
    taken = jnp.any(same[..., None] & repeats[None], 1)
    grown = jnp.where(taken, LEAST, grown)

    language = state.language[:, None] + bonus
    if ngram is not None:
        language = language + weight * _after(state, ngram)
    language = jnp.broadcast_to(language, grown.shape)
    stay = jnp.logaddexp(stay_blank, stay_symbol) + state.language
    scores = jnp.concatenate([stay, (grown + language).reshape(-1)])
    best = jax.lax.top_k(scores, size)[1]
    grows = best >= size
    parent = jnp.where(grows, (best - size) // symbols, best)
    symbol = jnp.where(grows, (best - size) % symbols, 0)
    ids, lengths = state.ids[parent], state.lengths[parent]
    new = grows[:, None] & (jnp.arange(most)[None] == lengths[:, None])
    chosen = grown.reshape(-1)[jnp.maximum(best - size, 0)]
    return Beam(
        jnp.where(new, symbol[:, None], ids),
        lengths + grows.astype(jnp.int32),
        jnp.where(grows, LEAST, stay_blank[parent]),
        jnp.where(grows, chosen, stay_symbol[parent]),
        jnp.where(grows, language.reshape(-1)[jnp.maximum(best - size, 0)], state.language[parent]),
    )


def _after(state: Beam, ngram: jax.Array) -> jax.Array:
    """log p of every symbol after each prefix [K, V]; before the first stands 0."""
    context = []
    for back in range(ngram.ndim - 1, 0, -1):
        at = state.lengths - back
        own = jnp.take_along_axis(state.ids, jnp.maximum(at, 0)[:, None], 1)[:, 0]
        context.append(jnp.where(at >= 0, own, 0))
    return (
        ngram[tuple(context)]
        if context
        else jnp.broadcast_to(ngram, (len(state.ids), *ngram.shape))
    )


def counted(ids: np.ndarray, lengths: np.ndarray, size: int, order: int) -> np.ndarray:
    """Texts' ids [N, L], lengths [N] -> log p of a symbol after order - 1 others, [size] * order.

    Witten and Bell's smoothing, down to the uniform distribution; before the first symbol stands 0.
    """
    table = np.full(size, 1 / size)
    for own in range(1, order + 1):
        counts = np.zeros((size,) * own)
        for row, length in zip(ids, lengths):
            padded = np.concatenate([np.zeros(own - 1, int), row[:length]])
            np.add.at(counts, tuple(padded[n : n + length] for n in range(own)), 1)
        total, kinds = counts.sum(-1, keepdims=True), (counts > 0).sum(-1, keepdims=True)
        shorter = np.broadcast_to(table, counts.shape)
        table = np.where(
            total > 0, (counts + kinds * shorter) / np.maximum(total + kinds, 1), shorter
        )
    return np.log(table).astype(np.float32)


def _behind(lengths: jax.Array, time: int) -> jax.Array:
    """lengths [N] -> float32 [N, T], 1 where nothing is real."""
    return (jnp.arange(time)[None] >= lengths[:, None]).astype(jnp.float32)
