"""The classification task: what it averages, what it scores, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from nnjax.errors import UserError
from nnjax.tasks import classification
from nnjax.training import step

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(37, 6)).astype(np.float32)
LABELS = RNG.integers(0, 6, 37).astype(np.int32)


def mean(weighted, mask=None) -> float:
    mask = np.ones(len(weighted[0]), np.float32) if mask is None else mask
    total, weight = step._sum(weighted, mask)
    return float(total / weight)


def test_loss_equals_pytorch():
    torch = pytest.importorskip('torch')
    there, target = torch.tensor(LOGITS), torch.tensor(LABELS).long()
    entropy = torch.nn.functional.cross_entropy
    weights = (0.5, 1.0, 2.0, 1.0, 3.0, 0.1)
    for ours, theirs in (
        ({}, {}),
        ({'smoothing': 0.2}, {'label_smoothing': 0.2}),
        ({'class_weights': weights}, {'weight': torch.tensor(weights)}),
    ):
        value = mean(classification(**ours).loss(LOGITS, {'label': LABELS}))
        assert value == pytest.approx(entropy(there, target, **theirs).item(), rel=1e-5)


def test_labels_may_be_distributions():
    task = classification(smoothing=0.1)
    hard = np.eye(6, dtype=np.float32)[LABELS]
    assert mean(task.loss(LOGITS, {'label': hard})) == pytest.approx(
        mean(task.loss(LOGITS, {'label': LABELS})), rel=1e-6
    )
    assert mean(task.metrics(LOGITS, {'label': hard})['accuracy']) == pytest.approx(
        mean(task.metrics(LOGITS, {'label': LABELS})['accuracy'])
    )


@pytest.mark.parametrize('batch', [5, 8, 37, 64])
def test_exact_over_a_padded_last_batch(batch):
    task = classification(top_k=2)
    totals = {}
    for start in range(0, 37, batch):
        rows = np.arange(start, start + batch)
        mask = (rows < 37).astype(np.float32)
        logits = np.where(mask[:, None] > 0, LOGITS[rows % 37], np.nan)
        found = task.metrics(logits, {'label': LABELS[rows % 37]})
        found['loss'] = task.loss(logits, {'label': LABELS[rows % 37]})
        for name, weighted in found.items():
            total, weight = step._sum(weighted, mask)
            before = totals.get(name, (0, 0))
            totals[name] = (before[0] + float(total), before[1] + float(weight))
    means = {name: total / weight for name, (total, weight) in totals.items()}
    probability = np.asarray(jax.nn.softmax(LOGITS))
    names = np.arange(6)
    assert means['accuracy'] == pytest.approx(
        reference.accuracy_score(LABELS, LOGITS.argmax(1)), rel=1e-6
    )
    assert means['loss'] == pytest.approx(
        reference.log_loss(LABELS, probability.astype(float), labels=names), rel=1e-5
    )
    assert means['top2'] == pytest.approx(
        reference.top_k_accuracy_score(LABELS, LOGITS, k=2, labels=names), rel=1e-6
    )


def test_score_equals_scikit_learn():
    task = classification()
    probability = np.asarray(
        task.predict(lambda x: x, {'image': jnp.asarray(LOGITS)})['probability']
    )
    scores = task.score({'probability': probability}, {'label': LABELS})
    predicted = probability.argmax(1)
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        LABELS, predicted, average='macro', zero_division=0
    )
    assert scores['macro_precision'] == pytest.approx(precision)
    assert scores['macro_recall'] == pytest.approx(recall)
    assert scores['macro_f1'] == pytest.approx(f1)
    each = reference.precision_score(LABELS, predicted, average=None, zero_division=0)
    assert [scores[f'precision/{c}'] for c in range(6)] == pytest.approx(list(each))


@pytest.mark.parametrize(
    'loss', ['cross_entropy', 'focal', 'binary', 'mse', 'mae', 'huber', 'kl', 'hinge']
)
def test_every_loss_learns_and_predicts_a_distribution(loss):
    task = classification(loss=loss)
    batch = {'label': LABELS, 'image': jnp.asarray(LOGITS)}
    grads = jax.grad(lambda o: task.loss(o, batch)[0].sum())(jnp.asarray(LOGITS))
    lower = task.loss(LOGITS - 0.01 * np.asarray(grads), batch)[0].sum()
    assert float(lower) < float(task.loss(LOGITS, batch)[0].sum())
    probability = task.predict(lambda x: x, batch)['probability']
    np.testing.assert_allclose(probability.sum(-1), 1, rtol=1e-5)


def test_numbers_are_traced():
    traces = 0

    @jax.jit
    def loss(smoothing, gamma):
        nonlocal traces
        traces += 1
        task = classification(loss='focal', smoothing=smoothing, focal_gamma=gamma)
        return task.loss(LOGITS, {'label': LABELS})[0].sum()

    values = {float(loss(np.float32(s / 10), np.float32(s))) for s in range(8)}
    assert traces == 1 and len(values) == 8


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match=r'2 numbers.*6 classes'):
        classification(class_weights=(1.0, 2.0)).loss(LOGITS, {'label': LABELS})
    with pytest.raises(UserError, match='from 0 to 9'):
        classification().score({'probability': np.ones((2, 6))}, {'label': np.array([0, 9])})
