"""Extractive question answering: the answer is a span of the text."""

import re
import string
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.fields import Count
from nnjax.ops import losses
from nnjax.tasks.task import Batch, Task, Weighted, field

NEVER = -1e9  # the score of a token that no answer begins or ends at


def qa(
    longest: Count = 30,
    input: str = 'text',
    span: str = 'span',
    context: str = 'context',
    answer: str = 'answer',
) -> Task:
    """Where an answer begins and ends; the model gives scores [B, T, 2] of each token as its ends.

    The batch's span [B, 2] is the first and last token of the answer, -1 where it is not among the
    tokens: such an example teaches nothing and is answered wrongly. INPUT_offsets [B, T, 2] are the
    tokens' characters in the context; tokens of the question have none and are no answer's ends.

    The answer is the span of at most `longest` tokens whose ends' scores have the greatest sum.
    exact_match and f1 are those of SQuAD's script (Rajpurkar et al., 2016): without case, marks and
    articles, of words, the best over the right answers, which are the lines of a text.

    Args:
      longest: tokens of an answer, at most
      input: the batch's field of token ids
      span: the batch's field of the right span
      context: the field of the text that answers are taken from
      answer: the field of right answers, one a line
    """

    def scores(outputs: jax.Array, batch: Batch) -> jax.Array:
        low, high = jnp.moveaxis(batch[f'{input}_offsets'][:, : outputs.shape[1]], -1, 0)
        length = batch[f'{input}_length']
        real = jnp.arange(outputs.shape[1])[None] < length[:, None]
        return jnp.where((real & (high > low))[..., None], outputs, NEVER)

    def loss(outputs: jax.Array, batch: Batch) -> Weighted:
        both = jnp.moveaxis(scores(outputs, batch), -1, 1)  # [B, 2, T]
        values = losses.cross_entropy_with_labels(both, jnp.maximum(batch[span], 0))
        return values, (batch[span] >= 0).astype(jnp.float32)

    def batch_metrics(outputs: jax.Array, batch: Batch) -> dict[str, Weighted]:
        found, _ = best_span(scores(outputs, batch), longest)
        right = (found == batch[span]).all(-1).astype(jnp.float32)
        return {'accuracy': (right, jnp.ones_like(right))}

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        found, probability = best_span(scores(apply(*field(batch, input)), batch), longest)
        ends = jnp.take_along_axis(batch[f'{input}_offsets'], found[..., None], 1)
        return {
            'prediction': jnp.stack([ends[:, 0, 0], ends[:, 1, 1]], -1),
            'probability': probability,
        }

    def score(
        predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]
    ) -> dict[str, float]:
        pairs = zip(predictions['prediction'].tolist(), examples[answer].tolist(), strict=True)
        each = [
            np.max([(exact(given, right), f1(given, right)) for right in rights.split('\n')], 0)
            for given, rights in pairs
        ]
        means = np.mean(each, 0, np.float64)
        return {'exact_match': float(means[0]), 'f1': float(means[1])}

    return Task(
        lambda batch: field(batch, input),
        loss,
        batch_metrics,
        predict,
        score,
        quotes={'prediction': context},
    )


def best_span(scores: jax.Array, longest: int) -> tuple[jax.Array, jax.Array]:
    """Scores [B, T, 2] -> the best span's ends int32 [B, 2], its probability [B].

    The probability is the product of the ends', each by a softmax over the positions.
    """
    logs = jax.nn.log_softmax(scores.astype(jnp.float32), 1)
    first, last = logs[..., 0], logs[..., 1]
    time = first.shape[1]
    longest = min(longest, time)
    padded = jnp.pad(last, ((0, 0), (0, longest - 1)), constant_values=NEVER)
    ends = jnp.stack([padded[:, n : n + time] for n in range(longest)], -1)  # [B, T, longest]
    sums = (first[..., None] + ends).reshape(len(first), -1)
    best = sums.argmax(-1)
    start, more = best // longest, best % longest
    span = jnp.stack([start, start + more], -1).astype(jnp.int32)
    return span, jnp.exp(jnp.max(sums, -1))


def normalized(text: str) -> str:
    """Small letters without marks, articles and spare spaces, as SQuAD's script has it."""
    text = ''.join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return ' '.join(re.sub(r'\b(a|an|the)\b', ' ', text).split())


def exact(given: str, right: str) -> float:
    """Whether two answers are the same once normalised."""
    return float(normalized(given) == normalized(right))


def f1(given: str, right: str) -> float:
    """The F1 of two answers' words once normalised; 1 where neither has any."""
    given_words, right_words = normalized(given).split(), normalized(right).split()
    if not given_words or not right_words:
        return float(given_words == right_words)
    common = sum((Counter(given_words) & Counter(right_words)).values())
    return 2 * common / (len(given_words) + len(right_words))
