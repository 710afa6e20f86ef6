"""The classification task: what it averages, what it scores, what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from nnjax import schema
from nnjax.errors import UserError
from nnjax.tasks import classification

RNG = np.random.default_rng(0)
LOGITS = (2 * RNG.normal(size=(37, 6))).astype(np.float32)
LABELS = RNG.integers(0, 6, 37).astype(np.int32)
HARD = np.eye(6, dtype=np.float32)[LABELS]
SOFT = RNG.dirichlet(np.ones(6), 37).astype(np.float32)
WEIGHTS = (0.5, 1.0, 2.0, 1.0, 3.0, 0.0)
LOSSES = ('cross_entropy', 'focal', 'binary', 'mse', 'mae', 'huber', 'kl', 'hinge')


def sums(weighted, mask=None):
    """What the step does with a task's answer: padded rows replaced, both sums taken."""
    values, weights = weighted
    real = jnp.ones(values.shape, bool) if mask is None else jnp.asarray(mask) > 0
    weights = jnp.where(real, weights, 0)
    return jnp.sum(jnp.where(real, values, 0) * weights), jnp.sum(weights)


def mean(weighted) -> float:
    total, weight = sums(weighted)
    return float(total / weight)


def probability(logits=LOGITS, **settings):
    apply = lambda x: x
    batch = {'image': jnp.asarray(logits)}
    return np.asarray(classification(**settings).predict(apply, batch)['probability'])


@pytest.mark.parametrize(
    'ours, theirs',
    [
        ({}, {}),
        ({'smoothing': 0.2}, {'label_smoothing': 0.2}),
        ({'class_weights': WEIGHTS}, {'weight': WEIGHTS}),
    ],
    ids=['plain', 'smoothing', 'weights'],
)
def test_loss_and_gradient_equal_pytorch(ours, theirs):
    torch = pytest.importorskip('torch')
    there = torch.tensor(LOGITS, requires_grad=True)
    theirs = {n: torch.tensor(v) if n == 'weight' else v for n, v in theirs.items()}
    wanted = torch.nn.functional.cross_entropy(there, torch.tensor(LABELS).long(), **theirs)
    wanted.backward()

    def loss(logits):
        total, weight = sums(classification(**ours).loss(logits, {'label': LABELS}))
        return total / weight

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(LOGITS))
    assert value == pytest.approx(wanted.item(), rel=1e-5)
    np.testing.assert_allclose(gradient, there.grad, rtol=1e-5, atol=1e-7)


def test_weights_with_smoothing_or_distributions_weigh_the_example():
    logs = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    for labels, plain in ((LABELS, HARD), (SOFT, SOFT)):
        weight = plain @ np.array(WEIGHTS)
        each = -((0.9 * plain + 0.1 / 6) * logs).sum(1)
        task = classification(smoothing=0.1, class_weights=WEIGHTS)
        assert mean(task.loss(LOGITS, {'label': labels})) == pytest.approx(
            (each * weight).sum() / weight.sum(), rel=1e-5
        )


