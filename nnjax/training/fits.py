"""Before a run begins: whether its sounds have as many of the model's frames as their texts need."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from nnjax import texts
from nnjax.data import pipeline
from nnjax.data.description import SPLITS
from nnjax.errors import UserError
from nnjax.training import step
from nnjax.training.setup import RESIDENT_BYTES, Setup, example_bytes

ROWS = 256  # examples in a call


def check(made: Setup) -> None:
    """Prepares every split's texts and refuses those that need more frames than the model gives.

    For tasks that count them (`Task.fits`). A split that is streamed, without buckets for which it is
    read anyway, is not read for this.

    Raises:
      UserError: such texts, or one that cannot be prepared.
    """
    if made.task.fits is None:
        return
    run = jax.jit(functools.partial(_counts, made))
    for split in SPLITS:
        source = getattr(made.dataset, split)
        small = source and example_bytes(made.example) * len(source) <= RESIDENT_BYTES
        if not small and not (source and made.program.cuts):
            continue
        prepared = made.train if split == 'train' else made.prepared(source)
        counts = [run(_read(made, b)) for b in pipeline.evaluation_batches(prepared, ROWS)]
        needed, there = (np.concatenate(part)[: len(source)] for part in zip(*counts))
        bad = np.flatnonzero(needed > there)
        if bad.size:
            raise UserError(
                f'{split}: {bad.size} of {len(source)} texts need more frames than the model gives '
                f'for their sounds, the first{_text(made, source, bad[0])} {needed[bad[0]]}, it gives '
                f'{there[bad[0]]}: shorten hop or steps, leave such out, or go on without them by '
                '--config.task.short=keep'
            )


def _read(made: Setup, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the counts depend on: texts, lengths and other single numbers."""
    written = made.task.texts.values()
    return {n: a for n, a in batch.items() if n != 'index' and (a.ndim == 1 or n in written)}


def _counts(made: Setup, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Frames that are needed, and that there are. Of the network XLA leaves out all but lengths."""
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), made.state.replace(opt_state=()))
    shapes = made.batch_shapes(ROWS)
    batch = {n: batch[n] if n in batch else jnp.zeros(s.shape, s.dtype) for n, s in shapes.items()}
    outputs = step.outputs(made.program, state, batch, made.hyperparameters)
    return made.task.fits(outputs, batch)


def _text(made: Setup, source, row: int) -> str:
    """The text of a row, in quotes, if it has one."""
    names = [n for n in made.task.texts.values() if n in texts.fields(source.spec)]
    return ''.join(f' {source[np.array([row])][name].tolist()[0]!r}' for name in names)
