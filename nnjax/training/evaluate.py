"""A whole split through the model: exact averages, predictions, scores."""

import copy
import dataclasses
import functools
from collections.abc import Iterator

import jax
import numpy as np

from nnjax import build, texts
from nnjax.data import lengths, pipeline
from nnjax.data.source import Arrays, Slice, Source
from nnjax.training import check, hosts, predict, runner, step
from nnjax.training.setup import RESIDENT_BYTES, Setup, example_bytes
from nnjax.training.state import State

WORST = 24  # examples of highest loss that are kept as pictures
GALLERY = 32  # examples that a task is given for its own pictures, at most


class Evaluator:
    """Evaluates one split again and again; small splits are prepared once."""

    def __init__(self, made: Setup, source: Source):
        self._made = made
        self._source = source
        small = example_bytes(made.example) * len(source) <= RESIDENT_BYTES
        prepared = made.prepared(source)
        if small and lengths.fields(made.example) and not made.config.pack:
            prepared.keep()  # its lengths are read before its batches are, and what is cut is said
        batches = functools.partial(_batches, made, _buckets(made, prepared))
        if small:
            kept = list(batches())
            self.batches = lambda: kept
        else:
            self.batches = lambda: batches(ahead=True)
        self._sums = runner.empty(made.eval_sums)

    def __call__(self, state: State) -> dict[str, float]:
        """The state's averages of the loss and the task's metrics over the split."""
        made = self._made
        run = runner.compiled(made.program, made.placement, 'evaluate')
        sums = self._sums
        for batch in self.batches():
            fields = {n: a for n, a in batch.items() if n != 'index'}
            sums = run(state, sums, fields, (made.hyperparameters,))
        return step.means(sums)

    def having(self, hyperparameters: build.Hyperparameters) -> 'Evaluator':
        """The same with other numbers."""
        other = copy.copy(self)
        other._made = dataclasses.replace(self._made, hyperparameters=hyperparameters)
        return other

    def predictions(self, state: State) -> dict[str, np.ndarray]:
        """Every row's predictions, loss, example fields, texts and index, in the split's order.

        Of a field NAME of texts that become tokens, NAME_characters and NAME_bytes are what its
        predicted tokens spell, see `Spelled`; -1 where a text is cut or has unknown symbols.
        """
        made = self._made
        run = runner.compiled(made.program, made.placement, 'predict_step')
        task = made.task
        state = made.placement.local(state.replace(opt_state=()))
        parts: list[dict[str, np.ndarray]] = []
        for batch in self.batches():
            fields = {n: a for n, a in batch.items() if n != 'index'}
            predicted = predict.averaged(made, run, state, fields)
            inputs = {id(array) for array in jax.tree.leaves(task.inputs(batch))}
            rest = {n: a for n, a in batch.items() if n == 'mask' or id(a) not in inputs}
            parts.append({**rest, **predicted})
        found = hosts.gathered({n: _joined([part[n] for part in parts]) for n in parts[0]})
        real = np.flatnonzero(found.pop('mask'))
        real = real[np.argsort(found['index'][real])]
        found = {name: array[real] for name, array in found.items()}
        raw, sizes = {}, {}
        if names := texts.fields(self._source.spec):
            arrays = self._source[found['index']]
            raw = {name: arrays[name] for name in names}
            for name, own in made.prepare.spelled(arrays).items():
                whole = ~(own.cut | own.unknown)
                sizes[f'{name}_characters'] = np.where(whole, own.characters, -1)
                sizes[f'{name}_bytes'] = np.where(whole, own.bytes, -1)
        return {**found, **raw, **sizes, **predict.readable(made, found, raw)}


def _buckets(made: Setup, source: Source) -> list[tuple[Source, np.ndarray, lengths.Cut]]:
    """A prepared split -> (examples, their rows, how they are cut) of each bucket, or of all."""
    cuts = made.program.cuts
    if not cuts:
        return [(source, np.arange(len(source)), ())]
    rows = lengths.members(lengths.read(source), cuts)
    return [(Slice(source, own), own, cut) for own, cut in zip(rows, cuts) if len(own)]


def _batches(made: Setup, buckets: list, ahead: bool = False) -> Iterator[Arrays]:
    """The batches of `_buckets`, of one after another."""
    for part, rows, cut in buckets:
        size = made.placement.rows(min(made.config.eval_batch, len(part)))
        for batch in pipeline.evaluation_batches(part, size, ahead, made.placement.own(size)):
            yield {**lengths.cut(batch, cut), 'index': rows[batch['index']]}


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Arrays [N, ...] one after another; shorter ones are filled up with zeros behind."""
    longest = np.max([part.shape[1:] for part in parts], 0).astype(int)
    fill = lambda part: [(0, 0), *((0, m - n) for m, n in zip(longest, part.shape[1:]))]
    return np.concatenate([np.pad(part, fill(part)) for part in parts])


def score(made: Setup, predictions: dict[str, np.ndarray]) -> dict[str, float | str]:
    """The task's host scores over a split's predictions; {} where it has none."""
    task = made.task
    if task.score is None:
        return {}
    found = task.score(predictions, predictions)
    return {n: v if isinstance(v, str) else float(v) for n, v in found.items()}


def decided(made: Setup, evaluator: Evaluator | None, state: State) -> dict[str, float]:
    """What the task decides by the predictions of a validation split; {} where it has none."""
    decide = made.task.decide
    if decide is None or evaluator is None:
        return {}
    predictions = evaluator.predictions(state)
    return decide(predictions, predictions)


def on_the_way(made: Setup, evaluator: Evaluator, state: State) -> dict[str, float | str]:
    """The host scores of a validation split while a run goes on.

    Raises:
      UserError: what marks the best is neither among them nor among evaluation's averages.
    """
    found = score(made, evaluator.predictions(state))
    numbers = (name for name, value in found.items() if isinstance(value, float))
    check.best(made.config, {*made.eval_sums, *numbers})
    return found


def kept(
    made: Setup, source: Source, predictions: dict[str, np.ndarray], state: State
) -> dict[str, np.ndarray]:
    """What a run folder keeps of a split: predictions, the classes' names, pictures."""
    labels = np.array(made.dataset.labels, dtype=np.str_)
    gallery = {f'gallery_{n}': a for n, a in _gallery(made, source, state).items()}
    return {**predictions, 'labels': labels, **_pictures(source, predictions), **gallery}


def _gallery(made: Setup, source: Source, state: State) -> dict[str, np.ndarray]:
    """The task's own pictures of the first examples."""
    if not made.task.gallery:
        return {}
    rows = min(GALLERY, len(source))
    batch = next(pipeline.evaluation_batches(made.prepared(source), rows))
    fields = {n: a for n, a in batch.items() if n != 'index'}
    run = runner.compiled(made.program, made.placement, 'gallery')
    state = made.placement.local(state.replace(opt_state=()))
    return jax.device_get(run(state, fields, made.hyperparameters))


def _pictures(source: Source, predictions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The examples of highest loss as uint8 images, where the source has images."""
    names = [
        n
        for n, (shape, dtype) in source.spec.items()
        if len(shape) == 3 and np.dtype(dtype) == np.uint8
    ]
    if not names:
        return {}
    worst = np.argsort(-predictions['loss'], kind='stable')[:WORST]
    images = source[predictions['index'][worst]][names[0]]
    bright = images.astype(np.float32) * (255 / max(int(images.max()), 1))
    return {'mistakes_index': worst, 'mistakes_image': bright.astype(np.uint8)}
