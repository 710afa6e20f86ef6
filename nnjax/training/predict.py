"""Predictions for examples that belong to no split."""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from nnjax import texts
from nnjax.data.text.vocabulary import UNKNOWN
from nnjax.errors import UserError
from nnjax.training import runner
from nnjax.training.setup import Setup
from nnjax.training.state import State

ROWS = 256  # examples in a call


def predict(made: Setup, state: State, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Raw inputs {field: [N, ...]} -> the task's predictions {name: [N, ...]}."""
    run = runner.compiled(made.program, made.placement, 'predict')
    parts = [
        {name: value[:real] for name, value in averaged(made, run, state, batch).items()}
        for real, batch in _batches(made.prepare(arrays))
    ]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {**found, **readable(made, found, arrays)}


def averaged(made: Setup, run: Callable, state: State, batch: dict) -> dict[str, np.ndarray]:
    """A batch's predictions {name: [B, ...]}, their means over the config's views.

    `run` is the compiled `step.predict` or `step.predict_step`; a 'loss' is the batch's own.
    """
    try:
        first, *others = (
            jax.device_get(run(state, batch, made.hyperparameters, np.int32(view)))
            for view in range(made.views)
        )
    except KeyError as error:
        raise UserError(
            f'the task wants the field {error}; what is to be predicted has: {", ".join(batch)}'
        ) from None
    if not others:
        return first
    means = {
        name: np.mean([value, *(other[name] for other in others)], 0, np.float64)
        for name, value in first.items()
        if name != 'loss'
    }
    return {**first, **{name: mean.astype(first[name].dtype) for name, mean in means.items()}}


def readable(
    made: Setup, predictions: dict[str, np.ndarray], raw: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Those predictions that are token ids, or characters of a `raw` text, as texts [N]."""
    task = made.task
    found = {}
    for name, field in task.texts.items():
        if field not in made.prepare.vocabularies:
            raise UserError(f'the task writes {field!r}, of which prepare makes no tokens')
        vocabulary, ids = made.prepare.vocabularies[field], predictions[name]
        # A model may have room for more ids than there are tokens.
        found[name] = vocabulary.decode(np.where(ids < vocabulary.size, ids, UNKNOWN))
    for name, field in task.quotes.items():
        pairs = zip(raw[field].tolist(), predictions[name].tolist(), strict=True)
        found[name] = texts.array(text[low:high] for text, (low, high) in pairs)
    return found


def _batches(arrays: dict[str, np.ndarray]) -> Iterator[tuple[int, dict]]:
    """Arrays [N, ...] -> (real rows, a batch of at most ROWS), the last padded with zeros.

    A batch's rows are a power of two, so that few sizes are ever compiled.
    """
    count = len(next(iter(arrays.values())))
    rows = min(ROWS, 1 << (count - 1).bit_length())
    for start in range(0, count, rows):
        real = min(rows, count - start)
        yield (
            real,
            {
                name: np.concatenate(
                    [a[start : start + real], np.zeros((rows - real, *a.shape[1:]), a.dtype)]
                )
                for name, a in arrays.items()
            },
        )


def rows(made: Setup, names: list[str], predictions: dict[str, np.ndarray]) -> list[dict]:
    """One dictionary an example: its name, and what the task says of it.

    By default that is each prediction; of the classes' probabilities, the likeliest and its own.
    """
    found = []
    task = made.task
    for number, name in enumerate(names):
        row = {'input': name}
        if task.row:
            one = {key: values[number] for key, values in predictions.items()}
            found.append(row | task.row(one, made.dataset.labels))
            continue
        for key, values in predictions.items():
            value = values[number]
            if key == 'probability' and value.ndim:
                best = int(value.argmax())
                row['class'] = made.dataset.labels[best] if made.dataset.labels else str(best)
                row['probability'] = round(float(value[best]), 6)
            else:
                row[key] = np.squeeze(value).tolist()
        found.append(row)
    return found
