"""What models of sequences share: the way in, from ids or numbers, and the way out to one vector."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.ops import sequence
from nnjax.ops.product import product

Pool = Literal['last', 'mean', 'max', 'none']


def check(name: str, x: jax.Array, vocabulary: int | None) -> None:
    """Token ids [N, T] for a vocabulary, numbers [N, T, ...] without one.

    Raises:
      UserError: ids or numbers where the other is wanted.
    """
    whole = jnp.issubdtype(x.dtype, jnp.integer)
    if vocabulary is None and (whole or x.ndim < 2):
        raise UserError(
            f'{name}: the input is {x.dtype} {list(x.shape)}, expected real numbers [N, T, ...]; '
            'of token ids give the number as `vocabulary`'
        )
    if vocabulary is not None and (not whole or x.ndim != 2):
        raise UserError(
            f'{name}: the input is {x.dtype} {list(x.shape)}, with vocabulary={vocabulary} '
            'token ids [N, T] are expected; of real numbers it is None'
        )


def real(x: jax.Array, lengths: jax.Array | None) -> jax.Array | None:
    """x [N, T, ...], lengths [N] -> bool [N, T]; None where all is real."""
    return None if lengths is None else sequence.real(lengths, x.shape[1])


def frames(x: jax.Array, real: jax.Array | None) -> jax.Array:
    """numbers [N, T] or [N, T, ...] -> [N, T, F], zeros behind the length: images row by row."""
    return sequence.cleaned(x, real).reshape(*x.shape[:2], -1)


def pooled(y: jax.Array, lengths: jax.Array | None, kind: Pool) -> jax.Array:
    """y [N, T, D] -> [N, D] over each row's real positions; 'none' leaves y as it is.

    An empty row's 'mean' and 'max' are zeros.
    """
    if kind == 'none':
        return y
    if kind == 'last':
        return sequence.last(y, lengths)
    if lengths is None:
        return jnp.mean(y, 1) if kind == 'mean' else jnp.max(y, 1)
    real = sequence.real(lengths, y.shape[1])
    if kind == 'mean':
        count = jnp.maximum(jnp.sum(real, 1, keepdims=True), 1).astype(y.dtype)
        return jnp.sum(sequence.cleaned(y, real), 1) / count
    highest = jnp.max(jnp.where(real[..., None], y, jnp.finfo(y.dtype).min), 1)
    return jnp.where(lengths[:, None] > 0, highest, jnp.zeros((), y.dtype))


class Embed(nn.Module):
    """ids [N, T] -> [N, T, width]: rows of a table, normally distributed with variance 1 / width.

    Attributes:
      vocabulary: number of rows; an id that is none of them gives NaN.
      width: length of a row.
      dtype: of the result; None is float32.
      asked: whether tokens of a text that stand in the question before it, see
        `nnjax.ops.sequence.asked`, have one more vector added.
    """

    vocabulary: int
    width: int
    dtype: Any = None
    asked: bool = False

    def setup(self):
        init = nn.initializers.normal(self.width**-0.5)
        self.table = self.param('embedding', init, (self.vocabulary, self.width))
        if self.asked:
            self.mark = self.param('asked', init, (self.width,))

    def __call__(self, ids: jax.Array, real: jax.Array | None = None) -> jax.Array:
        """Any row, and no gradient, where `real` [N, T] is false, whatever the id there."""
        x = jnp.take(self._table(), sequence.cleaned(ids, real), axis=0)
        if not self.asked:
            return x
        mark = self.mark.astype(x.dtype)[None, None]
        return x + jnp.where(sequence.asked(ids, real)[..., None], mark, jnp.zeros((), x.dtype))

    def logits(self, x: jax.Array) -> jax.Array:
        """x [..., width] -> [..., vocabulary]: products with the rows."""
        return product(x, self._table().T)

    def _table(self):
        return self.table if self.dtype is None else self.table.astype(self.dtype)


def sinusoids(positions: jax.Array, width: int) -> jax.Array:
    """positions [...] -> float32 [..., width]: sin(p / w_i), cos(p / w_i) in turn, from 1 to 10,000.

    w_i = 10,000^(2 i / width), as Vaswani et al. (2017) have it.
    """
    rates = 10_000.0 ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = positions[..., None].astype(jnp.float32) * rates.reshape((1,) * positions.ndim + (-1,))
    both = jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1)
    return both.reshape(*positions.shape, -1)[..., :width]
