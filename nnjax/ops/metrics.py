"""Metrics: on the device unreduced values per example, on the host exact scores of a whole split."""

import jax
import jax.numpy as jnp
import numpy as np


def correct(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Outputs [B, C], labels [B] -> 1.0 where the largest output is the label's, [B]."""
    return (jnp.argmax(outputs, -1) == labels).astype(jnp.float32)


def top_k_correct(outputs: jax.Array, labels: jax.Array, k: int) -> jax.Array:
    """Outputs [B, C], labels [B] -> 1.0 where fewer than k outputs exceed the label's, [B]."""
    own = jnp.take_along_axis(outputs, labels[..., None], -1)
    return (jnp.sum(outputs > own, -1) < k).astype(jnp.float32)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Integer labels [N] and predictions [N] -> counts [C, C], rows true, columns predicted."""
    flat = np.bincount(labels.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def precision_recall_f1(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confusion [C, C] -> precision [C], recall [C], F1 [C]; 0 where the denominator is 0."""
    hits = np.diag(confusion).astype(np.float64)
    predicted, true = confusion.sum(0), confusion.sum(1)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(true, 1)
    return precision, recall, 2 * hits / np.maximum(predicted + true, 1)


def macro(values: np.ndarray, confusion: np.ndarray) -> float:
    """Mean of per-class values over the classes that occur, as label or prediction."""
    present = (confusion.sum(0) + confusion.sum(1)) > 0
    return float(values[present].mean()) if present.any() else 0.0


def nll(probability: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log probability of the label, in nats; [N, C], [N]."""
    own = probability[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())


def brier(probability: np.ndarray, labels: np.ndarray) -> float:
    """Mean of sum_c (p_c - [c = label])^2 (Brier, 1950), between 0 and 2."""
    target = np.eye(probability.shape[1])[labels]
    return float(np.square(probability - target).sum(1).mean())


def reliability_bins(
    probability: np.ndarray, labels: np.ndarray, bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Equal-width bins of the largest probability -> (mean confidence, accuracy, count), [bins].

    A bin is open below and closed above; empty bins hold 0.
    """
    confidence = probability.max(1).astype(np.float64)
    hit = probability.argmax(1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    some = np.maximum(count, 1)
    return (
        np.bincount(place, confidence, bins) / some,
        np.bincount(place, hit, bins) / some,
        count,
    )


def expected_calibration_error(
    probability: np.ndarray, labels: np.ndarray, bins: int = 15
) -> float:
    """Mean over examples of |accuracy - confidence| of their bin (Guo et al., 2017, eq. 3)."""
    confidence, accuracy, count = reliability_bins(probability, labels, bins)
    return float(np.sum(count * np.abs(accuracy - confidence)) / max(count.sum(), 1))
