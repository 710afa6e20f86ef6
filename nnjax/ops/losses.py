"""Losses by name: (outputs [..., C], targets [..., C]) -> values [...], neither averaged nor masked.

`targets` is a distribution over classes for the classification losses, a vector of reals for the
regression ones. Computed in float32 whatever the outputs' dtype; numbers such as `delta` and
`gamma` may be traced.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import entr

HALF_LOG_TAU = 0.9189385332046727  # half the logarithm of 2 pi


def cross_entropy(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """-sum_c targets_c log softmax(outputs)_c."""
    outputs, targets = _float32(outputs, targets)
    return -jnp.sum(targets * jax.nn.log_softmax(outputs), -1)


def cross_entropy_with_labels(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of labels [...], whole numbers in [0, C) (unchecked), without one-hot targets.

    At ten thousands of classes, as in a language model's vocabulary, about twice as fast on CPU.
    """
    (outputs,) = _float32(outputs)
    picked = jnp.take_along_axis(outputs, labels[..., None], -1)[..., 0]
    return jax.nn.logsumexp(outputs, -1) - picked


def binary(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the last axis of the cross-entropy of sigmoid(outputs_c) and targets_c."""
    outputs, targets = _float32(outputs, targets)
    return jnp.mean(jax.nn.softplus(outputs) - targets * outputs, -1)


def mse(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the last axis of (outputs - targets)^2."""
    outputs, targets = _float32(outputs, targets)
    return jnp.mean(jnp.square(outputs - targets), -1)


def mae(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the last axis of |outputs - targets|."""
    outputs, targets = _float32(outputs, targets)
    return jnp.mean(jnp.abs(outputs - targets), -1)


def huber(outputs: jax.Array, targets: jax.Array, delta: float | jax.Array = 1.0) -> jax.Array:
    """Mean over the last axis of half the square of the error up to `delta`, then linear.

    Huber, Robust estimation of a location parameter, 1964.
    """
    outputs, targets = _float32(outputs, targets)
    error = jnp.abs(outputs - targets)
    inside = jnp.minimum(error, delta)
    return jnp.mean(0.5 * jnp.square(inside) + delta * (error - inside), -1)


def gaussian(mean: jax.Array, deviation: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the last axis of -log N(targets; mean, deviation^2), all [..., C], in nats.

    Nix and Weigend, Estimating the mean and variance of the target probability distribution, 1994.
    """
    mean, deviation, targets = _float32(mean, deviation, targets)
    error = (targets - mean) / deviation
    return jnp.mean(0.5 * jnp.square(error) + jnp.log(deviation) + HALF_LOG_TAU, -1)


def normal_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """KL(N(mean, exp(log_variance)) | N(0, 1)) of each number [...], in nats."""
    mean, log_variance = _float32(mean, log_variance)
    return 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance)


def pinball(outputs: jax.Array, targets: jax.Array, quantiles: jax.Array) -> jax.Array:
    """Mean over the last axes of the loss that the quantiles [Q] of the targets [..., C] minimise.

    Outputs are [..., C, Q]. Koenker and Bassett, Regression quantiles, 1978.
    """
    outputs, targets, quantiles = _float32(outputs, targets, quantiles)
    error = targets[..., None] - outputs
    quantiles = quantiles.reshape((1,) * (error.ndim - 1) + (-1,))
    return jnp.mean(jnp.maximum(quantiles * error, (quantiles - 1) * error), (-2, -1))


def kl(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence of targets from softmax(outputs): cross-entropy less entropy."""
    (targets,) = _float32(targets)
    return cross_entropy(outputs, targets) - jnp.sum(entr(targets), -1)


def hinge(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """max(0, 1 + best wrong output - right output); right is the class of the largest target.

    Crammer and Singer, On the algorithmic implementation of multiclass kernel-based vector
    machines, 2001. (PyTorch's multi_margin_loss sums over all wrong classes instead.)
    """
    outputs, targets = _float32(outputs, targets)
    right = jax.nn.one_hot(jnp.argmax(targets, -1), outputs.shape[-1], dtype=jnp.bool_)
    score = jnp.sum(jnp.where(right, outputs, 0), -1)
    rival = jnp.max(jnp.where(right, -jnp.inf, outputs), -1)
    return jnp.maximum(0, 1 + rival - score)


def focal(outputs: jax.Array, targets: jax.Array, gamma: float | jax.Array = 2.0) -> jax.Array:
    """Cross-entropy's terms, each times (1 - p_c)^gamma.

    Lin et al., Focal loss for dense object detection, 2017, equation 4.
    """
    outputs, targets = _float32(outputs, targets)
    logs = jax.nn.log_softmax(outputs)
    # A power by way of its logarithm, kept from -inf: its gradient stays finite at p = 1.
    rest = jnp.log(jnp.maximum(-jnp.expm1(logs), 1e-7))
    return -jnp.sum(targets * jnp.exp(gamma * rest) * logs, -1)


def sigmoid_focal(outputs: jax.Array, targets: jax.Array, gamma, alpha) -> jax.Array:
    """Outputs [...], targets 0 or 1 [...] -> each one's own focal loss [...], not a mean.

    The cross-entropy with sigmoid(outputs) times (1 - p)^gamma, p that of the target, times alpha
    where it is 1 and 1 - alpha where it is 0 (Lin et al., 2017, equation 5).
    """
    outputs, targets = _float32(outputs, targets)
    logs = jax.nn.log_sigmoid(jnp.where(targets > 0, outputs, -outputs))
    rest = jnp.log(jnp.maximum(-jnp.expm1(logs), 1e-7))  # as in `focal`
    share = jnp.where(targets > 0, alpha, 1 - alpha)
    return -share * jnp.exp(gamma * rest) * logs


def _float32(*arrays: jax.Array) -> list[jax.Array]:
    return [jnp.asarray(a).astype(jnp.float32) for a in arrays]
