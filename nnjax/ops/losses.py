"""Losses by name: (outputs [..., C], targets [..., C]) -> values [...], neither averaged nor masked.

`targets` is a distribution over classes for the classification losses, a vector of reals for the
regression ones. Computation is in float32 whatever the outputs' dtype.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import entr


def _float(*arrays: jax.Array) -> list[jax.Array]:
    return [jnp.asarray(a).astype(jnp.float32) for a in arrays]


def cross_entropy(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """-sum_c targets_c log softmax(outputs)_c."""
    outputs, targets = _float(outputs, targets)
    return -jnp.sum(targets * jax.nn.log_softmax(outputs), -1)


def cross_entropy_with_labels(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of integer labels [...], without forming one-hot targets."""
    (outputs,) = _float(outputs)
    picked = jnp.take_along_axis(outputs, labels[..., None], -1)[..., 0]
    return jax.nn.logsumexp(outputs, -1) - picked


def binary(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over classes of the binary cross-entropy of sigmoid(outputs_c) and targets_c."""
    outputs, targets = _float(outputs, targets)
    return jnp.mean(jax.nn.softplus(outputs) - targets * outputs, -1)


def mse(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the last axis of (outputs - targets)^2."""
    outputs, targets = _float(outputs, targets)
    return jnp.mean(jnp.square(outputs - targets), -1)


def mae(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean over the last axis of |outputs - targets|."""
    outputs, targets = _float(outputs, targets)
    return jnp.mean(jnp.abs(outputs - targets), -1)


def huber(outputs: jax.Array, targets: jax.Array, delta: float | jax.Array = 1.0) -> jax.Array:
    """Mean of the Huber loss (1964): half the square up to `delta`, then linear."""
    outputs, targets = _float(outputs, targets)
    error = jnp.abs(outputs - targets)
    inside = jnp.minimum(error, delta)
    return jnp.mean(0.5 * jnp.square(inside) + delta * (error - inside), -1)


def kl(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence from softmax(outputs) to targets: cross-entropy less entropy."""
    return cross_entropy(outputs, targets) - jnp.sum(entr(_float(targets)[0]), -1)


def hinge(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Multi-class hinge (Crammer and Singer, 2001): how far the best wrong class comes within 1.

    The right class is the targets' largest.
    """
    outputs, targets = _float(outputs, targets)
    right = jax.nn.one_hot(jnp.argmax(targets, -1), outputs.shape[-1], dtype=jnp.float32)
    score = jnp.sum(outputs * right, -1)
    rival = jnp.max(jnp.where(right > 0, -jnp.inf, outputs), -1)
    return jnp.maximum(0, 1 + rival - score)


def focal(outputs: jax.Array, targets: jax.Array, gamma: float | jax.Array = 2.0) -> jax.Array:
    """Focal loss (Lin et al., 2017, eq. 4): cross-entropy terms weighted by (1 - p_c)^gamma."""
    outputs, targets = _float(outputs, targets)
    logs = jax.nn.log_softmax(outputs)
    # log(1 - p) by way of expm1, so that the power's gradient is finite at p = 1.
    rest = jnp.log(jnp.maximum(-jnp.expm1(logs), 1e-7))
    return -jnp.sum(targets * jnp.exp(gamma * rest) * logs, -1)
