"""From a model of the next token to texts: the likeliest token each time, drawn ones, beams.

`step(cache, ids [N]) -> (logits [N, V], cache)` reads a token of every row; a cache is a pytree
whose arrays have the rows on their first axis. What a mapping in it holds under the key 'memory' is
of the batch's rows, whatever beams they have: it is neither repeated nor reordered, and `step` finds
the beams of a row next to each other. A whole search is one program of fixed shapes that stops when
all rows have ended.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Cache = Any
Step = Callable[[Cache, jax.Array], tuple[jax.Array, Cache]]


class Texts(NamedTuple):
    """What was found for each row, without what it began with.

    Attributes:
      ids: int32 [B, L], or [B, K, L] of beams, best first; zeros behind the end.
      lengths: int32, how many ids are real, the one that ends the text among them.
      scores: float32, the sum of the ids' log probabilities; of beams divided by the penalty.
    """

    ids: jax.Array
    lengths: jax.Array
    scores: jax.Array


def greedy(step: Step, cache: Cache, first: jax.Array, length: int, eos: int = 3) -> Texts:
    """Always the likeliest token, from the ids `first` [B] on, until `eos` or `length` tokens."""
    likeliest = lambda logits, number: jnp.argmax(logits, -1).astype(jnp.int32)
    return _texts(step, cache, first[:, None], None, length, eos, likeliest)


def sample(
    step: Step,
    cache: Cache,
    prompt: jax.Array,
    length: int,
    key: jax.Array,
    prompt_lengths: jax.Array | None = None,
    temperature: float | jax.Array = 1.0,
    top_k: int = 0,
    top_p: float | jax.Array = 1.0,
    eos: int = 3,
) -> Texts:
    """Texts drawn token by token, each row a function of its key alone.

    Args:
      step, cache: see above; the cache takes P + length - 1 tokens.
      prompt: [B, P], what each row begins with, one token at least.
      length: how many tokens to draw at most.
      key: one for each row [B], or one, of which row i has the i-th.
      prompt_lengths: [B], how many of the prompt's ids are real; None for all.
      temperature: logits are divided by it; 0 takes the likeliest token.
      top_k: only so many likeliest tokens are drawn from; 0 for all.
      top_p: only the fewest likeliest tokens whose probability reaches this (Holtzman et al., 2020).
      eos: the id that ends a text.
    """
    each = jax.vmap(jax.random.fold_in, (None, 0))
    keys = key if key.ndim else each(key, jnp.arange(len(prompt)))

    def drawn(logits, number):
        now = jax.vmap(jax.random.fold_in)(keys, number)
        one = lambda key, logits: _draw(key, logits, temperature, top_k, top_p)
        return jax.vmap(one)(now, logits)

    return _texts(step, cache, prompt, prompt_lengths, length, eos, drawn)


def _draw(key, logits, temperature, top_k, top_p):
    """logits [V] -> an id."""
    count = logits.shape[-1]
    values, ids = lax.top_k(logits, min(top_k, count) if top_k else count)
    values = (values - values[0]) / jnp.maximum(jnp.float32(temperature), 1e-30)
    shares = jax.nn.softmax(values)
    before = jnp.cumsum(shares) - shares  # the likeliest has nothing before it
    values = jnp.where((before < top_p) | (jnp.arange(len(values)) == 0), values, -jnp.inf)
    return ids[jax.random.categorical(key, values)].astype(jnp.int32)


def _texts(step, cache, prompt, prompt_lengths, length, eos, choose) -> Texts:
    """`choose(logits [B, V], number of the new token [B]) -> ids [B]` says how a text goes on."""
    rows, given = prompt.shape
    if prompt_lengths is None:
        prompt_lengths = jnp.full(rows, given, jnp.int32)
    end = jnp.max(prompt_lengths) + length - 1

    def running(carry):
        return (carry[0] < end) & ~jnp.all(carry[3])

    def body(carry):
        time, cache, last, done, found = carry
        now = lax.dynamic_index_in_dim(prompt, jnp.minimum(time, given - 1), 1, False)
        logits, cache = step(cache, jnp.where(time < prompt_lengths, now, last))
        number = time + 1 - prompt_lengths
        logits = logits.astype(jnp.float32)
        ids = choose(logits, jnp.maximum(number, 0))
        more = (number >= 0) & (number < length) & ~done
        score = jnp.take_along_axis(jax.nn.log_softmax(logits), ids[:, None], 1)[:, 0]
        here = (jnp.arange(length)[None] == number[:, None]) & more[:, None]
        found = Texts(
            jnp.where(here, ids[:, None], found.ids),
            found.lengths + more.astype(jnp.int32),
            found.scores + jnp.where(more, score, 0),
        )
        done = done | (more & (ids == eos)) | (number >= length - 1)
        return time + 1, cache, ids, done, found

    nothing = jnp.zeros(rows, jnp.int32)
    empty = Texts(jnp.zeros((rows, length), jnp.int32), nothing, jnp.zeros(rows, jnp.float32))
    carry = jnp.int32(0), cache, nothing, jnp.zeros(rows, bool), empty
    return lax.while_loop(running, body, carry)[-1]


def beam(
    step: Step,
    cache: Cache,
    first: jax.Array,
    length: int,
    beams: int = 4,
    penalty: float | jax.Array = 0.6,
    best: int = 1,
    eos: int = 3,
) -> Texts:
    """The `best` texts of each row, by a search that keeps `beams` beginnings at a time.

    Each time every beginning may end, and the `beams` best of those that go on are kept. A text's
    score is its log probability divided by ((5 + n) / 6)^penalty, n its tokens with `eos` (Wu et
    al., 2016). A row is done when no beginning can still reach one of its `best` texts. Beginnings
    of `length` tokens fill up where fewer texts have ended.

    Args:
      step, cache: see above; a cache for the rows of `first`, of `length` tokens and `beams` texts.
      first: [B], the id that begins every text.
      length: how many tokens a text has at most.
      beams: how many beginnings are kept.
      penalty: exponent of the length's penalty, 0 at least.
      best: how many texts to return, `beams` at most; one that does not exist scores -inf.
      eos: the id that ends a text.
    """
    rows = len(first)
    alive = Texts(  # one beginning; the others are none, and less likely than any
        jnp.zeros((rows, beams, length), jnp.int32),
        jnp.zeros((rows, beams), jnp.int32),
        jnp.where(jnp.arange(beams)[None] == 0, jnp.zeros((rows, 1)), -jnp.inf),
    )
    ended = alive._replace(scores=jnp.full((rows, beams), -jnp.inf))
    ids = jnp.repeat(first, beams)
    cache = _changing(lambda a: jnp.repeat(a, beams, 0), cache)

    def divisor(tokens):
        return ((5 + jnp.asarray(tokens, jnp.float32)) / 6) ** penalty

    def running(carry):
        time, _, _, alive, ended = carry
        reach = alive.scores[:, 0] / divisor(length)  # scores only fall, divisors only grow
        return (time < length) & ~jnp.all(ended.scores[:, best - 1] >= reach)

    def body(carry):
        time, cache, ids, alive, ended = carry
        logits, cache = step(cache, ids)
        logits = jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(rows, beams, -1)
        count = logits.shape[-1]
        total = alive.scores[..., None] + logits
        stopped = _with(alive, time, jnp.full((rows, beams), eos), total[..., eos])
        stopped = stopped._replace(scores=stopped.scores / divisor(time + 1))
        ended = _best(ended, stopped, beams)
        # those that go on; a mask, so that an id that is not one of the beginnings is never eos
        total = jnp.where((jnp.arange(count) == eos)[None, None], -jnp.inf, total)
        scores, chosen = lax.top_k(total.reshape(rows, -1), beams)
        parents, ids = chosen // count, (chosen % count).astype(jnp.int32)
        alive = _with(_taken(alive, parents), time, ids, scores)
        flat = (jnp.arange(rows)[:, None] * beams + parents).reshape(-1)
        cache = _changing(lambda a: a[flat], cache)
        return time + 1, cache, ids.reshape(-1), alive, ended

    *_, alive, ended = lax.while_loop(running, body, (jnp.int32(0), cache, ids, alive, ended))
    cut = alive._replace(scores=alive.scores / divisor(length))
    texts = _taken(_joined(ended, cut), _filled(ended.scores, best))
    found = ~jnp.isneginf(texts.scores)
    ids = jnp.where(found[..., None], texts.ids, 0)
    return Texts(ids, jnp.where(found, texts.lengths, 0), texts.scores)


def _with(texts: Texts, time, ids, scores) -> Texts:
    """The texts with one token more."""
    here = (jnp.arange(texts.ids.shape[-1]) == time)[None, None]
    return Texts(jnp.where(here, ids[..., None], texts.ids), texts.lengths + 1, scores)


def _taken(texts: Texts, chosen: jax.Array) -> Texts:
    """Of each row the texts of these numbers [B, K]."""
    pick = lambda a: jnp.take_along_axis(a, chosen.reshape(chosen.shape + (1,) * (a.ndim - 2)), 1)
    return jax.tree.map(pick, texts)


def _joined(a: Texts, b: Texts) -> Texts:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), a, b)


def _best(a: Texts, b: Texts, count: int) -> Texts:
    """The `count` best of both; of equals the first."""
    both = _joined(a, b)
    return _taken(both, lax.top_k(both.scores, count)[1])


def _filled(scores: jax.Array, count: int) -> jax.Array:
    """Numbers of the first `count` of K sorted texts, -inf where there is none, then of K others."""
    beams = scores.shape[1]
    number = jnp.arange(2 * beams)[None]
    none = jnp.concatenate([jnp.isneginf(scores), jnp.zeros_like(scores, bool)], 1)
    return jnp.argsort(jnp.where(none, 2 * beams, 0) + number, axis=1)[:, :count]


def _changing(function: Callable, cache: Cache) -> Cache:
    """The function of every array of a cache but those under the key 'memory'."""

    def leaf(path, a):
        kept = any(getattr(part, 'key', None) == 'memory' for part in path)
        return a if kept else function(a)

    return jax.tree_util.tree_map_with_path(leaf, cache)
