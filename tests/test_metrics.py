"""Metrics against scikit-learn and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from nnjax.ops import metrics

seeds = st.integers(0, 10**6)


def sample(seed, classes, count=97):
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(classes, 0.3), count)
    probability = probability.astype(np.float32)
    return probability, rng.integers(0, classes, count).astype(np.int32)


@given(seeds, st.integers(2, 7), st.integers(1, 60))
def test_confusion_precision_recall_f1(seed, classes, count):
    probability, labels = sample(seed, classes, count)
    predicted = probability.argmax(1)
    confusion = metrics.confusion_matrix(labels, predicted, classes)
    names = np.arange(classes)
    assert np.array_equal(confusion, reference.confusion_matrix(labels, predicted, labels=names))
    wanted = reference.precision_recall_fscore_support(
        labels, predicted, labels=names, zero_division=0
    )[:3]
    for ours, theirs in zip(metrics.precision_recall_f1(confusion), wanted):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    macro = metrics.macro(metrics.precision_recall_f1(confusion)[2], confusion)
    assert macro == pytest.approx(
        reference.f1_score(labels, predicted, average='macro', zero_division=0)
    )


def test_nothing_predicted_of_nothing_scores_zero():
    empty = metrics.confusion_matrix(np.zeros(0, int), np.zeros(0, int), 3)
    assert empty.tolist() == [[0] * 3] * 3
    assert metrics.macro(metrics.precision_recall_f1(empty)[0], empty) == 0


@pytest.mark.parametrize('kind', [np.asarray, jnp.asarray], ids=['numpy', 'jax'])
def test_values_per_example(kind):
    probability, labels = sample(1, 5)
    ours = kind(probability), kind(labels)
    hit = metrics.correct(*ours)
    assert isinstance(hit, np.ndarray if kind is np.asarray else jax.Array)
    assert hit.dtype == np.float32 and hit.shape == labels.shape
    assert hit.mean() == pytest.approx(reference.accuracy_score(labels, probability.argmax(1)))
    exact = probability.astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    assert metrics.nll(*ours).mean() == pytest.approx(
        reference.log_loss(labels, exact, labels=np.arange(5)), rel=1e-5
    )
    onehot = np.eye(5)[labels]
    np.testing.assert_allclose(
        metrics.brier(*ours), np.square(probability - onehot).sum(1), rtol=1e-5, atol=1e-6
    )


def test_brier_is_twice_scikit_learns_for_two_classes():
    probability, labels = sample(2, 2)
    assert metrics.brier(probability, labels).mean() == pytest.approx(
        2 * reference.brier_score_loss(labels, probability[:, 1]), rel=1e-5
    )


def test_nll_of_the_impossible_is_finite():
    assert metrics.nll(np.array([[1.0, 0.0]], np.float32), np.array([1])) == pytest.approx(
        87.3, 1e-3
    )


@given(seeds, st.integers(1, 9))
def test_top_k(seed, k):
    probability, labels = sample(seed, 10)
    assert metrics.top_k_correct(probability, labels, k).mean() == pytest.approx(
        reference.top_k_accuracy_score(labels, probability, k=k, labels=np.arange(10))
    )


@given(seeds, st.integers(1, 6))
def test_equal_outputs_rank_by_class(seed, k):
    rng = np.random.default_rng(seed)
    outputs = rng.integers(0, 3, (40, 6)).astype(np.float32)
    labels = rng.integers(0, 6, 40).astype(np.int32)
    _, best = jax.lax.top_k(outputs, k)
    found = metrics.top_k_correct(outputs, labels, k)
    np.testing.assert_array_equal(found, (np.asarray(best) == labels[:, None]).any(1))
    np.testing.assert_array_equal(
        metrics.top_k_correct(outputs, labels, 1), metrics.correct(outputs, labels)
    )


def test_top_k_inside_a_step():
    outputs, labels = sample(3, 6)
    deep = jnp.asarray(outputs[:96]).reshape(8, 12, 6), jnp.asarray(labels[:96]).reshape(8, 12)
    found = jax.jit(metrics.top_k_correct, static_argnums=2)(*deep, 3)
    np.testing.assert_array_equal(found.reshape(96), metrics.top_k_correct(outputs, labels, 3)[:96])


def test_nan_is_never_among_the_best():
    outputs = np.full((6, 6), np.nan, np.float32)
    assert metrics.top_k_correct(outputs, np.arange(6), 5).sum() == 0


@given(seeds, st.integers(2, 20))
def test_reliability_bins_equal_scikit_learns(seed, bins):
    probability, labels = sample(seed, 4)
    confidence, accuracy, count = metrics.reliability_bins(probability, labels, bins)
    hit = probability.argmax(1) == labels
    true, mean = calibration_curve(hit, np.minimum(probability.max(1), 1), n_bins=bins)
    np.testing.assert_allclose(accuracy[count > 0], true)
    np.testing.assert_allclose(confidence[count > 0], mean, rtol=1e-6)
    assert count.sum() == len(labels)
    assert np.all(confidence[count == 0] == 0) and np.all(accuracy[count == 0] == 0)


def test_calibration_error_by_hand():
    # two bins: four at 0.95 of which two are right, two at 0.55 of which both are right
    probability = np.array([[0.95, 0.05]] * 4 + [[0.55, 0.45]] * 2)
    labels = np.array([0, 0, 1, 1, 0, 0])
    confidence, accuracy, count = metrics.reliability_bins(probability, labels, 10)
    assert count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 0, 4]
    np.testing.assert_allclose([confidence[9], accuracy[9]], [0.95, 0.5])
    assert metrics.expected_calibration_error(probability, labels, 10) == pytest.approx(
        (4 * 0.45 + 2 * 0.45) / 6
    )


def test_calibrated_probabilities_have_no_error():
    rng = np.random.default_rng(0)
    probability = rng.dirichlet(np.ones(4), 200_000)
    labels = (probability.cumsum(1) > rng.random((200_000, 1))).argmax(1)
    assert metrics.expected_calibration_error(probability, labels) < 0.01
