"""Language modelling: each token from those before it."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.ops import losses
from nnjax.tasks.task import Batch, Task, Weighted, field, following


def language_model(input: str = 'text') -> Task:
    """Every token of a text from those before it; the model gives logits [B, T, V].

    The logits at a position are those of the token behind it; what follows a packed example's end
    is not its own and weighs nothing. The scores are the perplexity of a token, exp(loss), and bits
    a character and a byte of UTF-8: the bits of all predicted tokens over what they spell. The first
    token is not predicted, so its characters do not count; behind <bos> all do. <eos> costs bits
    and spells nothing. The spaces that words leave out count. Texts that `prepare` cuts and those
    with symbols unknown to the vocabulary are left out of both.

    Args:
      input: the batch's field of token ids
    """

    def loss(outputs: jax.Array, batch: Batch) -> Weighted:
        values = losses.cross_entropy_with_labels(outputs[:, :-1], _next(batch, outputs))
        return values, following(batch, input)

    def batch_metrics(outputs: jax.Array, batch: Batch) -> dict[str, Weighted]:
        right = outputs[:, :-1].argmax(-1) == _next(batch, outputs)
        return {'accuracy': (right.astype(jnp.float32), following(batch, input))}

    def _next(batch: Batch, outputs: jax.Array) -> jax.Array:
        # Behind the length may stand anything.
        return jnp.clip(batch[input][:, 1:], 0, outputs.shape[-1] - 1)

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        values, weights = loss(apply(*field(batch, input)), batch)
        nats = jnp.sum(jnp.where(weights > 0, values, 0), -1)
        return {'nats': nats, 'tokens': jnp.sum(weights, -1)}

    def score(
        predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]
    ) -> dict[str, float]:
        nats, tokens = (predictions[n].astype(np.float64) for n in ('nats', 'tokens'))
        found = {'perplexity': float(np.exp(nats.sum() / max(tokens.sum(), 1)))}
        for name, sizes in (('character', 'characters'), ('byte', 'bytes')):
            spelled = examples.get(f'{input}_{sizes}', np.zeros(0, int))
            if (whole := spelled >= 0).any() and spelled[whole].any():
                bits = float(nats[whole].sum()) / math.log(2)
                found[f'bits_per_{name}'] = bits / int(spelled[whole].sum())
        return found

    return Task(lambda batch: field(batch, input), loss, batch_metrics, predict, score)
