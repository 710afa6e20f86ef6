"""Decoding against plain Python: an exhaustive search, a beam of lists, counts of what is drawn."""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnjax.ops import decode

STATES, VOCABULARY, EOS = 11, 4, 1
few = settings(max_examples=15, deadline=None, derandomize=True)
seeds = st.integers(0, 10_000)


def tables(seed, rows=2, scale=2.0):
    """The logits [B, states, V] of a language whose state is a hash of all that was read."""
    shape = rows, STATES, VOCABULARY
    return scale * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def begun(table):
    """A cache as the models have it, with the tables as the memory of the rows."""
    return {'state': jnp.zeros(len(table), jnp.int32), 'memory': {'table': jnp.asarray(table)}}


def step(cache, ids):
    table = cache['memory']['table']
    state = (3 * cache['state'] + ids + 1) % STATES
    owner = jnp.arange(len(ids)) // (len(ids) // len(table))
    return table[owner, state], {**cache, 'state': state}


def log_probabilities(table, prefix):
    state = 0
    for token in prefix:
        state = (3 * state + token + 1) % STATES
    logits = table[state].astype(np.float64)
    return logits - np.log(np.exp(logits).sum())


def divided(score, tokens, penalty):
    return score / ((5 + tokens) / 6) ** penalty


def exhaustive(table, first, length, penalty):
    """All texts that end, best first: [(score, ids)]."""
    found = []
    for tokens in range(1, length + 1):
        others = [i for i in range(VOCABULARY) if i != EOS]
        for beginning in itertools.product(others, repeat=tokens - 1):
            text, score = (*beginning, EOS), 0.0
            for place, token in enumerate(text):
                score += log_probabilities(table, (first, *text[:place]))[token]
            found.append((divided(score, tokens, penalty), text))
    return sorted(found, reverse=True)


def plain_beam(following, first, length, beams, penalty, best, eos=EOS):
    """The search with lists, without an early stop; following(prefix) -> log probabilities."""
    alive, ended = [(0.0, ())], []
    for tokens in range(1, length + 1):
        longer = []
        for score, text in alive:
            now = following((first, *text))
            for token in range(len(now)):
                if token == eos:
                    ended.append((divided(score + now[token], tokens, penalty), (*text, eos)))
                else:
                    longer.append((score + now[token], (*text, token)))
        alive = sorted(longer, reverse=True)[:beams]
    cut = [(divided(score, length, penalty), text) for score, text in alive]
    return (sorted(ended, reverse=True) + cut)[:best]


@partial(jax.jit, static_argnames=('length', 'beams', 'best'))
def beam(table, first, penalty, length, beams, best):
    return decode.beam(step, begun(table), first, length, beams, penalty, best, eos=EOS)


def texts(found, row):
    """[(score, ids)] of one row, as Python has it."""
    lengths, ids = np.asarray(found.lengths[row]), np.asarray(found.ids[row])
    assert all((line[n:] == 0).all() for line, n in zip(ids, lengths))
    return [
        (float(s), tuple(line[:n].tolist())) for s, line, n in zip(found.scores[row], ids, lengths)
    ]


def assert_same(found, expected):
    assert [text for _, text in found] == [text for _, text in expected]
    np.testing.assert_allclose([s for s, _ in found], [s for s, _ in expected], atol=1e-4)


@few
@given(seeds, st.floats(0, 1.5))
def test_a_wide_beam_is_an_exhaustive_search(seed, penalty):
    table, first = tables(seed), np.array([2, 3], np.int32)
    found = beam(table, first, penalty, length=4, beams=27, best=6)
    for row in range(2):
        assert_same(texts(found, row), exhaustive(table[row], first[row], 4, penalty)[:6])


@pytest.mark.parametrize('beams, best', [(1, 1), (2, 1), (3, 3)])
@few
@given(seeds, st.floats(0, 1.5))
def test_a_narrow_beam_is_that_of_lists(beams, best, seed, penalty):
    table, first = tables(seed), np.array([2, 3], np.int32)
    found = beam(table, first, penalty, length=6, beams=beams, best=best)
    for row in range(2):
        following = partial(log_probabilities, table[row])
        expected = plain_beam(following, first[row], 6, beams, penalty, best)
        assert_same(texts(found, row), expected)
        alone = beam(table[row : row + 1], first[row : row + 1], penalty, 6, beams, best)
        assert_same(texts(alone, 0), texts(found, row))


def test_a_search_stops_when_nothing_can_win():
    """A text that is all but certain to end; without the stop this would take hours."""
    table = np.full((1, STATES, VOCABULARY), -20, np.float32)
    table[..., EOS] = 0
    found = beam(table, np.array([2], np.int32), 0.0, length=1_000_000, beams=2, best=1)
    assert texts(found, 0)[0][1] == (EOS,)


