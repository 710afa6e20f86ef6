"""An autoencoder whose codes gather about centres."""

import jax
import jax.numpy as jnp

from nnjax.fields import BelowOne, Count
from nnjax.models.autoencoder import Autoencoder
from nnjax.ops import cluster, normalize, shard


class Clusters(Autoencoder):
    """x [N, *shape] -> {'reconstruction', 'code', 'assignment' [N, clusters]}.

    The assignment is soft, by a code's distance from the centres (Xie et al., 2016), in units of
    'scale', a code number's variance about the centres, which is set when training begins. A cluster may have several centres, and so
    any form: it is as likely as all of them together. In training there are also 'wanted'
    [N, clusters], the assignment of what is not augmented nor corrupted, which has no gradient, and
    'share' [clusters], the part of all examples in each cluster, a moving average over batches.

    Attributes:
      clusters: how many.
      centres_each: centres of a cluster.
      momentum: share of the moving average that a step keeps.
    """

    clusters: Count = 10
    centres_each: Count = 1
    momentum: BelowOne = 0.9

    def setup(self):
        super().setup()
        shape = (self.clusters, self.centres_each, self.code)
        self.centres = self.param('centres', jax.nn.initializers.normal(1.0), shape)
        even = lambda: jnp.full(self.clusters, 1 / self.clusters, jnp.float32)
        self.share = self.variable('batch_stats', 'share', even)
        self.scale = self.variable('batch_stats', 'scale', lambda: jnp.float32(1))

    def __call__(
        self, x: jax.Array, clean: jax.Array | None = None, train: bool = False
    ) -> dict[str, jax.Array]:
        """x [N, *shape], and in training what it was before augmentation, if that is known."""
        found = super().__call__(x, clean, train)
        found['assignment'] = self._assignment(found['code'])
        if train:
            code = self.encode(x) if clean is None else found['clean_code']
            wanted = jax.lax.stop_gradient(self._assignment(code))
            part = shard.current()
            now = normalize.batch_mean(wanted, part.axis, part.real)
            if self.is_mutable_collection('batch_stats') and not self.is_initializing():
                self.share.value = self.momentum * self.share.value + (1 - self.momentum) * now
            found |= {'wanted': wanted, 'share': self.share.value}
        return found

    def centre_examples(self) -> jax.Array:
        """The centres as examples [clusters, centres_each, *shape]."""
        decoded = self.decode(self.centres.reshape(-1, self.code))
        return decoded.reshape(*self.centres.shape[:2], *self.shape)

    def _assignment(self, code: jax.Array) -> jax.Array:
        apart = cluster.distances(code, self.centres.reshape(-1, self.code))
        each = cluster.student(apart / self.scale.value, max(1.0, self.code - 1.0))
        return jnp.sum(each.reshape(len(code), self.clusters, -1), -1)
