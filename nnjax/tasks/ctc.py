"""Transcripts of sounds, without alignments: connectionist temporal classification."""

import importlib.util
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.errors import UserError
from nnjax.fields import Count, NonNegative
from nnjax.ops import ctc as ops
from nnjax.tasks.task import Batch, Task, Weighted, field


def ctc(
    decoder: Literal['greedy', 'beam'] = 'greedy',
    beam: Count = 8,
    ngram: str | None = None,
    ngram_weight: NonNegative = 0.5,
    bonus: float = 0.0,
    short: Literal['refuse', 'keep'] = 'refuse',
    input: str = 'audio',
    label: str = 'text',
) -> Task:
    """A text for each sound; the model gives {'logits': [B, T, V], 'lengths': [B]}, id 0 the blank.

    The loss is per symbol (Graves et al., 2006). A text that needs more frames than its sound has
    weighs nothing. `error` is the edits to the likeliest path's text, per symbol, and `exact` how
    often there are none. Scores of a split are those of texts, in lower case, as jiwer counts them:
    `wer` of words and `cer` of characters, edits over all of the split's.

    Args:
      decoder: greedy takes the likeliest symbol of each frame, beam sums over alignments
      beam: prefixes that the beam keeps
      ngram: .npy file of log p of a symbol after those before it, [V] * n, for the beam; it is made
        by experiments/examples/ngram.py
      ngram_weight: of the n-gram's logarithm
      bonus: added to a prefix's score for each of its symbols
      short: what to do where a sound has too few frames for its text; kept, it is not trained on
      input: the batch's field that the model reads
      label: the batch's field that holds the ids of the text
    """
    if importlib.util.find_spec('jiwer') is None:
        raise UserError("tasks.ctc scores with the package jiwer: pip install 'nnjax[speech]'")
    if ngram is not None and decoder != 'beam':
        raise UserError("task.ngram is for decoder='beam'")
    table = None if ngram is None else _table(ngram)

    def loss(outputs, batch: Batch) -> Weighted:
        values, enough = ops.loss(*_frames(outputs), *_text(batch))
        # An empty text has a loss too: that nothing is said.
        count = jnp.maximum(_text(batch)[1], 1).astype(jnp.float32)
        return values / count, jnp.where(enough, count, 0)

    def metrics(outputs, batch: Batch) -> dict[str, Weighted]:
        ids, count, _ = ops.greedy(*_frames(outputs))
        wanted, length = _text(batch)
        edits = ops.edits(ids, count, wanted, length)
        symbols = jnp.maximum(length, 1).astype(jnp.float32)
        exact = (edits == 0).astype(jnp.float32)
        return {'error': (edits / symbols, symbols), 'exact': (exact, jnp.ones_like(exact))}

    def fits(outputs, batch: Batch) -> tuple[jax.Array, jax.Array]:
        needed = ops.needed(*_text(batch))
        return needed if short == 'refuse' else jnp.zeros_like(needed), _frames(outputs)[1]

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        logits, lengths = _frames(apply(*field(batch, input)))
        if decoder == 'greedy':
            return {'transcript': ops.greedy(logits, lengths)[0]}
        if table is not None and len(table) != logits.shape[-1]:
            raise UserError(
                f'task.ngram={ngram!r} is of {len(table)} symbols, the model writes '
                f'{logits.shape[-1]}: count it for this run'
            )
        found, _, _ = ops.beam(
            logits,
            lengths,
            beam,
            ngram=None if table is None else jnp.asarray(table),
            weight=ngram_weight,
            bonus=bonus,
        )
        return {'transcript': found[:, 0]}

    def score(
        predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]
    ) -> dict[str, float]:
        import jiwer

        found, wanted = (
            [' '.join(text.lower().split()) for text in side[name].tolist()]
            for side, name in ((predictions, 'transcript'), (examples, label))
        )
        said = [number for number, text in enumerate(wanted) if text]  # jiwer divides by them
        spare = [n for n, text in enumerate(wanted) if not text and found[n]]
        if not said:
            raise UserError(f'the field {label!r} holds no words: there is nothing to score')
        words = jiwer.process_words([wanted[n] for n in said], [found[n] for n in said])
        letters = jiwer.process_characters([wanted[n] for n in said], [found[n] for n in said])
        return {
            'wer': _rate(words, sum(len(found[n].split()) for n in spare)),
            'cer': _rate(letters, sum(len(found[n]) for n in spare)),
            'exact': float(np.mean([a == b for a, b in zip(found, wanted)])),
        }

    def _text(batch: Batch) -> tuple[jax.Array, jax.Array]:
        ids, *length = field(batch, label)
        if not length:
            raise UserError(f"tasks.ctc: {label!r} has no length; see prepare='transcript'")
        return ids, length[0]

    return Task(
        lambda batch: field(batch, input),
        loss,
        metrics,
        predict,
        score,
        {'transcript': label},
        fits=fits,
    )


def _frames(outputs) -> tuple[jax.Array, jax.Array]:
    if not isinstance(outputs, dict) or not {'logits', 'lengths'} <= set(outputs):
        raise UserError(
            "tasks.ctc: the model gives no {'logits': [B, T, V], 'lengths': [B]}; "
            'see models.ConvRNN, models.TimeCNN and models.Conformer'
        )
    return outputs['logits'], outputs['lengths']


def _rate(counts, spare: int) -> float:
    """Edits over symbols; `spare` were said where nothing was to be."""
    wanted = counts.hits + counts.substitutions + counts.deletions
    return (counts.substitutions + counts.deletions + counts.insertions + spare) / wanted


def _table(path: str) -> np.ndarray:
    try:
        table = np.load(Path(path).expanduser(), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f'task.ngram={path!r} cannot be read: {str(error).splitlines()[0]}'
        ) from None
    if len(set(table.shape)) != 1 or table.dtype.kind != 'f':
        raise UserError(f'task.ngram={path!r} is {table.dtype} {list(table.shape)}, not [V] * n')
    return table.astype(np.float32)