def test_what_never_ends_is_cut_and_what_is_no_text_says_so():
    table = np.zeros((1, STATES, 2), np.float32)
    table[..., EOS] = -np.inf
    found = beam(table, np.array([0], np.int32), 1.0, length=3, beams=3, best=3)
    assert texts(found, 0)[0] == (0.0, (0, 0, 0))
    assert texts(found, 0)[1:] == [(-math.inf, ()), (-math.inf, ())]


def test_a_search_has_lanes():
    both = np.stack([tables(0), tables(1)])
    first, penalties = np.array([2, 3], np.int32), np.float32([0.2, 1.0])
    run = partial(beam, length=5, beams=2, best=2)
    together = jax.vmap(run, (0, None, 0))(both, first, penalties)
    for lane in range(2):
        alone = run(both[lane], first, penalties[lane])
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_allclose(a[lane], b, atol=1e-6)


@jax.jit
def greedy(table, first):
    return decode.greedy(step, begun(table), first, 6, eos=EOS)


@few
@given(seeds)
def test_greedy_takes_the_likeliest_token_until_the_end(seed):
    table, first = tables(seed), np.array([2, 3], np.int32)
    found = greedy(table, first)
    for row in range(2):
        text, score = [], 0.0
        while len(text) < 6 and EOS not in text:
            now = log_probabilities(table[row], (first[row], *text))
            text.append(int(now.argmax()))
            score += now[text[-1]]
        assert found.ids[row].tolist() == text + [0] * (6 - len(text))
        assert found.lengths[row] == len(text)
        assert found.scores[row] == pytest.approx(score, abs=1e-4)


@partial(jax.jit, static_argnames=('length', 'top_k'))
def sample(table, prompt, key, length=6, lengths=None, temperature=1.0, top_k=0, top_p=1.0):
    return decode.sample(
        step, begun(table), prompt, length, key, lengths, temperature, top_k, top_p, eos=EOS
    )


def test_prompts_of_different_lengths_are_each_read_to_its_end():
    table, prompt = tables(5, 3), np.array([[2, 3, 0], [3, 9, 9], [0, 2, 9]], np.int32)
    lengths, key = np.array([3, 1, 2], np.int32), jax.random.key(0)
    found = sample(table, prompt, key, lengths=lengths, temperature=0.0)
    for row, length in enumerate(lengths):
        text = []
        while len(text) < 6 and EOS not in text:
            prefix = (*prompt[row, :length], *text)
            text.append(int(log_probabilities(table[row], prefix).argmax()))
        assert found.ids[row].tolist() == text + [0] * (6 - len(text))


def test_a_row_is_a_function_of_its_key():
    table, prompt = tables(5, 4), np.array([[2], [3], [0], [2]], np.int32)
    keys = jax.random.split(jax.random.key(0), 4)
    found, other = sample(table, prompt, keys), sample(table[2:], prompt[2:], keys[2:])
    assert (found.ids[2:] == other.ids).all()
    flat, same = np.zeros((64, STATES, VOCABULARY), np.float32), np.full((64, 1), 2, np.int32)
    assert len({tuple(line.tolist()) for line in sample(flat, same, jax.random.key(1)).ids}) > 20


@pytest.mark.parametrize(
    'temperature, top_k, top_p', [(1, 0, 1), (0.5, 0, 1), (1, 2, 1), (1, 0, 0.6), (2, 3, 0.7)]
)
def test_what_is_drawn_has_the_distribution(temperature, top_k, top_p):
    """One token of 20,000 rows against shares worked out by hand."""
    count, logits = 20_000, np.array([0.1, 1.2, -0.4, 0.7])
    table = np.broadcast_to(logits.astype(np.float32), (count, STATES, 4))
    found = sample(
        table, np.full((count, 1), 2), jax.random.key(0), 1, None, temperature, top_k, top_p
    )
    order = np.argsort(-logits)
    shares = np.exp(logits[order] / temperature)
    shares[top_k or 4 :] = 0
    shares /= shares.sum()
    kept = shares * (np.cumsum(shares) - shares < top_p)
    expected = np.zeros(4)
    expected[order] = kept / kept.sum()
    drawn = np.bincount(found.ids[:, 0], minlength=4) / count
    np.testing.assert_allclose(drawn, expected, atol=4 * 0.5 / math.sqrt(count))
    assert (drawn[expected == 0] == 0).all()
    scores = logits - np.log(np.exp(logits).sum())
    np.testing.assert_allclose(found.scores, scores[found.ids[:, 0]], atol=1e-5)
