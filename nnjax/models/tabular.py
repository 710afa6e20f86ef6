"""A network for rows of tables: numbers and categories."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count, Natural, Positive
from nnjax.models import layers


class TabularMLP(nn.Module):
    """Numbers x [N, F], categories [N, K] (whole numbers) or none -> outputs [N, classes].

    Each column of categories has embeddings of its own. With `frequencies`, each number also comes
    as sines and cosines of learned frequencies (Gorishniy et al., On embeddings for numerical
    features in tabular deep learning, 2022), by which steps and bends are learned sooner. The inputs
    also reach the outputs directly, by a linear layer (Cheng et al., Wide & deep learning, 2016), so
    that () of `hidden` is linear regression.

    Attributes:
      classes: number of outputs.
      hidden: widths of the hidden layers.
      categories: most categories that a column has, with 0 for none.
      width: numbers that a category becomes.
      frequencies: of the sines of each number; 0 is none.
      spread: standard deviation of the first frequencies, for standardized numbers.
      activation: function after each hidden layer.
      dropout: share of hidden units dropped in training.
      dtype: of the computation; parameters and outputs are float32.
    """

    classes: Count = 1
    hidden: tuple[Count, ...] = (128, 128)
    categories: Count = 64
    width: Count = 8
    frequencies: Natural = 0
    spread: Positive = 0.3
    activation: layers.Activation = 'silu'
    dropout: BelowOne = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: jax.Array, categories: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        if x.ndim != 2:
            raise UserError(f'TabularMLP: expected numbers [batch, columns], got {x.shape}')
        x = x.astype(self.dtype or jnp.float32)
        parts = [x]
        if self.frequencies and x.shape[1]:
            parts.append(self._waves(x))
        if categories is not None and categories.shape[1]:
            parts.append(self._embedded(categories).astype(x.dtype))
        x = jnp.concatenate(parts, -1)
        direct = layers.Dense(self.classes, dtype=self.dtype, name='direct')(x)
        for width in self.hidden:
            x = layers.Dense(width, dtype=self.dtype)(x)
            x = layers.activation(self.activation)(x)
            x = layers.Dropout(self.dropout)(x, train)
        if self.hidden:
            # Zero at first: learning begins from the linear layer alone.
            direct += layers.Dense(
                self.classes, dtype=self.dtype, kernel_init=nn.initializers.zeros, name='deep'
            )(x)
        return direct.astype(jnp.float32)

    def _waves(self, x: jax.Array) -> jax.Array:
        """Numbers [N, F] -> [N, F * 2 * frequencies]."""
        shape = (x.shape[1], self.frequencies)
        frequency = self.param('frequency', nn.initializers.normal(self.spread), shape)
        angle = 2 * jnp.pi * x[..., None] * frequency.astype(x.dtype)[None]
        waves = jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)
        return waves.reshape(len(x), -1)

    def _embedded(self, categories: jax.Array) -> jax.Array:
        """Categories [N, K] -> [N, K * width]; NaN where there are more than `categories`."""
        columns = categories.shape[1]
        shape = (columns, self.categories, self.width)
        table = self.param('embedding', nn.initializers.normal(0.1), shape)
        known = (categories >= 0) & (categories < self.categories)
        found = table[jnp.arange(columns)[None], jnp.where(known, categories, 0)]
        return jnp.where(known[..., None], found, jnp.nan).reshape(len(categories), -1)
