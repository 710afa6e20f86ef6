"""Pairs of embeddings: losses over those of a batch, and error rates over those of a split.

Embeddings are of length 1, so that the score of a pair, their product, is a cosine.
"""

import jax
import jax.numpy as jnp
import numpy as np

MOST = 4000  # rows of which all pairs are judged


def same_and_other(labels: jax.Array, everyone: jax.Array, own: jax.Array, real: jax.Array):
    """Labels [B] and [M], places [B] of the first among the second, real rows [M] -> masks [B, M].

    Which pairs are of one identity, without those of a row with itself, and which are of two.
    """
    equal = labels[:, None] == everyone[None]
    itself = own[:, None] == jnp.arange(len(everyone))[None]
    return equal & ~itself & real[None], ~equal & real[None]


def semi_hard(scores: jax.Array, same: jax.Array, other: jax.Array, margin):
    """Scores [B, M] and masks -> triplet losses of all pairs of one identity (values, weights) [B, M].

    max(0, margin + d(a, p) - d(a, n)), d = 2 - 2 score the squared distance; n is the nearest that
    is farther than p, or the farthest where there is none (Schroff et al., FaceNet, 2015).
    """
    negatives = jnp.sort(jnp.where(other, scores, jnp.inf), -1)  # the farthest first
    farther = jax.vmap(jnp.searchsorted)(negatives, scores)  # how many are, of each pair
    negative = jnp.take_along_axis(negatives, jnp.maximum(farther - 1, 0), -1)
    weights = (same & jnp.any(other, -1, keepdims=True)).astype(jnp.float32)
    values = jnp.maximum(margin + 2 * (jnp.where(weights > 0, negative, 0) - scores), 0)
    return jnp.where(weights > 0, values, 0), weights


def contrastive(scores: jax.Array, same: jax.Array, other: jax.Array, scale):
    """Scores [B, M] and masks -> supervised contrastive losses (values, weights) [B].

    The mean over a row's positives of -log softmax(scale * score) among all others (Khosla et al.,
    2020, equation 2); a row without positives has no weight.
    """
    logits = jnp.where(same | other, scores * scale, -jnp.inf)
    some = jnp.any(same, -1)
    logs = logits - jax.nn.logsumexp(jnp.where(some[:, None], logits, 0), -1, keepdims=True)
    count = jnp.maximum(jnp.sum(same, -1, dtype=jnp.float32), 1)
    values = -jnp.sum(jnp.where(same, logs, 0), -1) / count
    return values, some.astype(jnp.float32)


def ranking(scores: jax.Array, same: jax.Array, other: jax.Array):
    """Scores [B, M] and masks -> each row's share of (positive, negative) in the right order [B].

    The area under the row's ROC curve; a row that lacks either kind has no weight.
    """
    order = jnp.argsort(jnp.where(same | other, scores, jnp.inf), -1)
    positive = jnp.take_along_axis(same, order, -1).astype(jnp.float32)
    negative = jnp.take_along_axis(other, order, -1).astype(jnp.float32)
    right = jnp.sum(positive * jnp.cumsum(negative, -1), -1)
    count = jnp.sum(positive, -1) * jnp.sum(negative, -1)
    return right / jnp.maximum(count, 1), (count > 0).astype(jnp.float32)


def margin_logits(cosine: jax.Array, target: jax.Array, angle, drop) -> jax.Array:
    """Cosines [B, C], one-hot targets -> cos(theta + angle) - drop for the target, else the cosine.

    ArcFace (Deng et al., 2019) has an angle, CosFace (Wang et al., 2018) a drop. Where theta + angle
    is beyond pi it goes on as a line, so that it falls with theta everywhere.
    """
    sine = jnp.sqrt(jnp.maximum(1 - jnp.square(cosine), 1e-7))
    turned = cosine * jnp.cos(angle) - sine * jnp.sin(angle)
    beyond = cosine < jnp.cos(jnp.pi - angle)
    turned = jnp.where(beyond, cosine - jnp.sin(jnp.pi - angle) * angle, turned)
    return jnp.where(target > 0, turned - drop, cosine)


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Rows [N, D] brought to length 1: means of unit vectors, over views, are shorter."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)


def scores(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings [N, D], labels [N] -> scores of all pairs of one identity and of all of two.

    Of more than 4,000 rows, 4,000 at random, always the same: so every pair is as likely.
    """
    if len(labels) > MOST:
        rows = np.sort(np.random.default_rng(0).permutation(len(labels))[:MOST])
        embeddings, labels = embeddings[rows], labels[rows]
    first, second = np.triu_indices(len(labels), 1)
    embeddings = unit(embeddings)
    values = (embeddings @ embeddings.T)[first, second]
    equal = labels[first] == labels[second]
    return values[equal], values[~equal]


def rates(same: np.ndarray, different: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of pairs -> (thresholds, false accept rate, false reject rate), by rising threshold.

    A pair is accepted if its score is at least the threshold; the last accepts nothing.
    """
    thresholds = np.unique(np.concatenate([same, different]))
    thresholds = np.append(thresholds, np.nextafter(thresholds[-1], np.inf))
    below = np.searchsorted(np.sort(different), thresholds)
    accept = (len(different) - below) / len(different)
    reject = np.searchsorted(np.sort(same), thresholds) / len(same)
    return thresholds, accept, reject


def equal_error(same: np.ndarray, different: np.ndarray) -> tuple[float, float]:
    """Scores of pairs -> (the rate at which both errors are equal, the threshold there).

    Where they are equal over an interval of thresholds, as they are where every pair of one identity
    scores above every pair of two, it is the interval's middle.
    """
    thresholds, accept, reject = rates(same, different)
    after = int(np.argmax(reject >= accept))  # the last is sure to be, the first sure not to
    gap = accept - reject
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    between = lambda x, share: float(x[after - 1] + share * (x[after] - x[after - 1]))
    return between(reject, share), between(thresholds, share if gap[after] < 0 else 0.5)


def accepted(same: np.ndarray, different: np.ndarray, rate: float) -> float:
    """The largest share of pairs of one identity accepted at a false accept rate up to `rate`."""
    allowed = min(int(rate * len(different)), len(different) - 1)
    return float(np.mean(same > np.sort(different)[::-1][allowed]))
