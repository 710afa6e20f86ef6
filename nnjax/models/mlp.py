"""Multi-layer perceptron."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.fields import BelowOne, Count
from nnjax.models import layers


class MLP(nn.Module):
    """x [N, ...] -> logits [N, classes]: each example flattened, then dense layers.

    Attributes:
      classes: number of outputs.
      hidden: widths of the hidden layers; () is logistic regression.
      activation: function after each hidden layer.
      dropout: share of hidden units dropped in training.
      dtype: of the computation; parameters and logits are float32.
    """

    classes: Count = 10
    hidden: tuple[Count, ...] = (64,)
    activation: layers.Activation = 'relu'
    dropout: BelowOne = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = layers.Dense(width, dtype=self.dtype)(x)
            x = layers.activation(self.activation)(x)
            x = layers.Dropout(self.dropout)(x, train)
        return layers.Dense(self.classes, dtype=self.dtype)(x).astype(jnp.float32)
