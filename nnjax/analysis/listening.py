"""A long sound read in windows, as it comes: words and their times.

The result is that of the whole sound at once where a frame depends on a stretch of it alone: features
without statistics of the whole sound (as of cmvn and mfcc), and a model with a `reach`, such as
TimeCNN.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from nnjax.data import augment, spec
from nnjax.data.augment import chain
from nnjax.data.preparation import by_words
from nnjax.errors import UserError
from nnjax.training import step
from nnjax.training.setup import Setup
from nnjax.training.state import State

LONG = 1 << 14  # frames of features by which a model's frames are counted


class Word(NamedTuple):
    """A word and where it begins and ends, in seconds."""

    text: str
    start: float
    end: float


def rate(made: Setup) -> int:
    """Samples a second of the sounds that a run transcribes.

    Raises:
      UserError: it transcribes nothing.
    """
    operations = spec.parse(made.config.augment, augment)
    if 'transcript' not in made.task.texts or chain.hop(operations) is None:
        raise UserError('listening needs a run of tasks.ctc, with log_mel or mfcc in its augment')
    return chain.rate(operations)


def frames(
    made: Setup, state: State, x: np.ndarray, stride: int, window: int, context: int
) -> Iterator[np.ndarray]:
    """Samples int16 [T] -> the model's logits [frames, V], window after window.

    Args:
      made: of a run whose task is tasks.ctc.
      state: its parameters.
      x: the sound.
      stride: samples from one of the model's frames to the next.
      window: frames of a window.
      context: frames that are read, and thrown away, to either side of a window.
    """
    run = _compiled(made.program)
    total = (window + 2 * context) * stride
    last = -(-(1 + len(x)) // stride)  # frames of the whole sound, and perhaps one
    for first in range(0, last, window):
        start = max(0, first - context)
        piece = x[start * stride : start * stride + total]
        found = run(
            state,
            {
                'audio': np.pad(piece, (0, total - len(piece)))[None],
                'audio_length': np.array([len(piece)], np.int32),
                'mask': np.ones(1, np.float32),
            },
            made.hyperparameters,
        )
        count = int(found['lengths'][0]) if start * stride + total >= len(x) else total // stride
        yield np.asarray(found['logits'])[0, first - start : min(count, first - start + window)]


def words(
    made: Setup, state: State, x: np.ndarray, seconds: float = 4.0, context: float | None = None
) -> Iterator[Word]:
    """Yields the words of a sound, int16 [T] at the run's rate, each as soon as it has ended.

    The run's symbols are letters, or words themselves.

    Args:
      made: of a run whose task is tasks.ctc.
      state: its parameters.
      x: the sound.
      seconds: of a window.
      context: seconds that a window sees to either side; default is what the model's frames reach.

    Raises:
      UserError: the run transcribes nothing, or its frames reach over whole sounds.
    """
    own = rate(made)
    operations = spec.parse(made.config.augment, augment)
    hop, field = chain.hop(operations), made.task.texts['transcript']
    stride = hop * _shortening(made, state, hop)
    if context is None:
        reach = getattr(made.program.model, 'reach', None)
        if reach is None or chain.whole(operations):
            why = 'its cmvn, mfcc, centered or picture' if reach else made.config.model.fn
            raise UserError(
                f'a frame of this run depends on the whole sound, by {why}; say how many seconds to '
                'either side are enough, such as --context=2'
            )
        # Half a second more is longer than any window of the features.
        context = reach / made.program.model.shortening * stride / own + 0.5
    around, window = (-(-round(s * own) // stride) for s in (context, max(seconds, 1 / own)))
    names = made.prepare.vocabularies[field].names
    whole = by_words(names)
    symbols: list[Word] = []  # of the word that is being said, by frames
    before, place = 0, 0
    for logits in frames(made, state, x, stride, window, around):
        for likeliest in logits.argmax(-1).tolist():
            symbol = names[likeliest] if likeliest < len(names) else ''
            if likeliest not in (0, before):
                if (whole or symbol.isspace()) and symbols:
                    yield _word(symbols, stride / own)
                    symbols = []
                if symbol.strip():
                    symbols.append(Word(symbol, place, place + 1))
            elif likeliest and symbols and symbols[-1].text == symbol:
                symbols[-1] = symbols[-1]._replace(end=place + 1)
            before, place = likeliest, place + 1
    if symbols:
        yield _word(symbols, stride / own)


def _word(symbols: list[Word], seconds: float) -> Word:
    text = ''.join(symbol.text for symbol in symbols)
    return Word(text, symbols[0].start * seconds, symbols[-1].end * seconds)


def _shortening(made: Setup, state: State, hop: int) -> int:
    """Frames of features for each of the model's, by the shapes of a long sound."""
    batch = {
        'audio': jax.ShapeDtypeStruct((1, hop * LONG), np.int16),
        'audio_length': jax.ShapeDtypeStruct((1,), np.int32),
        'mask': jax.ShapeDtypeStruct((1,), np.float32),
    }
    found = jax.eval_shape(_compiled(made.program), state, batch, made.hyperparameters)
    return round(LONG / found['logits'].shape[1])


@functools.cache
def _compiled(program: step.Program):
    return jax.jit(functools.partial(step.outputs, program))
