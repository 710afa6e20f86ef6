"""Language modelling: each token from those before it."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.fields import Natural
from nnjax.ops import losses
from nnjax.tasks.task import Batch, Task, Weighted, field, following


def language_model(input: str = 'text', given: Natural = 1) -> Task:
    """Every token of a text from those before it; the model gives logits [B, T, V].

    The logits at a position are those of the token behind it; what follows a packed example's end
    is not its own and weighs nothing. The scores are the perplexity of a token, exp(loss), and bits
    a character and a byte of UTF-8: all tokens' bits over all characters but the first `given` of
    each text, which are not predicted. Leave `given` at 1 for characters or bytes without a begin
    token; with one it is 0. With words or parts of words it is their first token's characters, so
    begin tokens are simpler. Texts that `prepare` cut are left out of both.

    Args:
      input: the batch's field of token ids
      given: characters at the start of a text that the model is given
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
        if input in examples:
            whole = ~examples.get(f'{input}_cut', np.zeros(len(nats), bool))
            texts = [text[given:] for text in examples[input][whole].tolist()]
            for name, count in (
                ('character', sum(map(len, texts))),
                ('byte', sum(len(text.encode()) for text in texts)),
            ):
                if count:
                    found[f'bits_per_{name}'] = float(nats[whole].sum()) / math.log(2) / count
        return found

    return Task(lambda batch: field(batch, input), loss, batch_metrics, predict, score)