@pytest.mark.parametrize('loss', LOSSES)
def test_whole_labels_equal_one_hot_labels(loss):
    task = classification(loss, smoothing=0.1, class_weights=WEIGHTS, top_k=2)
    for hard, whole in zip(
        jax.tree.leaves(
            (task.loss(LOGITS, {'label': HARD}), task.metrics(LOGITS, {'label': HARD}))
        ),
        jax.tree.leaves(
            (task.loss(LOGITS, {'label': LABELS}), task.metrics(LOGITS, {'label': LABELS}))
        ),
    ):
        np.testing.assert_allclose(hard, whole, rtol=1e-6)
    scores = [task.score({'probability': probability()}, {'label': y}) for y in (HARD, LABELS)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize('batch', [5, 8, 37, 64])
def test_exact_over_a_padded_last_batch(batch):
    task = classification(top_k=2)
    totals = {}
    for start in range(0, 37, batch):
        rows = np.arange(start, start + batch)
        mask = (rows < 37).astype(np.float32)
        logits = jnp.where(mask[:, None] > 0, LOGITS[rows % 37], jnp.nan)
        labels = jnp.where(mask > 0, LABELS[rows % 37], 10**6)
        found = task.metrics(logits, {'label': labels})
        found['loss'] = task.loss(logits, {'label': labels})
        for name, weighted in found.items():
            parts = [float(x) for x in sums(weighted, mask)]
            totals[name] = np.add(totals.get(name, (0, 0)), parts)
    means = {name: total / weight for name, (total, weight) in totals.items()}
    names = np.arange(6)
    exact = probability().astype(np.float64)
    wanted = {
        'accuracy': reference.accuracy_score(LABELS, LOGITS.argmax(1)),
        'top2': reference.top_k_accuracy_score(LABELS, LOGITS, k=2, labels=names),
        'loss': reference.log_loss(LABELS, exact / exact.sum(1, keepdims=True), labels=names),
    }
    assert means == pytest.approx(wanted, rel=1e-5)


def test_score_equals_scikit_learn():
    labels = np.where(LABELS == 4, 0, LABELS)  # class 4 has no example: its recall is 0
    found = probability()
    scores = classification(top_k=3).score({'probability': found}, {'label': labels})
    exact, predicted, names = found.astype(np.float64), found.argmax(1), np.arange(6)
    wanted = {
        'accuracy': reference.accuracy_score(labels, predicted),
        'top3': reference.top_k_accuracy_score(labels, found, k=3, labels=names),
        'nll': reference.log_loss(labels, exact / exact.sum(1, keepdims=True), labels=names),
        'brier': np.square(exact - np.eye(6)[labels]).sum(1).mean(),
        'ece': scores['ece'],
    }
    each = reference.precision_recall_fscore_support(
        labels, predicted, labels=names, zero_division=0
    )
    macro = reference.precision_recall_fscore_support(
        labels, predicted, average='macro', zero_division=0
    )
    for place, name in enumerate(('precision', 'recall', 'f1')):
        wanted[f'macro_{name}'] = macro[place]
        wanted |= {f'{name}/{c}': each[place][c] for c in range(6)}
    assert scores == pytest.approx(wanted, rel=1e-5)
    assert all(type(value) is float for value in scores.values())
    assert 0 <= scores['ece'] <= 1


@pytest.mark.parametrize('loss', LOSSES)
def test_auxiliary_outputs_have_a_weight_in_the_loss_alone(loss):
    check_auxiliary_weight(0.25, classification(loss, 0.1, WEIGHTS, auxiliary_weight=0.25))


def test_auxiliary_outputs_weigh_as_the_paper_says():
    check_auxiliary_weight(0.3, classification())


def check_auxiliary_weight(weight, task):
    others = LOGITS[::-1], 2 * LOGITS
    outputs = {'logits': LOGITS, 'auxiliary': others}
    batch = {'label': LABELS}
    wanted = mean(task.loss(LOGITS, batch))
    wanted += weight * sum(mean(task.loss(other, batch)) for other in others)
    assert mean(task.loss(outputs, batch)) == pytest.approx(wanted, rel=1e-5)
    jax.tree.map(
        np.testing.assert_array_equal, task.metrics(outputs, batch), task.metrics(LOGITS, batch)
    )


def test_top_k_needs_more_classes_than_k():
    assert set(classification().metrics(LOGITS, {'label': LABELS})) == {'accuracy', 'top5'}
    assert set(classification(top_k=6).metrics(LOGITS, {'label': LABELS})) == {'accuracy'}


@pytest.mark.parametrize('loss', LOSSES)
def test_every_loss_learns_and_predicts_a_distribution(loss):
    task = classification(loss=loss)
    total = jax.jit(lambda o: task.loss(o, {'label': LABELS})[0].sum())
    start = jnp.asarray(LOGITS)
    assert total(start - 0.01 * jax.grad(total)(start)) < total(start)
    found = probability(loss=loss)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.argmax(-1), LOGITS.argmax(-1))


def test_binary_probability_is_the_sigmoids_over_their_sum():
    sigmoid = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    found = probability(loss='binary')
    np.testing.assert_allclose(found, sigmoid / sigmoid.sum(1, keepdims=True), rtol=1e-5)
    tiny = probability(np.array([[-300.0, -300.0, -400.0]], np.float32), loss='binary')
    np.testing.assert_allclose(tiny, [[0.5, 0.5, 0]], atol=1e-6)


def test_text_and_speech_name_their_fields():
    task = classification(input='tokens', label='intent')
    batch = {'tokens': jnp.asarray(LOGITS), 'intent': jnp.asarray(LABELS)}
    assert task.inputs(batch) == (batch['tokens'],)
    assert mean(task.loss(LOGITS, batch)) == pytest.approx(
        mean(classification().loss(LOGITS, {'label': LABELS}))
    )
    assert 'probability' in task.predict(lambda x: x, batch)


