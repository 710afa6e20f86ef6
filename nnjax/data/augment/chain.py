"""Operations one after another over a batch: in training, in evaluation, as one of many views.

In training an example's key is a function of its position in the global batch, and so is its
partner: examples 2k and 2k + 1 are a pair. Since the order of examples is itself a random
permutation, neighbours are a random pair; and no even share of a batch, a device's or a
microbatch's, ever parts them.
"""

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from nnjax.data.augment.operation import Always, AtRate, Operation, Pairwise
from nnjax.errors import UserError

Batch = Mapping[str, jax.Array]  # field name -> [B, ...]
Labels = tuple[str, int]  # the field of the labels, and how many classes there are (0: real labels)


def train(
    operations: Sequence[Operation | Pairwise],
    key: jax.Array,
    batch: Batch,
    first: int | jax.Array = 0,
    labels: Labels | None = None,
) -> Batch:
    """Rows `first`, first + 1 ... of a training batch -> the same rows augmented.

    Mixed labels are distributions [B, C], float32; without `labels` the images alone are mixed.

    Raises:
      UserError: fields that do not fit an operation, an odd number of rows for pairs.
    """
    if not operations:
        return batch
    key = jax.random.fold_in(key, 0)
    positions = first + jnp.arange(_rows(batch))
    for number, operation in enumerate(operations):
        if isinstance(operation, Pairwise):
            keys = _keys(key, positions - positions % 2, number)
            batch = _mixed(operation, keys, batch, labels)
        else:
            batch = jax.vmap(operation)(_keys(key, positions, number), batch)
    return batch


def evaluate(operations: Sequence[Operation | Pairwise], batch: Batch) -> Batch:
    """A batch as evaluation sees it: after those operations that chance has no part in."""
    for operation in operations:
        if isinstance(operation, Always):
            batch = jax.vmap(functools.partial(operation, None))(batch)
    return batch


def rate(operations: Sequence[Operation | Pairwise]) -> int | None:
    """Samples a second of the sounds that the operations read, if they read any.

    Raises:
      UserError: they differ.
    """
    found = {operation.rate for operation in operations if isinstance(operation, (Always, AtRate))}
    found = sorted(found - {None})
    if len(found) > 1:
        raise UserError(
            f'augment reads sounds at {" and ".join(map(str, found))} samples a second: '
            'write the rate of the data in each of its operations'
        )
    return found[0] if found else None


def hop(operations: Sequence[Operation | Pairwise]) -> int | None:
    """Samples from one frame of the features that the operations make to the next."""
    found = (operation.hop for operation in operations if isinstance(operation, Always))
    return next(filter(None, found), None)


def whole(operations: Sequence[Operation | Pairwise]) -> bool:
    """Whether a frame in evaluation depends on the whole sound."""
    return any(operation.whole for operation in operations if isinstance(operation, Always))


def view(operations: Sequence[Operation], key: jax.Array, batch: Batch) -> Batch:
    """A batch after the operations, every example by the same key: each is a function of itself."""
    for number, operation in enumerate(operations):
        own = jax.random.fold_in(key, number)
        batch = jax.vmap(functools.partial(operation, own))(batch)
    return batch


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def _keys(key: jax.Array, positions: jax.Array, number: int) -> jax.Array:
    """Positions [B], an operation's place in the chain -> keys [B]."""
    fold = jax.random.fold_in
    return jax.vmap(lambda position: fold(fold(key, position), number))(positions)


def _mixed(operation: Pairwise, keys: jax.Array, batch: Batch, labels: Labels | None) -> Batch:
    """Each example mixed with its partner, and their labels in the same shares."""
    partners = {name: _exchanged(rows) for name, rows in batch.items()}
    mixed, share = jax.vmap(operation)(keys, batch, partners)
    if labels is None:
        return mixed
    field, classes = labels
    own = _distribution(batch[field], classes)
    share = share.reshape(-1, *[1] * (own.ndim - 1))
    return {**mixed, field: share * own + (1 - share) * _exchanged(own)}


def _exchanged(rows: jax.Array) -> jax.Array:
    """[B, ...] -> [B, ...] with the rows 2k and 2k + 1 in each other's place."""
    if len(rows) % 2:
        raise UserError(f'{len(rows)} rows cannot be mixed in pairs: give an even number of them')
    return rows.reshape(-1, 2, *rows.shape[1:])[:, ::-1].reshape(rows.shape)


def _distribution(labels: jax.Array, classes: int) -> jax.Array:
    """Whole numbers [B] -> float32 [B, classes]; what is real stays. No class becomes NaN."""
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return labels.astype(jnp.float32)
    known = (labels >= 0) & (labels < classes)
    return jnp.where(known[:, None], jax.nn.one_hot(labels, classes, dtype=jnp.float32), jnp.nan)
