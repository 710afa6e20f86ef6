"""Language modelling and question answering: losses, scores, spans against plain formulas."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax import tasks, texts
from nnjax.ops import answers
from nnjax.training.step import _sum

RNG = np.random.default_rng(0)


def average(weighted):
    total, weight = _sum(weighted, jnp.ones(len(weighted[0])))
    return float(total / weight)


def test_a_language_model_predicts_what_follows():
    task = tasks.language_model()
    tokens = jnp.array([[4, 5, 6, 7], [5, 4, 99, -3]])  # behind the second's end is garbage
    batch = {'text': tokens, 'text_length': jnp.array([4, 2])}
    logits = jnp.asarray(RNG.normal(size=(2, 4, 8)), jnp.float32)
    logs = np.asarray(logits) - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = [-logs[0, 0, 5], -logs[0, 1, 6], -logs[0, 2, 7], -logs[1, 0, 4]]
    assert average(task.loss(logits, batch)) == pytest.approx(np.mean(wanted), rel=1e-5)
    sure = 100.0 * jnp.eye(8)[jnp.array([[5, 6, 0, 0], [4, 0, 0, 0]])]
    assert average(task.metrics(sure, batch)['accuracy']) == pytest.approx(3 / 4)


def test_packed_examples_do_not_predict_each_other():
    task = tasks.language_model()
    batch = {
        'text': jnp.array([[4, 5, 6, 7, 4, 0]]),
        'text_length': jnp.array([5]),
        'text_segment': jnp.array([[1, 1, 1, 2, 2, 0]]),
    }
    _, weights = task.loss(jnp.zeros((1, 6, 8)), batch)
    assert weights.tolist() == [[1, 1, 0, 1, 0]]
    assert [len(x) for x in task.inputs(batch)] == [1, 1, 1]


def test_bits_and_perplexity_of_a_uniform_model():
    task = tasks.language_model()
    written = ['häuser', 'cat']
    tokens = np.zeros((2, 6), np.int32)
    batch = {'text': jnp.asarray(tokens + 4), 'text_length': jnp.array([6, 3])}
    found = task.predict(lambda *inputs: jnp.zeros((2, 6, 32)), batch)
    scores = task.score(
        {n: np.asarray(v) for n, v in found.items()}, {'text': texts.array(written)}
    )
    assert scores['perplexity'] == pytest.approx(32, rel=1e-5)
    assert scores['bits_per_character'] == pytest.approx(5, rel=1e-5)
    assert scores['bits_per_byte'] == pytest.approx(5 * 7 / 8, rel=1e-5)


def qa_batch():
    """<bos> q <eos> a b c d <eos>, padding; the answer is 'b c'."""
    offsets = np.zeros((1, 9, 2), np.int32)
    offsets[0, 3:7] = [(0, 1), (2, 4), (5, 6), (7, 9)]
    return {
        'text': jnp.ones((1, 9), jnp.int32),
        'text_length': jnp.array([8]),
        'text_offsets': jnp.asarray(offsets),
        'span': jnp.array([[4, 5]]),
    }


def test_an_answer_is_the_best_span_of_the_context():
    task, batch = tasks.qa(), qa_batch()
    scores = np.zeros((1, 9, 2), np.float32)
    scores[0, 1] = scores[0, 8] = 50.0  # the question and the padding are no answers
    scores[0, 4, 0], scores[0, 5, 1] = 3.0, 2.0
    scores[0, 3, 1] = 4.0  # a better end, but before the beginning
    found = task.predict(lambda *inputs: jnp.asarray(scores), batch)
    assert found['prediction'].tolist() == [[2, 6]]
    first, last = (np.exp(scores[0, 3:7, n]) for n in (0, 1))
    wanted = first[1] / first.sum() * last[2] / last.sum()
    assert float(found['probability'][0]) == pytest.approx(wanted, rel=1e-5)
    assert average(task.metrics(jnp.asarray(scores), batch)['accuracy']) == 1
    loss = average(task.loss(jnp.asarray(scores), batch))
    assert loss == pytest.approx(-np.log(wanted) / 2, rel=1e-5)


def test_an_answer_that_was_cut_teaches_nothing():
    batch = {**qa_batch(), 'span': jnp.array([[-1, -1]])}
    _, weights = tasks.qa().loss(jnp.zeros((1, 9, 2)), batch)
    assert not weights.any()
    assert average(tasks.qa().metrics(jnp.zeros((1, 9, 2)), batch)['accuracy']) == 0


@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 99))
def test_the_best_span_is_that_of_a_search(time, longest, seed):
    scores = np.random.default_rng(seed).normal(size=(1, time, 2)).astype(np.float32)
    (found,), (probability,) = answers.best_span(jnp.asarray(scores), longest)
    pairs = [p for p in itertools.product(range(time), repeat=2) if 0 <= p[1] - p[0] < longest]
    best = max(pairs, key=lambda p: scores[0, p[0], 0] + scores[0, p[1], 1])
    assert tuple(found.tolist()) == best
    sums = [math.exp(scores[0, a, 0] + scores[0, b, 1]) for a, b in itertools.product(range(time), repeat=2)]  # fmt: skip
    wanted = math.exp(scores[0, best[0], 0] + scores[0, best[1], 1]) / sum(sums)
    assert float(probability) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    'said, right, exact, f1',
    [
        ('The Denver Broncos!', 'denver broncos', 1, 1),
        ('Broncos', 'Denver Broncos', 0, 2 / 3),
        ('a cat sat', 'the cat', 0, 2 / 3),
        ('to be or not to be', 'be', 0, 2 / 7),
        ('', 'cat', 0, 0),
        ('the', 'a', 1, 1),
    ],
)
def test_scores_of_answers_are_squad_s(said, right, exact, f1):
    assert answers.exact(said, right) == exact
    assert answers.f1(said, right) == pytest.approx(f1)


def test_the_best_of_several_answers_counts():
    found = tasks.qa().score(
        {'prediction': texts.array(['in Paris', 'blue'])},
        {'answer': texts.array(['Paris\nin Paris', 'red'])},
    )
    assert found == {'exact_match': 0.5, 'f1': 0.5}
