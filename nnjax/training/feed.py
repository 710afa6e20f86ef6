"""Batches for the loop, each a pure function of (seed, step)."""

from collections.abc import Iterator

import jax
import numpy as np

from nnjax.data import order, pipeline
from nnjax.training import step
from nnjax.training.setup import Setup


def rows(made: Setup) -> int:
    """Rows in a training batch: the config's, rounded up so that all devices get as many."""
    share = made.placement.devices * made.config.accumulate
    return -(-made.config.batch // share) * share


def resident(made: Setup):
    """The prepared training split on every device, or {} where it is streamed."""
    if not made.resident:
        return {}
    return made.placement.share(pipeline.resident(made.dataset.train, made.prepare))


def table(made: Setup, start: int, count: int, length: int) -> dict[str, np.ndarray]:
    """Row numbers of the batches of steps start .. start + count - 1 -> {'index', 'mask'}.

    Arrays are [length, rows]; what lies behind the batch or behind `count` is masked.
    """
    batch = made.config.batch
    index = np.zeros((length, rows(made)), np.int32)
    mask = np.zeros((length, rows(made)), np.float32)
    index[:count, :batch] = order.order(
        made.config.seed, np.arange(start, start + count), len(made.dataset.train), batch
    )
    mask[:count, :batch] = 1
    return {'index': index, 'mask': mask}


def stream(made: Setup, start: int) -> Iterator[dict[str, np.ndarray]]:
    """Prepared batches of steps start, start + 1 ... to the end of the run."""
    batches = pipeline.stream(
        made.dataset.train, made.prepare, made.config.seed, made.config.batch, start, made.total
    )
    padding = rows(made) - made.config.batch
    for batch in batches:
        yield {
            n: np.concatenate([a, np.zeros((padding, *a.shape[1:]), a.dtype)]) if padding else a
            for n, a in batch.items()
        }


def augmented(made: Setup, number: int, count: int) -> dict[str, np.ndarray]:
    """The first `count` examples of a training step as the model sees them."""
    index = order.order(
        made.config.seed, np.array([number]), len(made.dataset.train), made.config.batch
    )[0][:count]
    batch = made.prepare(made.dataset.train[index])
    batch['mask'] = np.ones(len(index), np.float32)
    return jax.device_get(
        step.augmented(made.program, np.uint32(made.config.seed), np.int32(number), batch)
    )
