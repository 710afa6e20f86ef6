"""What a run makes up: texts that a language model goes on with, examples that a task draws."""

import jax
import jax.numpy as jnp
import numpy as np

from nnjax import texts
from nnjax.data.text.vocabulary import BEGIN, END
from nnjax.errors import UserError
from nnjax.ops import decode
from nnjax.training import step
from nnjax.training.setup import Setup
from nnjax.training.state import State


def generate(
    made: Setup,
    state: State,
    prompt: str,
    length: int,
    samples: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> list[str]:
    """Continuations of a prompt, without it, of `length` tokens at most; see `decode.sample`.

    Sample number i is a function of (seed, i).

    Raises:
      UserError: the run's model reads no tokens one by one, or the prompt has no token or more than
        prepare makes of a text.
    """
    name = made.config.task.get('input', '')
    vocabulary = made.prepare.vocabularies.get(name)
    if vocabulary is None or not hasattr(made.program.model, 'decode'):
        raise UserError(
            f'{made.config.model.fn} with {made.config.task.fn} cannot generate: '
            'language models and variational autoencoders can'
        )
    raw = {name: texts.array([prompt])}
    prepared = made.prepare(raw)
    ids = prepared[name][0, : prepared[f'{name}_length'][0]]
    if (own := made.prepare.spelled(raw).get(name)) and own.cut[0]:
        raise UserError(
            f'the prompt has more than the {len(ids)} tokens that prepare makes of a text at most: '
            'give its last part alone'
        )
    ids = ids[:-1] if ids[-1] == END else ids
    if not len(ids) or not (prompt or ids[0] == BEGIN):
        raise UserError('the prompt is empty, and prepare puts no <bos> before a text: give one')

    @jax.jit
    def run(state, prompt, keys, temperature, top_p):
        apply = step.apply(made.program, state)
        cache = apply(samples, prompt.shape[1] + length, method='begin')

        def one(cache, ids):
            logits, cache = apply(cache, ids, method='decode')
            places = jnp.arange(logits.shape[-1])
            real = (places >= END) & (places < vocabulary.size)  # a model may have room for more
            return jnp.where(real[None], logits, -jnp.inf), cache

        return decode.sample(one, cache, prompt, length, keys, None, temperature, top_k, top_p, END)

    prompts = np.broadcast_to(ids.astype(np.int32), (samples, len(ids)))
    found = run(state, prompts, _keys(seed, samples), np.float32(temperature), np.float32(top_p))
    # Together, for whether a space stands between words depends on both.
    whole = vocabulary.decode(np.concatenate([prompts, found.ids], 1)).tolist()
    given = len(vocabulary.decode(ids[None])[0])
    return [text[given:] for text in whole]


def examples(made: Setup, state: State, samples: int, seed: int = 0) -> np.ndarray:
    """New examples [samples, ...], number i a function of (seed, i); the task must `draw` them."""
    draw = made.task.draw
    run = jax.jit(lambda state, keys: draw(step.apply(made.program, state), keys))
    return np.asarray(run(state, _keys(seed, samples)))


def _keys(seed: int, samples: int) -> jax.Array:
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(samples))
