"""Clustering without labels, by codes that gather about centres."""

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.fields import NonNegative
from nnjax.ops import cluster, losses
from nnjax.tasks.reconstruction import gallery
from nnjax.tasks.task import Batch, Task, Weighted, with_clean


def clustering(
    weight: NonNegative = 0.1,
    reconstruction: NonNegative = 1.0,
    input: str = 'image',
    label: str = 'label',
) -> Task:
    """A cluster for each example; the model gives what `models.Clusters` gives.

    The loss is `weight` KL(target | assignment) + `reconstruction` MSE: deep embedded clustering
    (Xie et al., 2016) that keeps its decoder (Guo et al., 2017). The target is the model's own
    assignment, sharpened, of the example before augmentation where `augment` begins with `keep`
    (Guo et al., Deep embedded clustering with data augmentation, 2018). It follows the parameters
    step by step, so a step remains a function of its arguments and nothing is refreshed apart.

    At the start the centres are those of k-means over the codes of the training split, and 'scale'
    is the mean square distance from them: train an autoencoder first and name it by `init_from`.

    Labels, where there are any, only score the test split: 'accuracy' under the best match of
    clusters and classes, 'nmi' and 'ari'.

    Args:
      weight: of the divergence
      reconstruction: weight of the mean square error of what the decoder gives back
      input: the batch's field that the model reads
      label: the field of the classes that clusters are scored by
    """

    def inputs(batch: Batch) -> tuple[jax.Array, ...]:
        return with_clean(batch, input)

    def terms(outputs: dict, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """The divergence [B] and the mean square error [B]."""
        assignment = outputs['assignment']
        share = outputs.get('share')
        if share is None:  # in evaluation: as if all clusters were as large
            share = jnp.full(assignment.shape[-1], 1 / assignment.shape[-1], jnp.float32)
        target = cluster.sharpened(outputs.get('wanted', assignment), share)
        target = jax.lax.stop_gradient(target)
        logs = jnp.log(jnp.maximum(assignment, 1e-12))
        divergence = jnp.sum(target * (jnp.log(jnp.maximum(target, 1e-12)) - logs), -1)
        given, wanted = (
            x.reshape(len(x), -1) for x in (outputs['reconstruction'], inputs(batch)[-1])
        )
        return divergence, losses.mse(given, wanted)

    def loss_values(outputs: dict, batch: Batch) -> Weighted:
        divergence, error = terms(outputs, batch)
        values = weight * divergence + reconstruction * error
        return values, jnp.ones_like(values)

    def batch_metrics(outputs: dict, batch: Batch) -> dict[str, Weighted]:
        divergence, error = terms(outputs, batch)
        sure = jnp.max(outputs['assignment'], -1)
        values = {'divergence': divergence, 'mse': error, 'confidence': sure}
        return {name: (value, jnp.ones_like(value)) for name, value in values.items()}

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        outputs = apply(batch[input])
        assignment = outputs['assignment']
        return {
            'cluster': jnp.argmax(assignment, -1).astype(jnp.int32),
            'assignment': assignment,
            'code': outputs['code'],
        }

    def score(
        predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]
    ) -> dict[str, float]:
        found = {'used': float(len(np.unique(predictions['cluster'])))}
        if label not in examples:
            return found
        counts = cluster.contingency(examples[label], predictions['cluster'])
        return {
            'accuracy': cluster.accuracy(counts),
            'nmi': cluster.normalized_mutual_information(counts),
            'ari': cluster.adjusted_rand(counts),
            **found,
        }

    def begin(predictions: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
        code = predictions['code']
        count = predictions['assignment'].shape[-1]
        centres, _, error = cluster.kmeans(jax.random.key(seed), code, count, restarts=20)
        return {
            'params/centres': np.asarray(centres),
            'batch_stats/scale': np.float32(max(float(error) / len(code), 1e-12)),
        }

    def pictures(apply, batch: Batch) -> dict[str, jax.Array]:
        centres = apply(method='centre_examples')
        return {**gallery(apply, batch[input], lambda x: x), 'centres': centres}

    return Task(inputs, loss_values, batch_metrics, predict, score, gallery=pictures, begin=begin)
