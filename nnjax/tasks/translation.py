"""From one text to another: translation, and whatever else rewrites a text."""

import importlib.util
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count, Fraction, Natural, NonNegative
from nnjax.ops import decode, losses
from nnjax.tasks.task import Batch, Task, Weighted, field, following

BEGIN = 2  # the id that begins every target


def translation(
    smoothing: BelowOne = 0.0,
    search: Literal['beam', 'greedy', 'sample'] = 'beam',
    beams: Count = 4,
    penalty: NonNegative = 0.6,
    best: Count = 1,
    longest: Count = 64,
    temperature: NonNegative = 1.0,
    top_k: Natural = 0,
    top_p: Fraction = 1.0,
    seed: Natural = 0,
    source: str = 'source',
    target: str = 'target',
) -> Task:
    """A target from its source; the model gives logits [B, T - 1, V] of all but its first token.

    The model is an encoder and a decoder that is taught by the target itself: it reads
    `target[:, :-1]` and is to give `target[:, 1:]`. Targets must begin with <bos> and end with
    <eos>, see `begin` and `end` of the tokenizers in `prepare`.

    Scores: BLEU and chrF by sacrebleu on the texts as they are, with BLEU's signature (Post, 2018),
    and the share of exact matches. In evaluation and prediction the target is found by a search of
    the decoder's own; a drawn one is a function of its source and `seed`.

    Args:
      smoothing: share of each target token spread evenly over all tokens
      search: for the likeliest beam, the likeliest token each time, or a drawn token each time
      beams: beginnings that the beam search keeps
      penalty: exponent of the beam search's length penalty (Wu et al., 2016)
      best: translations to give, the best first, where the search is for beams
      longest: tokens of a translation, its end among them, at most
      temperature: divides the logits that a token is drawn from
      top_k: a token is drawn from so many likeliest ones only; 0 for all
      top_p: a token is drawn from the fewest likeliest ones of this probability together
      seed: of the tokens that are drawn
      source: the batch's field that is translated
      target: the batch's field that is its translation
    """
    if importlib.util.find_spec('sacrebleu') is None:
        raise UserError("tasks.translation scores with sacrebleu: pip install 'nnjax[text]'")
    if best > (beams if search == 'beam' else 1):
        raise UserError(
            f'task.best={best}: search={search!r} gives {beams if search == "beam" else 1}'
        )

    def inputs(batch: Batch) -> tuple[jax.Array, ...]:
        if f'{target}_segment' in batch:
            raise UserError('translation does not take packed rows: use buckets')
        ids, lengths = field(batch, target)
        return *field(batch, source), ids[:, :-1], lengths - 1

    def wanted(outputs: jax.Array, batch: Batch) -> jax.Array:
        # Behind the length may stand anything.
        return jnp.clip(batch[target][:, 1:], 0, outputs.shape[-1] - 1)

    def loss(outputs: jax.Array, batch: Batch) -> Weighted:
        values = losses.cross_entropy_with_labels(outputs, wanted(outputs, batch))
        uniform = jax.nn.logsumexp(outputs, -1) - jnp.mean(outputs, -1)
        values = (1 - smoothing) * values + smoothing * uniform
        return values, following(batch, target)

    def batch_metrics(outputs: jax.Array, batch: Batch) -> dict[str, Weighted]:
        right = outputs.argmax(-1) == wanted(outputs, batch)
        return {'accuracy': (right.astype(jnp.float32), following(batch, target))}

    def predict(apply: Callable, batch: Batch) -> dict[str, jax.Array]:
        memory = apply(*field(batch, source), method='encode')
        beam = search == 'beam'
        cache = apply(memory, longest, beams if beam else 1, method='begin')
        step = lambda cache, ids: apply(cache, ids, method='decode')
        first = jnp.full(len(batch[source]), BEGIN, jnp.int32)
        if beam:
            found = decode.beam(step, cache, first, longest, beams, penalty, best)
            return {
                name if n == 0 else f'{name}_{n + 1}': values[:, n]
                for n in range(best)
                for name, values in (('translation', found.ids), ('score', found.scores))
            }
        if search == 'greedy':
            found = decode.greedy(step, cache, first, longest)
        else:
            options = temperature, top_k, top_p
            keys = _keys(seed, *field(batch, source))
            found = decode.sample(step, cache, first[:, None], longest, keys, None, *options)
        return {'translation': found.ids, 'score': found.scores}

    def score(
        predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]
    ) -> dict[str, float | str]:
        from sacrebleu.metrics import BLEU, CHRF

        bleu, chrf = BLEU(), CHRF()
        given, right = predictions['translation'].tolist(), examples[target].tolist()
        exact = sum(a.strip() == b.strip() for a, b in zip(given, right, strict=True))
        return {
            'exact_match': exact / len(right),
            'bleu': bleu.corpus_score(given, [right]).score,
            'chrf': chrf.corpus_score(given, [right]).score,
            'signature': str(bleu.get_signature()),
        }

    names = ['translation', *(f'translation_{n + 1}' for n in range(1, best))]
    found = dict.fromkeys(names, target)
    return Task(inputs, loss, batch_metrics, predict, score, found, framed=(target,))


def _keys(seed: int, ids: jax.Array, lengths: jax.Array) -> jax.Array:
    """Sources [B, S] and their lengths -> a key for each, a function of the seed and its ids alone."""
    places = jnp.arange(ids.shape[1], dtype=jnp.uint32)
    real = jnp.arange(ids.shape[1])[None] < lengths[:, None]
    # A hash of ids and places, so that the order of words counts.
    mixed = (ids.astype(jnp.uint32) + jnp.uint32(1)) * (places * jnp.uint32(2654435761) + 1)[None]
    mixed = mixed ^ (mixed >> 15)
    hashes = jnp.sum(jnp.where(real, mixed, 0), 1, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), hashes)
