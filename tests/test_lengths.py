"""Sequences of many lengths: buckets and packing change what is computed, never what it is."""

import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnjax
from nnjax.config import base, bind
from nnjax.data import lengths, packing, sources
from nnjax.data.lengths import Bucketed
from nnjax.data.source import Rows
from nnjax.errors import UserError
from nnjax.tasks.task import Task, field
from nnjax.training import evaluate, feed, optim, runner
from nnjax.training.setup import setup
from tests.test_train import Compilations, difference, rewound, same, timeless

compilations = Compilations()


class Bag(nn.Module):
    """The next token from the mean of those before it in its segment, of which it sees only those."""

    vocabulary: int = 12

    @nn.compact
    def __call__(self, tokens, length, segment=None, train=False):
        places = jnp.arange(tokens.shape[1])
        if segment is None:
            segment = (places[None] < length[:, None]).astype(jnp.int32)
        x = nn.Embed(self.vocabulary, 8)(jnp.clip(tokens, 0, self.vocabulary - 1))
        seen = (segment[:, :, None] == segment[:, None]) & (places[:, None] >= places[None])[None]
        seen = (seen & (segment[:, None] > 0)).astype(jnp.float32)
        x = jnp.einsum('bts,bsd->btd', seen, x) / jnp.maximum(seen.sum(-1, keepdims=True), 1)
        return nn.Dense(self.vocabulary)(jnp.tanh(x))


def following(smoothing: float = 0.0) -> Task:
    """Each token from those before it."""

    def loss(outputs, batch):
        tokens, length, *segment = field(batch, 'text')
        segment = segment[0] if segment else jnp.arange(tokens.shape[1])[None] < length[:, None]
        segment = segment.astype(jnp.int32)
        weights = (segment[:, 1:] == segment[:, :-1]) & (segment[:, 1:] > 0)
        logs = jax.nn.log_softmax(outputs[:, :-1])
        target = jnp.clip(tokens[:, 1:], 0, outputs.shape[-1] - 1)
        return -jnp.take_along_axis(logs, target[..., None], -1)[..., 0], weights

    return Task(lambda batch: field(batch, 'text'), loss, lambda outputs, batch: {})


def examples(count: int = 60, longest: int = 16, seed: int = 0, garbage: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    length = np.minimum(2 + rng.geometric(0.25, count), longest).astype(np.int32)
    tokens = rng.integers(4, 12, (count, longest)).astype(np.int32)
    behind = np.arange(longest) >= length[:, None]
    return {'text': np.where(behind, garbage, tokens), 'text_length': length}


def config(**values):
    c = base()
    c.total, c.batch, c.eval_batch, c.parallel = '12 steps', 8, 16, 'jit'
    c.log_every = c.save_every = '1 steps'
    c.eval_every = '6 steps'
    c.data = bind(sources.Arrays, train=examples(garbage=values.pop('garbage', 0)), valid='12')
    c.model, c.task = bind(Bag), bind(following)
    c.optim = bind(optim.make, name='sgd', lr=0.1)
    c.update(values)
    return c


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
)
def test_an_epoch_of_buckets_has_every_row_once(sizes, batch, seed):
    ends = np.cumsum([0, *sizes])
    rows = tuple(np.arange(a, b) for a, b in itertools.pairwise(ends) if b > a)
    if not rows:
        return
    order = Bucketed(rows, batch)
    for epoch in range(2):
        steps = np.arange(epoch * order.epoch, (epoch + 1) * order.epoch)
        found = order(seed, steps)
        real = found['mask'] > 0
        assert sorted(found['index'][real].tolist()) == list(range(ends[-1]))
        for index, mask, bucket in zip(found['index'], real, found['bucket']):
            assert mask.any() and len(set(bucket.tolist())) == 1
            assert np.isin(index[mask], rows[bucket[0]]).all()
        for step in steps[:3]:
            alone = order(seed, np.array([step]))
            assert all(np.array_equal(alone[n][0], found[n][step - steps[0]]) for n in found)


def test_epochs_differ():
    order = Bucketed((np.arange(40), np.arange(40, 60)), 5)
    found = order(3, np.arange(24))['index']
    assert not np.array_equal(found[:12], found[12:])
    assert not np.array_equal(found, order(4, np.arange(24))['index'])


def test_a_row_is_in_the_first_bucket_that_holds_its_sequences():
    spec = {
        'source': ((9,), np.int32),
        'source_length': ((), np.int32),
        'target': ((4,), np.int32),
        'target_length': ((), np.int32),
        'label': ((), np.int32),
    }
    found = lengths.cuts(spec, (6, 3, 20))
    assert [dict(cut) for cut in found] == [
        {'source': 3, 'target': 3},
        {'source': 6, 'target': 4},
        {'source': 9, 'target': 4},
    ]
    own = {'source': np.array([3, 4, 7, 1, 3]), 'target': np.array([3, 4, 1, 4, 0])}
    rows = lengths.members(own, found)
    assert [r.tolist() for r in rows] == [[0, 4], [1, 3], [2]]
    assert lengths.padding(own, found, rows) == pytest.approx(1 - (18 + 12) / (2 * 6 + 2 * 10 + 13))


@pytest.mark.parametrize('buckets', [(), (4, 8)])
def test_garbage_behind_the_length_changes_nothing(buckets):
    clean, dirty = (nnjax.train(config(buckets=buckets, garbage=g)) for g in (0, -7))
    assert timeless(clean.records) == timeless(dirty.records)


