"""Answers that are spans of a text: the best one, and how good it is."""

import re
import string
from collections import Counter

import jax
import jax.numpy as jnp

NEVER = -1e9  # the score of a token that no answer begins or ends at


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
    """The F1 of two answers' words once normalised; where neither has any 1, as in SQuAD 2.0's."""
    given_words, right_words = normalized(given).split(), normalized(right).split()
    if not given_words or not right_words:
        return float(given_words == right_words)
    common = sum((Counter(given_words) & Counter(right_words)).values())
    return 2 * common / (len(given_words) + len(right_words))
