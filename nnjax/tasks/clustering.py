"""Clustering without labels, by codes that gather about centres."""

import importlib.util
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.errors import UserError
from nnjax.fields import NonNegative, Positive
from nnjax.ops import cluster, losses
from nnjax.tasks.reconstruction import gallery
from nnjax.tasks.task import Batch, Task, Weighted, with_clean

MOST = {'codes': 5000, 'neighbours': 5000, 'manifold': 60_000}  # codes of the first clusters
PERPLEXITY = 30  # of t-SNE
NEIGHBOURS = 20  # of a code on the manifold
RESTARTS = 20  # of what finds the first clusters; the best by its own measure counts


def clustering(
    weight: NonNegative = 0.1,
    reconstruction: NonNegative = 1.0,
    start: Literal['codes', 'neighbours', 'manifold'] = 'codes',
    width: Positive = 1.0,
    input: str = 'image',
    label: str = 'label',
) -> Task:
    """A cluster for each example; the model gives what `models.Clusters` gives.

    The loss is `weight` KL(target | assignment) + `reconstruction` MSE: deep embedded clustering
    (Xie et al., 2016) that keeps its decoder (Guo et al., 2017). The target is the model's own
    assignment, sharpened, of the example before augmentation where `augment` begins with `keep`
    (Guo et al., Deep embedded clustering with data augmentation, 2018). It follows the parameters
    step by step, so a step remains a function of its arguments and nothing is refreshed apart.

    At the start clusters are those of k-means over the codes of the training split, or over their
    t-SNE, which follows who is whose neighbour, of at most 5,000 evenly spaced examples; or a
    mixture of Gaussians over their manifold (McConville et al., N2D, 2021), of at most 60,000: UMAP
    with 20 neighbours into as many numbers as clusters. Where a cluster has several centres, k-means
    over its codes gives them. So train an autoencoder first and name it by `init_from`.

    Labels, where there are any, only score the test split: 'accuracy' under the best match of
    clusters and classes, 'nmi' and 'ari'.

    Args:
      weight: of the divergence
      reconstruction: weight of the mean square error of what the decoder gives back
      start: what the first clusters are found in
      width: variance of the assignments' kernel, in units of that about the first centres
      input: the batch's field that the model reads
      label: the field of the classes that clusters are scored by
    """

    if start == 'manifold' and importlib.util.find_spec('umap') is None:
        raise UserError("start='manifold' needs umap-learn: pip install 'nnjax[clusters]'")

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

    def begin(predictions: dict[str, np.ndarray], shapes: dict[str, tuple], seed: int) -> dict:
        found, scale = first_centres(predictions['code'], shapes['params/centres'], start, seed)
        return {'params/centres': found, 'batch_stats/scale': np.float32(width * scale)}

    def pictures(apply, batch: Batch) -> dict[str, jax.Array]:
        centres = apply(method='centre_examples')
        return {**gallery(apply, batch[input], lambda x: x), 'centres': centres}

    return Task(inputs, loss_values, batch_metrics, predict, score, gallery=pictures, begin=begin)


def first_centres(
    code: np.ndarray, shape: tuple[int, int, int], start: str, seed: int
) -> tuple[np.ndarray, float]:
    """Codes [N, D] -> (centres of `shape` [K, M, D], a number's variance about the nearest).

    Raises:
      UserError: codes that are not finite, or fewer than clusters.
    """
    if not np.isfinite(code).all():
        row = int(np.argwhere(~np.isfinite(code))[0, 0])
        raise UserError(
            f'the code of training example {row} is not finite, so there are no first clusters: '
            'look for NaN in the data, and in what init_from gives'
        )
    clusters, each, _ = shape
    key = jax.random.key(seed)
    most = min(len(code), MOST[start])
    code = code[np.linspace(0, len(code) - 1, most).astype(int)]
    own = first_clusters(key, code, clusters, start, seed)
    centres = np.zeros(shape, np.float32)
    for number in range(clusters):
        if (mine := own == number).any():  # as a mask, so that one program serves all clusters
            fold = jax.random.fold_in(key, number)
            centres[number] = cluster.kmeans(fold, code, each, restarts=1, mask=mine)[0]
    apart = cluster.distances(jnp.asarray(code), jnp.asarray(centres.reshape(-1, shape[-1])))
    return centres, max(float(apart.min(1).mean()) / shape[-1], 1e-12)


def first_clusters(
    key: jax.Array, code: np.ndarray, clusters: int, start: str, seed: int
) -> np.ndarray:
    """Codes [N, D] -> the cluster of each [N]."""
    if start == 'manifold' and len(code) > max(NEIGHBOURS, clusters):
        from sklearn.mixture import GaussianMixture
        from umap import UMAP

        place = UMAP(
            n_neighbors=NEIGHBOURS,
            n_components=clusters,
            min_dist=0.0,
            random_state=seed,
            n_jobs=1,  # what makes it a function of its seed
        )
        mixture = GaussianMixture(clusters, n_init=RESTARTS, random_state=seed)
        return mixture.fit_predict(place.fit_transform(code))
    place = code
    if start == 'neighbours' and len(code) > PERPLEXITY:
        from sklearn.manifold import TSNE

        place = TSNE(2, init='pca', perplexity=PERPLEXITY, random_state=seed).fit_transform(code)
    return np.asarray(cluster.kmeans(key, place, clusters, RESTARTS)[1])
