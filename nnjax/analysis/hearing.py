"""What a run makes of sounds that are harder to hear, and where in a sound it hears what."""

import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from nnjax import texts
from nnjax.data import augment, spec
from nnjax.data.augment import chain
from nnjax.data.preparation import by_words
from nnjax.data.source import Source
from nnjax.errors import UserError
from nnjax.training import predict, step
from nnjax.training.setup import Setup
from nnjax.training.state import State

ROWS = 256  # sounds that noise is added to at a time
LIKELY = 0.1  # symbols that never reach it are not drawn


def noise_curve(
    made: Setup, state: State, source: Source, ratios: Sequence[float], seed: int = 0
) -> dict[float, dict[str, float]]:
    """Signal-to-noise ratios in decibels -> {ratio: the task's scores} over a split's sounds.

    White noise at each ratio is added to the sounds as they are, noisy already perhaps; it is a
    function of (seed, place in the split). At the ratio inf there is none.

    Raises:
      UserError: the run is not of sounds, or its task has no scores.
    """
    task = made.task
    if 'audio' not in source.spec or task.score is None:
        raise UserError('a noise curve needs a run of sounds, of a task that has scores')
    rows = source[np.arange(len(source))]
    prepared = made.prepare(rows)
    found = {}
    for ratio in ratios:
        noisy = rows['audio']
        if np.isfinite(ratio):
            operations = spec.parse(f'add_noise({ratio}, {ratio})', augment)
            noisy = _noisy(operations, rows, jax.random.key(seed))
        predictions = predict.predict(made, state, {**rows, 'audio': noisy})
        scores = task.score(predictions, {**prepared, **_texts(rows)})
        found[ratio] = {name: float(value) for name, value in scores.items()}
    return found


def _noisy(operations, rows: dict[str, np.ndarray], key: jax.Array) -> np.ndarray:
    """Sounds int16 [N, T] with noise, clipped to 16 bits."""

    @jax.jit
    def add(batch, first):
        return chain.train(operations, key, batch, first)['audio']

    names = [name for name in ('audio', 'audio_length') if name in rows]
    parts = []
    for start in range(0, len(rows['audio']), ROWS):
        batch = {name: rows[name][start : start + ROWS] for name in names}
        parts.append(np.asarray(add(batch, np.int32(start))))
    return np.clip(np.round(np.concatenate(parts) * 32768), -32768, 32767).astype(np.int16)


def _texts(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in rows.items() if texts.is_text(array)}


def alignment(made: Setup, state: State, x: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """A sound int16 [T] -> log p of every symbol in every frame [T', V], and the symbols' names."""
    field = made.task.texts.get('transcript')
    if field is None:
        raise UserError('an alignment is of a run of tasks.ctc')
    batch = {
        'audio': x[None],
        'audio_length': np.array([len(x)], np.int32),
        'mask': np.ones(1, np.float32),
    }
    run = jax.jit(lambda batch: step.outputs(made.program, state, batch, made.hyperparameters))
    found = run(batch)
    logs = jax.nn.log_softmax(found['logits'][0, : int(found['lengths'][0])])
    return np.asarray(logs), made.prepare.vocabularies[field].names


def drawn(logs: np.ndarray, names: Sequence[str], seconds: float) -> dict:
    """An `alignment` of a sound -> what the report draws: the symbols that are ever likely."""
    probability = np.exp(logs)
    seen = [n for n in range(1, len(names)) if names[n] and probability[:, n].max() > LIKELY]
    best = logs.argmax(-1)
    heard = [names[n] for n in best[np.diff(best, prepend=0) != 0] if n < len(names)]
    return {
        'seconds': seconds,
        'symbols': ['space' if names[n].isspace() else names[n] for n in seen],
        'probability': np.round(probability[:, seen].T, 3).tolist(),
        'transcript': (' ' if by_words(names) else '').join(filter(None, heard)),
    }


def save(workdir: Path, **found: dict) -> None:
    """Adds to the run folder's hearing.json, from which its report draws."""
    path = workdir / 'hearing.json'
    kept = json.loads(path.read_text()) if path.is_file() else {}
    for kind, values in found.items():
        kept[kind] = {**kept.get(kind, {}), **{str(name): value for name, value in values.items()}}
    path.write_text(json.dumps(kept))
