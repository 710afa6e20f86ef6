"""Metrics: unreduced values per example, and exact scores of a whole split on the host.

What is per example takes JAX arrays (inside a step) and NumPy arrays (on the host, where nothing
needs compiling) alike, and gives the same kind back. Labels are whole numbers in [0, C), unchecked.
"""

import jax
import numpy as np

Array = jax.Array | np.ndarray


def correct(outputs: Array, labels: Array) -> Array:
    """Outputs [..., C], labels [...] -> 1.0 where the label's is the first largest, else 0.0."""
    xp = outputs.__array_namespace__()
    return (xp.argmax(outputs, axis=-1) == labels).astype(xp.float32)


def top_k_correct(outputs: Array, labels: Array, k: int) -> Array:
    """Outputs [..., C], labels [...] -> 1.0 where the label's is among the k largest, else 0.0.

    Equal outputs rank by their class, as in argmax: constant outputs earn no more than chance.
    """
    xp = outputs.__array_namespace__()
    labels = labels[..., None]
    own = xp.take_along_axis(outputs, labels, axis=-1)
    earlier = (outputs == own) & (_classes(outputs) < labels)
    # Not (<=) rather than (>): a NaN then counts as larger, so it is never correct.
    return (xp.sum(~(outputs <= own) | earlier, axis=-1) < k).astype(xp.float32)


def nll(probability: Array, labels: Array) -> Array:
    """Probability [..., C], labels [...] -> -log p_label [...] in nats, at most 87.3 (p = 0)."""
    xp = probability.__array_namespace__()
    own = xp.take_along_axis(probability, labels[..., None], axis=-1)[..., 0].astype(xp.float32)
    return -xp.log(xp.maximum(own, xp.finfo(xp.float32).tiny))


def brier(probability: Array, labels: Array) -> Array:
    """Probability [..., C], labels [...] -> sum_c (p_c - [c = label])^2 [...], from 0 to 2.

    Brier, Verification of forecasts expressed in terms of probability, 1950. scikit-learn reports
    half of it for two classes.
    """
    xp = probability.__array_namespace__()
    target = (_classes(probability) == labels[..., None]).astype(xp.float32)
    return xp.sum(xp.square(probability.astype(xp.float32) - target), axis=-1)


def _classes(outputs: Array) -> Array:
    """0 to C - 1 along the last axis, with as many axes as the outputs [..., C]."""
    xp = outputs.__array_namespace__()
    return xp.arange(outputs.shape[-1]).reshape((1,) * (outputs.ndim - 1) + (-1,))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Labels [N], predicted classes [N] -> counts [C, C], rows true, columns predicted."""
    cells = labels.astype(np.int64) * classes + predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def precision_recall_f1(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confusion [C, C] -> precision [C], recall [C], F1 [C]; 0 where the denominator is 0."""
    hits = np.diag(confusion).astype(np.float64)
    predicted, true = confusion.sum(0), confusion.sum(1)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(true, 1)
    return precision, recall, 2 * hits / np.maximum(predicted + true, 1)


def macro(values: np.ndarray, confusion: np.ndarray) -> float:
    """Mean of per-class values [C] over the classes that occur, as label or as prediction."""
    present = (confusion.sum(0) + confusion.sum(1)) > 0
    return float(values[present].mean()) if present.any() else 0.0


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
    """Mean over examples of |accuracy - confidence| of their bin, as `reliability_bins` has it.

    Guo et al., On calibration of modern neural networks, 2017, equation 3.
    """
    confidence, accuracy, count = reliability_bins(probability, labels, bins)
    return float(np.sum(count * np.abs(accuracy - confidence)) / max(count.sum(), 1))


def r2(predictions: np.ndarray, targets: np.ndarray) -> float:
    """[N, T], [N, T] -> share of the variance that is explained, the mean over the T columns.

    For a column that is constant 1 if it is met exactly, else 0, as in scikit-learn.
    """
    predictions, targets = predictions.astype(np.float64), targets.astype(np.float64)
    rest = np.square(targets - predictions).sum(0)
    whole = np.square(targets - targets.mean(0)).sum(0)
    shares = 1 - rest / np.where(whole > 0, whole, 1)
    return float(np.where(whole > 0, shares, rest == 0).mean())


def rmse(predictions: np.ndarray, targets: np.ndarray) -> float:
    """[N, T], [N, T] -> root of the mean square error, the mean over the T columns."""
    errors = predictions.astype(np.float64) - targets
    return float(np.sqrt(np.square(errors).mean(0)).mean())


def coverage(low: np.ndarray, high: np.ndarray, targets: np.ndarray) -> float:
    """[N, T] each -> the share of targets from `low` to `high`."""
    return float(((low <= targets) & (targets <= high)).mean())