@pytest.mark.parametrize('dtype', [jnp.uint8, jnp.int32, jnp.bfloat16])
def test_outputs_of_bfloat16_and_labels_of_any_type(dtype):
    task = classification(top_k=2, smoothing=0.1, class_weights=WEIGHTS)
    labels = HARD.astype(dtype) if dtype == jnp.bfloat16 else LABELS.astype(dtype)
    outputs = jnp.asarray(LOGITS, jnp.bfloat16)

    @jax.jit
    def run(outputs, labels):
        return task.loss(outputs, {'label': labels}), task.metrics(outputs, {'label': labels})

    for ours, exact in zip(
        jax.tree.leaves(run(outputs, labels)),
        jax.tree.leaves(run(outputs.astype(jnp.float32), LABELS)),
    ):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, exact, rtol=1e-6)
    assert task.predict(lambda x: x, {'image': outputs})['probability'].dtype == jnp.float32


@pytest.mark.parametrize('loss', ['focal', 'huber'])
def test_numbers_are_traced(loss):
    traces = 0

    @jax.jit
    def total(smoothing, number, weights):
        nonlocal traces
        traces += 1
        task = classification(
            loss, smoothing, tuple(weights), focal_gamma=number, huber_delta=number
        )
        return sums(task.loss(LOGITS, {'label': LABELS}))[0]

    for number in range(1, 9):
        smoothing, number = np.float32(number / 10), np.float32(number / 4)
        weights = np.arange(6, dtype=np.float32) * number
        static = classification(
            loss, float(smoothing), tuple(weights.tolist()), float(number), float(number)
        )
        wanted = float(sums(static.loss(LOGITS, {'label': LABELS}))[0])
        assert float(total(smoothing, number, weights)) == pytest.approx(wanted, rel=1e-5)
    assert traces == 1


@pytest.mark.parametrize('wrong', [-1, 6])
def test_a_label_that_is_no_class_stops_the_run_unless_it_is_padding(wrong):
    labels = jnp.asarray(LABELS).at[3].set(wrong)
    mask = jnp.ones(37).at[3].set(0)

    def loss(logits, mask):
        total, weight = sums(classification().loss(logits, {'label': labels}), mask)
        return total / weight

    assert np.isnan(loss(LOGITS, jnp.ones(37)))
    value, gradient = jax.value_and_grad(loss)(jnp.asarray(LOGITS), mask)
    rest = np.delete(LOGITS, 3, 0), {'label': np.delete(LABELS, 3)}
    assert value == pytest.approx(mean(classification().loss(*rest)), rel=1e-6)
    assert np.isfinite(gradient).all() and not gradient[3].any()


@pytest.mark.parametrize(
    'settings, outputs, labels, message',
    [
        ({'class_weights': (1.0, 2.0)}, LOGITS, LABELS, r'2 numbers.*6 classes'),
        ({}, LOGITS, LABELS[:, None], r"'label' is int32 \[37, 1\], the model gives \[37, 6\]"),
        ({}, LOGITS, LABELS.astype(np.float32), r'float32 \[37\].*whole numbers'),
        ({}, LOGITS, SOFT[:, :5], r'\[37, 5\]'),
        ({}, LOGITS[:, 0], LABELS, r'the model gives \[37\]'),
        ({'label': 'digit'}, LOGITS, LABELS > 2, "'digit' is bool"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_computed(settings, outputs, labels, message):
    task = classification(**settings)
    with pytest.raises(UserError, match=message) as caught:
        jax.eval_shape(
            lambda o, y: task.loss(o, {settings.get('label', 'label'): y}), outputs, labels
        )
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('wrong, message', [(9, 'classes 0 to 9'), (-2, 'classes -2 to 1')])
def test_score_refuses_labels_without_a_class(wrong, message):
    labels = np.array([0, 1, wrong])
    with pytest.raises(UserError, match=message) as caught:
        classification().score({'probability': np.full((3, 6), 1 / 6)}, {'label': labels})
    assert '\n' not in str(caught.value)


def test_every_field_is_explained_and_bounded():
    fields = schema.fields(classification)
    assert all(field.doc for field in fields.values())
    for name, bad in (('smoothing', 1.0), ('class_weights', (-1.0, 1.0)), ('huber_delta', 0.0),
                      ('focal_gamma', -1.0), ('top_k', 0), ('loss', 'crossentropy')):  # fmt: skip
        with pytest.raises(UserError):
            fields[name].check(bad, name)
