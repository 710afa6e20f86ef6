"""Clusters of points: k-means in JAX, scores of a partition on the host."""

import functools
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.errors import UserError

MOST = 2000  # points of a silhouette; of more, so many evenly spaced


@functools.partial(jax.jit, static_argnames=('clusters', 'restarts', 'steps'))
def _kmeans(key, points, mask, clusters, restarts, steps):
    def once(key):
        return lloyd(points, plus_plus(key, points, clusters, mask), steps, mask)

    found = jax.lax.map(once, jax.random.split(key, restarts))
    best = jnp.argmin(found[2])
    return jax.tree.map(lambda x: x[best], found)


@functools.partial(jax.jit, static_argnames='steps')
def lloyd(
    points: jax.Array, centres: jax.Array, steps: int = 100, mask: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Points [N, D], first centres [K, D] -> what `kmeans` gives, after `steps` moves at most.

    It stops where no point changes its cluster; one that loses all its points stays where it is.
    """

    counted = True if mask is None else mask

    def going(carry):
        step, _, change, _ = carry
        return (step < steps) & change

    def move(carry):
        step, centres, _, before = carry
        own = jnp.argmin(beyond(centres), 0).astype(jnp.int32)
        members = jax.nn.one_hot(own, len(centres), axis=0, dtype=points.dtype)
        if mask is not None:
            members = members * mask[None].astype(points.dtype)
        count = jnp.sum(members, 1)[:, None]
        sums = jnp.matmul(members, points, precision='highest')
        return (
            step + 1,
            jnp.where(count > 0, sums / jnp.maximum(count, 1), centres),
            jnp.any((own != before) & counted),
            own,
        )

    def beyond(centres):
        """Squared distances [K, N] but for a point's own length; of points along the last axis the
        nearest centre is found many at a time."""
        product = jnp.matmul(centres, points.T, precision='highest')
        return jnp.sum(jnp.square(centres), 1)[:, None] - 2 * product

    middle = jnp.mean(centres, 0, keepdims=True)  # about which distances are exact
    points, centres = points - middle, centres - middle
    start = (jnp.int32(0), centres, jnp.bool_(True), jnp.full(len(points), -1, jnp.int32))
    _, centres, _, _ = jax.lax.while_loop(going, move, start)
    nearest = _expanded(centres, points)
    own = jnp.argmin(nearest, 0).astype(jnp.int32)
    return centres + middle, own, jnp.sum(jnp.where(counted, jnp.min(nearest, 0), 0))


def kmeans(
    key: jax.Array,
    points: jax.Array,
    clusters: int,
    restarts: int = 10,
    steps: int = 100,
    mask: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Points [N, D] -> (centres [clusters, D], own cluster [N], sum of squared distances).

    Lloyd's algorithm from k-means++, the best of `restarts`. Points where `mask` [N] is False have a
    cluster, but no part in the centres and the sum.

    Raises:
      UserError: fewer points than clusters, or points that are not finite.
    """
    if len(points) < clusters:
        raise UserError(f'{len(points)} points cannot be {clusters} clusters: use fewer')
    if not np.isfinite(points).all():
        raise UserError('points to cluster are not finite')
    return _kmeans(key, jnp.asarray(points, jnp.float32), mask, clusters, restarts, steps)


def plus_plus(
    key: jax.Array, points: jax.Array, clusters: int, mask: jax.Array | None = None
) -> jax.Array:
    """Points [N, D] -> the first centres [clusters, D]: each a point, far from those before it.

    A point's chance is its squared distance from the nearest (Arthur and Vassilvitskii, 2007).
    """
    keys = jax.random.split(key, clusters)
    if mask is None:
        first = points[jax.random.randint(keys[0], (), 0, len(points))]
    else:
        first = points[jax.random.categorical(keys[0], jnp.where(mask, 0.0, -jnp.inf))]
    centres = jnp.broadcast_to(first, (clusters, points.shape[1]))

    def add(number, carry):
        centres, nearest = carry
        # Where all points coincide with centres, any will do.
        chance = jnp.log(jnp.maximum(nearest, jnp.finfo(nearest.dtype).tiny))
        chance = chance if mask is None else jnp.where(mask, chance, -jnp.inf)
        new = points[jax.random.categorical(keys[number], chance)]
        nearest = jnp.minimum(nearest, jnp.sum(jnp.square(points - new[None]), 1))
        return centres.at[number].set(new), nearest

    nearest = jnp.sum(jnp.square(points - first[None]), 1)
    return jax.lax.fori_loop(1, clusters, add, (centres, nearest))[0]


def distances(points: jax.Array, centres: jax.Array) -> jax.Array:
    """Points [N, D], centres [K, D] -> squared distances [N, K]."""
    middle = jnp.mean(centres, 0, keepdims=True)
    return _expanded(points - middle, centres - middle)


def _expanded(points: jax.Array, centres: jax.Array) -> jax.Array:
    """`distances` of what lies about the origin: far from it these sums would cancel."""
    product = jnp.matmul(points, centres.T, precision='highest')
    lengths = jnp.sum(jnp.square(points), 1)[:, None] + jnp.sum(jnp.square(centres), 1)[None]
    return jnp.maximum(lengths - 2 * product, 0)


def student(distances: jax.Array, freedom: float = 1.0) -> jax.Array:
    """Squared distances [N, K] in units of their scale -> soft assignments [N, K].

    Student's t, as in Xie et al., Unsupervised deep embedding for clustering analysis, 2016,
    equation 1. One degree of freedom is for codes of two numbers; of D numbers, D - 1 keep far
    clusters from outweighing the near one (van der Maaten, Learning a parametric embedding by
    preserving local structure, 2009).
    """
    logs = -(freedom + 1) / 2 * jnp.log1p(distances / freedom)
    return jax.nn.softmax(logs, -1)


def sharpened(assignment: jax.Array, share: jax.Array) -> jax.Array:
    """Soft assignments [N, K] and the clusters' shares of all points [K] -> targets [N, K].

    What is likely becomes likelier, what is rare is not drowned (Xie et al., equation 3).
    """
    weight = jnp.square(assignment) / jnp.maximum(share, 1e-6).reshape(1, -1)
    return weight / jnp.sum(weight, -1, keepdims=True)


def contingency(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Labels [N], clusters [N], whole numbers -> counts [labels, clusters] of those that occur."""
    _, rows = np.unique(labels, return_inverse=True)
    _, columns = np.unique(clusters, return_inverse=True)
    counts = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(counts, (rows, columns), 1)
    return counts


def accuracy(counts: np.ndarray) -> float:
    """Counts [labels, clusters] -> share of points under the best one-to-one match of the two."""
    from scipy.optimize import linear_sum_assignment

    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / counts.sum())


def normalized_mutual_information(counts: np.ndarray) -> float:
    """Counts [labels, clusters] -> mutual information over the mean of the two entropies."""
    shares = counts / counts.sum()
    rows, columns = shares.sum(1), shares.sum(0)
    mutual = _entropy(rows) + _entropy(columns) - _entropy(shares.ravel())
    mean = (_entropy(rows) + _entropy(columns)) / 2
    return float(max(mutual, 0) / mean) if mean else 1.0


def adjusted_rand(counts: np.ndarray) -> float:
    """Counts [labels, clusters] -> share of pairs that agree, 0 by chance (Hubert, Arabie, 1985)."""
    pairs = lambda values: float((values * (values - 1) / 2).sum())
    both, rows, columns = pairs(counts), pairs(counts.sum(1)), pairs(counts.sum(0))
    whole = pairs(counts.sum(keepdims=True))
    chance, most = rows * columns / max(whole, 1), (rows + columns) / 2
    return (both - chance) / (most - chance) if most != chance else 1.0


def silhouettes(
    key: jax.Array, points: np.ndarray, numbers: Iterable[int], restarts: int = 20
) -> Iterator[tuple[int, float]]:
    """Points [N, D] -> (clusters, mean silhouette of k-means with so many) for each of `numbers`.

    The greatest says how many clusters the points fall into, by nothing but the points.
    """
    for number in numbers:
        own = kmeans(key, points, number, restarts)[1]
        yield number, silhouette(points, np.asarray(own))


def silhouette(points: np.ndarray, clusters: np.ndarray) -> float:
    """Points [N, D], clusters [N] -> mean silhouette (Rousseeuw, 1987), from -1 to 1."""
    kept = np.unique(np.linspace(0, len(points) - 1, min(len(points), MOST)).astype(int))
    points, (_, clusters) = (
        points[kept].astype(np.float64),
        np.unique(clusters[kept], return_inverse=True),
    )
    squares = np.square(points).sum(1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0))
    members = np.eye(clusters.max() + 1)[clusters]
    sizes, sums = members.sum(0), apart @ members
    own = np.take_along_axis(sums, clusters[:, None], 1)[:, 0] / np.maximum(sizes[clusters] - 1, 1)
    others = np.where(members > 0, np.inf, sums / sizes).min(1)
    values = np.where(
        sizes[clusters] > 1, (others - own) / np.maximum(np.maximum(own, others), 1e-30), 0
    )
    return float(values.mean()) if len(sizes) > 1 else 0.0


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
