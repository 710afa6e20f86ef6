"""What a function traced for a part of the batch may ask of it: where it lies, what the others hold."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Shard:
    """The part of the global batch that is being traced.

    Attributes:
      offset: position of its first row in the global batch.
      axis: name of the device axis to reduce statistics over, or None.
      real: [N], 0 for a row that only fills the batch up, else 1; None where no row does.
      train: whether it is traced for training.
    """

    offset: int | jax.Array = 0
    axis: str | None = None
    real: jax.Array | None = None
    train: bool = False


_shard: contextvars.ContextVar[Shard] = contextvars.ContextVar('shard', default=Shard())  # noqa: B039 (it is frozen)


def current() -> Shard:
    """The part that is being traced; the whole batch where nobody said."""
    return _shard.get()


@contextlib.contextmanager
def shard(
    offset: int | jax.Array = 0,
    axis: str | None = None,
    real: jax.Array | None = None,
    train: bool = False,
) -> Iterator[None]:
    """Tells what is called inside which rows it sees; enter it within the traced function."""
    token = _shard.set(Shard(offset, axis, real, train))
    try:
        yield
    finally:
        _shard.reset(token)


def everyone(x: jax.Array) -> jax.Array:
    """This device's rows [B, ...] -> those of all devices [devices * B, ...], with gradients."""
    axis = current().axis
    return jax.lax.all_gather(x, axis, tiled=True) if axis else x


def own(count: int) -> jax.Array:
    """Positions [count] of this device's rows among `everyone`'s."""
    axis = current().axis
    first = jax.lax.axis_index(axis) * count if axis else 0
    return first + jnp.arange(count)
