"""Embeddings that tell identities apart."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from nnjax.fields import Count
from nnjax.models import layers


class Embedder(nn.Module):
    """Images [N, H, W, C] -> {'embedding' [N, D]} of length 1; in training 'cosine' [N, classes] too.

    The backbone is any network of this package that classifies, its `classes` the dimension D. The
    cosines are those with a direction for each training identity, which are parameters.

    Attributes:
      backbone: network [N, H, W, C] -> [N, D].
      classes: identities in training, for losses that have a direction for each; else None.
      dtype: of the computation outside the backbone; parameters and outputs are float32.
    """

    backbone: nn.Module
    classes: Count | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        embedding = _unit(self.backbone(x, train).astype(jnp.float32))
        outputs = {'embedding': embedding}
        if self.classes:
            shape = (embedding.shape[-1], self.classes)
            directions = self.param('identities', nn.initializers.normal(0.01), shape, jnp.float32)
            if train:
                outputs['cosine'] = layers.product(embedding, _unit(directions.T).T)
        return outputs


def _unit(x: jax.Array) -> jax.Array:
    """Rows [N, D] of length 1; a row of zeros stays, with a finite gradient."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), -1, keepdims=True), 1e-12))
