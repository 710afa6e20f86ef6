"""Batches for the loop, each a pure function of (seed, step)."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from nnjax.data import augment, pipeline, spec
from nnjax.data.augment import chain, features, sound
from nnjax.training import runner, step
from nnjax.training.setup import Setup


def own(made: Setup) -> slice:
    """The rows of a training batch that this process brings."""
    return made.placement.own(made.rows)


def resident(made: Setup):
    """The prepared training split on every device, or {} where it is streamed."""
    if not made.resident:
        return {}
    return made.placement.share(made.train[np.arange(len(made.train))])


def table(
    made: Setup, start: int, count: int, length: int, seed: int | None = None
) -> dict[str, np.ndarray]:
    """Row numbers of the batches of steps start .. start + count - 1 -> {'index', 'mask'} ...

    Arrays are [length, own rows]; what lies behind the batch or behind `count` is masked. `seed` is
    the config's where none is given.
    """
    seed = made.config.seed if seed is None else seed
    found = made.order(seed, np.arange(start, start + count))
    tables = {}
    for name, array in found.items():
        table = np.zeros((length, made.rows), np.float32 if name == 'mask' else np.int32)
        table[:count, : made.config.batch] = array
        if name == 'bucket':
            table[:count] = array[:, :1]  # of the rows behind the batch too
        tables[name] = table[:, own(made)]
    return tables


def stream(made: Setup, start: int, seed: int | None = None) -> Iterator[dict[str, np.ndarray]]:
    """Own rows of the prepared batches of steps start, start + 1 ... to the end; see `table`."""
    seed, part = made.config.seed if seed is None else seed, own(made)
    batches = pipeline.stream(
        made.train, made.order, seed, start, made.total, part, made.program.cuts
    )
    for batch in batches:
        padding = part.stop - part.start - len(batch['mask'])
        yield {
            n: np.concatenate([a, np.zeros((padding, *a.shape[1:]), a.dtype)]) if padding else a
            for n, a in batch.items()
        }


def augmented(made: Setup, number: int, count: int) -> dict[str, np.ndarray]:
    """The first `count` examples of a training step as the model sees them."""
    whole = count + count % 2 if made.program.labels else count  # pairs stay together
    batch = _plain(made, number, made.config.batch, whole)
    run = runner.compiled(made.program, made.placement, 'augmented')
    seen = jax.device_get(run(np.uint32(made.config.seed), np.int32(number), batch))
    return {name: array[:count] for name, array in seen.items()}


def operations(made: Setup, number: int, pairs: int) -> dict[str, np.ndarray]:
    """Images [2 * pairs, H, W, C] after each operation on images, by name, with its defaults.

    Under '' they are as prepared. `number` tells which images, were so many in a step.
    """
    names = ['', *(n for n in spec.operations(augment) if not _on_sound(n))]

    @jax.jit
    def run(key, batch):
        return {n: chain.train(spec.parse(n, augment), key, batch)['image'] for n in names}

    key = step.step_key(np.uint32(made.config.seed), np.int32(number))
    return jax.device_get(run(key, _plain(made, number, 2 * pairs)))


def _on_sound(name: str) -> bool:
    return getattr(augment, name).__module__ in (sound.__name__, features.__name__)


def _plain(made: Setup, number: int, batch: int, count: int | None = None) -> dict[str, np.ndarray]:
    """The first `count` prepared examples of a training step of `batch`, by default all."""
    order = dataclasses.replace(made.order, batch=batch)
    found = order(made.config.seed, np.array([number]))
    return {**made.train[found['index'][0, :count]], 'mask': found['mask'][0, :count]}
