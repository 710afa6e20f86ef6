"""Metrics against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from nnjax.ops import metrics


def sample(seed, classes, count=97):
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(classes, 0.3), count).astype(np.float32)
    probability /= probability.sum(1, keepdims=True)
    return probability, rng.integers(0, classes, count)


@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 60))
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


def test_nll_and_brier():
    probability, labels = sample(1, 5)
    assert metrics.nll(probability, labels) == pytest.approx(
        reference.log_loss(labels, probability.astype(float), labels=np.arange(5)), rel=1e-5
    )
    two, binary = sample(2, 2)
    assert metrics.brier(two, binary) == pytest.approx(
        2 * reference.brier_score_loss(binary, two[:, 1]), rel=1e-5
    )


@given(st.integers(1, 9), st.integers(0, 1000))
def test_top_k(k, seed):
    probability, labels = sample(seed, 10)
    ours = np.asarray(metrics.top_k_correct(probability, labels, k)).mean()
    assert ours == pytest.approx(
        reference.top_k_accuracy_score(labels, probability, k=k, labels=np.arange(10))
    )


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
