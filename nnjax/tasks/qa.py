"""Extractive question answering: the answer is a span of the text."""

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.fields import Count
from nnjax.ops import answers, losses
from nnjax.tasks.task import Batch, Task, Weighted, field


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
    articles, of words, the best over the right answers, which are the lines of a text. Two answers
    of no word agree, as version 2.0's script has it.

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
        return jnp.where((real & (high > low))[..., None], outputs, answers.NEVER)

    def loss(outputs: jax.Array, batch: Batch) -> Weighted:
        both = jnp.moveaxis(scores(outputs, batch), -1, 1)  # [B, 2, T]
        values = losses.cross_entropy_with_labels(both, jnp.maximum(batch[span], 0))
        return values, (batch[span] >= 0).astype(jnp.float32)

    def batch_metrics(outputs: jax.Array, batch: Batch) -> dict[str, Weighted]:
        found, _ = answers.best_span(scores(outputs, batch), longest)
        right = (found == batch[span]).all(-1).astype(jnp.float32)
        return {'accuracy': (right, jnp.ones_like(right))}

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        found, probability = answers.best_span(scores(apply(*field(batch, input)), batch), longest)
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
            np.max(
                [
                    (answers.exact(given, right), answers.f1(given, right))
                    for right in rights.split('\n')
                ],
                0,
            )
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
