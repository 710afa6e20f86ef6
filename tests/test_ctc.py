"""CTC's loss against PyTorch's, decoding against counting every alignment."""

import itertools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from nnjax.ops import ctc


def random(seed, rows, time, symbols):
    return np.random.default_rng(seed).standard_normal((rows, time, symbols)).astype(np.float32)


def collapsed(path):
    return tuple(s for s, _ in itertools.groupby(path) if s)


def test_loss_and_its_gradient_are_pytorchs(torch):
    rng, logits = np.random.default_rng(0), random(0, 4, 12, 6)
    ids, lengths = rng.integers(1, 6, (4, 5)).astype(np.int32), np.array([12, 9, 12, 7], np.int32)
    ids_lengths = np.array([5, 3, 1, 0], np.int32)
    x = torch.tensor(logits, requires_grad=True)
    theirs = torch.nn.functional.ctc_loss(
        x.log_softmax(-1).transpose(0, 1), torch.tensor(ids), torch.tensor(lengths),
        torch.tensor(ids_lengths), reduction='none',
    )  # fmt: skip
    theirs.sum().backward()
    dirty = np.where(np.arange(12)[None, :, None] < lengths[:, None, None], logits, np.nan)
    run = lambda x: ctc.loss(x, jnp.asarray(lengths), jnp.asarray(ids), jnp.asarray(ids_lengths))
    (ours, enough), gradient = run(jnp.asarray(dirty)), jax.grad(lambda x: run(x)[0].sum())(dirty)
    assert enough.all()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(gradient, x.grad.numpy(), atol=1e-5)


def test_too_few_frames_are_said_and_cost_nothing():
    ids, lengths = jnp.array([[1, 1, 2], [1, 2, 3]]), jnp.array([3, 3])
    logits = jnp.asarray(random(0, 2, 3, 5))
    np.testing.assert_array_equal(ctc.needed(ids, lengths), [4, 3])
    values, gradient = jax.value_and_grad(lambda x: ctc.loss(x, lengths, ids, lengths)[0].sum())(
        logits
    )
    assert np.isfinite(values) and np.isfinite(gradient).all()
    assert not np.asarray(gradient[0]).any() and np.asarray(gradient[1]).any()


@hypothesis.given(seed=st.integers(0, 999), length=st.integers(0, 7))
def test_greedy_collapses_the_likeliest_path(seed, length):
    logits = random(seed, 1, 7, 4)
    ids, count, frames = ctc.greedy(jnp.asarray(logits), jnp.array([length]))
    path = logits[0, :length].argmax(-1)
    assert tuple(ids[0, : int(count[0])].tolist()) == collapsed(path)
    assert not np.asarray(ids[0, int(count[0]) :]).any()
    for symbol, frame in zip(ids[0].tolist(), frames[0, : int(count[0])].tolist()):
        assert path[frame] == symbol and (frame == 0 or path[frame - 1] != symbol)


@pytest.mark.parametrize('weight', [None, 0.7])
def test_a_wide_beam_finds_the_likeliest_text_of_all_alignments(weight):
    """Against the sum over all 4^5 alignments of every text."""
    for seed in range(4):
        logits, length = random(seed, 1, 5, 4) * 2, 5 - seed % 2
        logs = np.asarray(jax.nn.log_softmax(logits[0]), np.float64)
        table = np.log(np.random.default_rng(seed).dirichlet(np.ones(4), (4, 4)))
        totals = {}
        for path in itertools.product(range(4), repeat=length):
            text = collapsed(path)
            score = sum(logs[t, s] for t, s in enumerate(path))
            totals[text] = np.logaddexp(totals.get(text, -np.inf), score)
        if weight:
            for text in totals:
                context = (0, 0, *text)
                totals[text] += sum(
                    weight * table[context[n], context[n + 1], s] + 0.3 for n, s in enumerate(text)
                )
        best = sorted(totals, key=totals.get, reverse=True)[:3]
        options = (
            dict(ngram=jnp.asarray(table, jnp.float32), weight=weight, bonus=0.3) if weight else {}
        )
        ids, lengths, scores = ctc.beam(jnp.asarray(logits), jnp.array([length]), 150, **options)
        for place, text in enumerate(best):
            assert tuple(ids[0, place, : int(lengths[0, place])].tolist()) == text
            assert scores[0, place] == pytest.approx(totals[text], abs=1e-4)


def test_frames_behind_the_length_change_no_text():
    logits = random(0, 2, 9, 5)
    dirty = logits.copy()
    dirty[:, 6:] = np.nan
    lengths = jnp.array([6, 6])
    for function in (ctc.greedy, lambda x, n: ctc.beam(x, n, 4)):
        for a, b in zip(
            function(jnp.asarray(logits[:, :6]), lengths), function(jnp.asarray(dirty), lengths)
        ):
            np.testing.assert_array_equal(a[..., :6], b[..., :6])


@hypothesis.given(
    a=st.lists(st.integers(1, 3), max_size=6), b=st.lists(st.integers(1, 3), max_size=6)
)
def test_edits_are_jiwers(a, b):
    jiwer = pytest.importorskip('jiwer')
    row = lambda x: jnp.array([x + [0] * (6 - len(x))])
    ours = ctc.edits(row(a), jnp.array([len(a)]), row(b), jnp.array([len(b)]))[0]
    if not b:
        assert ours == len(a)
        return
    found = jiwer.process_words(' '.join(map(str, b)), ' '.join(map(str, a)))
    assert ours == found.substitutions + found.deletions + found.insertions


def test_an_ngram_is_a_distribution_that_knows_its_texts():
    ids = np.array([[1, 2, 3, 0], [1, 2, 1, 2]])
    table = np.exp(ctc.counted(ids, np.array([3, 4]), 5, 3))
    np.testing.assert_allclose(table.sum(-1), 1, rtol=1e-5)
    assert table[0, 0].argmax() == 1 and table[0, 1].argmax() == 2 and (table > 0).all()