def test_an_evaluation_in_buckets_is_the_same():
    whole, parts = (setup(config(buckets=b)) for b in ((), (3, 4, 8)))
    state = runner.start(whole)[0].state
    one, other = (evaluate.Evaluator(m, m.dataset.valid) for m in (whole, parts))
    assert {b['text'].shape[1] for b in other.batches()} == {3, 4, 8, 16}
    assert one(state)['loss'] == pytest.approx(other(state)['loss'], rel=1e-6)
    plain, cut = one.predictions(state), other.predictions(state)
    np.testing.assert_allclose(plain['loss'], cut['loss'], rtol=1e-5)
    assert plain['index'].tolist() == cut['index'].tolist() == list(range(12))


def test_a_bucket_s_training_step_is_that_of_uncut_rows():
    """Resident in one program, streamed batch by batch, uncut: the same parameters."""
    c = config(buckets=(4, 8))
    made = setup(c)
    cut = nnjax.train(c)
    assert made.order.epoch > 48 / 8  # short batches
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('nnjax.training.setup.RESIDENT_BYTES', 0)
        assert {b['text'].shape[1] for b in feed.stream(setup(c), 0)} == {4, 8, 16}
        streamed = nnjax.train(c)
    with pytest.MonkeyPatch.context() as patch:
        uncut = tuple((('text', 16),) for _ in made.program.cuts)
        patch.setattr(
            'nnjax.training.loop.setup',
            lambda *_: dataclasses.replace(
                made, program=dataclasses.replace(made.program, cuts=uncut)
            ),
        )
        whole = nnjax.train(c)
    assert difference(cut.state.params, streamed.state.params) < 1e-6
    assert difference(cut.state.params, whole.state.params) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize('parallel, devices', [('pmap', 2), ('fsdp', 4)])
def test_devices_do_not_change_a_run_in_buckets(parallel, devices):
    one = nnjax.train(config(buckets=(4, 8)))
    many = nnjax.train(config(buckets=(4, 8), parallel=parallel, devices=devices))
    assert difference(one.state.params, many.state.params) < 1e-6


def test_accumulation_by_tokens_is_the_large_batch():
    one, parts = (nnjax.train(config(buckets=(4, 8), accumulate=n)) for n in (1, 4))
    assert difference(one.state.params, parts.state.params) < 1e-6


def test_a_run_in_buckets_resumes_bitwise_and_compiles_once(tmp_path):
    c = config(buckets=(4, 8))
    whole = nnjax.train(c, tmp_path / 'one')
    rewound(tmp_path / 'one', tmp_path / 'two', step=7)
    resumed = nnjax.train(c, tmp_path / 'two')
    assert same(whole.state, resumed.state)
    assert timeless(whole.records) == timeless(resumed.records)
    c.optim.lr = 0.03
    before = compilations.count
    nnjax.train(c)
    assert compilations.count == before


@given(st.integers(1, 40), st.integers(4, 16), st.integers(0, 9))
def test_packing_keeps_every_example_whole(count, longest, seed):
    arrays = examples(count, longest, seed, garbage=-7)
    packed = packing.Packed(Rows(arrays))
    rows = packed[np.arange(len(packed))]
    found = []
    for tokens, length, segment in zip(rows['text'], rows['text_length'], rows['text_segment']):
        assert (segment[length:] == 0).all() and (segment[:length] > 0).all()
        found += [tuple(tokens[segment == n]) for n in range(1, segment.max() + 1)]
    wanted = [tuple(t[:n]) for t, n in zip(arrays['text'], arrays['text_length'])]
    assert sorted(found) == sorted(wanted)
    held = arrays['text_length'].sum() / (len(packed) * longest)
    assert packed.padding == pytest.approx(1 - held)


def test_packed_rows_are_nearly_full():
    packed = packing.Packed(Rows(examples(500, 32)))
    assert packed.padding < 0.05


def test_packed_is_unpacked():
    """One batch of all examples: its loss and gradient."""
    apart = setup(config(batch=48))
    together = setup(config(batch=len(setup(config(pack=True)).train), pack=True))
    results = [nnjax.train(config(batch=m.config.batch, pack=m.config.pack, total='1 steps'))
               for m in (apart, together)]  # fmt: skip
    assert difference(*(r.state.params for r in results)) < 1e-6
    losses = [[r['loss'] for r in result.records] for result in results]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert together.padding < apart.padding


@pytest.mark.slow
def test_a_lane_of_a_sweep_in_buckets_is_its_solo_run():
    from nnjax.sweep.sweep import sweep

    c = config(buckets=(4, 8))
    points = [{'optim.lr': lr, 'seed': seed} for lr in (0.1, 0.02) for seed in (0, 5)]
    found = {lane.index: lane.valid for row in sweep(c, points).rows for lane in row.lanes}
    for number, point in enumerate(points):
        alone = config(buckets=(4, 8), seed=point['seed'])
        alone.optim.lr = point['optim.lr']
        assert found[number] == pytest.approx(nnjax.train(alone).metrics['loss'], rel=1e-4)


@pytest.mark.parametrize(
    'values, words',
    [
        ({'buckets': (4,), 'pack': True}, 'leave out buckets'),
        ({'buckets': (0,)}, 'expected a tuple of whole numbers'),
    ],
)
def test_a_mistake_is_one_line(values, words):
    with pytest.raises(UserError, match=words) as error:
        setup(config(**values))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('values', [{'buckets': (4,)}, {'pack': True}])
def test_what_has_no_lengths_is_refused(values):
    c = config(**values)
    c.data = bind(sources.Arrays, train={'text': np.zeros((9, 4), np.int32)})
    with pytest.raises(UserError, match='no sequences with lengths') as error:
        setup(c)
    assert '\n' not in str(error.value)
