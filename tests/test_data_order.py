"""Order: exact permutations, stateless, the same for any number of hosts, never to change."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nnjax.data.order import CHUNK, order, permutation


@given(st.integers(0, 2**40), st.integers(1, 300), st.integers(1, 40))
def test_every_epoch_is_an_exact_permutation(seed, size, batch):
    steps = np.arange(-(-3 * size // batch))
    rows = order(seed, steps, size, batch).ravel()
    for epoch in range(3):
        assert sorted(rows[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(st.integers(0, 10**6), st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_a_step_is_the_same_alone_and_among_others(seed, steps):
    together = order(seed, np.array(steps), 1437, 64)
    for row, number in zip(together, steps):
        assert np.array_equal(row, order(seed, np.array([number]), 1437, 64)[0])


def test_step_one_million_needs_no_history():
    rows = order(3, np.array([1_000_000]), 60_000, 128)[0]
    positions = 1_000_000 * 128 + np.arange(128)
    whole = permutation(3, np.full(60_000, positions[0] // 60_000), np.arange(60_000), 60_000)
    assert positions[0] // 60_000 == positions[-1] // 60_000
    assert np.array_equal(rows, whole[positions % 60_000])


def test_places_are_uniform():
    size, seeds = 20, 4000
    counts = np.zeros((size, size))
    for seed in range(seeds):
        counts[np.arange(size), permutation(seed, np.zeros(size, int), np.arange(size), size)] += 1
    expected = seeds / size
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = (size - 1) ** 2
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)  # four standard deviations


def test_neighbours_are_not_kept_together():
    rows = order(0, np.array([0]), 10_000, 10_000)[0]
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.04
    assert np.mean(np.abs(np.diff(rows)) == 1) < 0.002


def test_epochs_and_seeds_differ():
    first = order(0, np.array([0]), 100, 100)[0]
    assert np.mean(first == order(0, np.array([1]), 100, 100)[0]) < 0.1
    assert np.mean(first == order(1, np.array([0]), 100, 100)[0]) < 0.1


def test_the_order_never_changes():
    """Pinned: another order would silently make old runs irreproducible."""
    assert order(0, np.arange(2), 10, 5).tolist() == [[8, 7, 9, 1, 4], [2, 3, 5, 6, 0]]
    assert order(0, np.array([10**6]), 60_000, 4).tolist() == [[30152, 3547, 12786, 23730]]


def test_far_apart_steps_cost_no_more():
    rows = order(0, np.array([0, 10**12]), 10, 5)
    assert np.array_equal(rows[1], order(0, np.array([10**12]), 10, 5)[0])


def test_a_long_table_is_made_in_parts():
    size, batch = 1000, 64
    steps = np.arange(3 * CHUNK // batch)
    rows = order(1, steps, size, batch)
    assert np.array_equal(
        rows[1::7], np.concatenate([order(1, s[None], size, batch) for s in steps[1::7]])
    )


def test_pairs_of_neighbours_are_uniform():
    """Which rows share a batch is random too: over seeds, each pair as often as any other."""
    size, seeds = 8, 6000
    counts = np.zeros((size, size))
    for seed in range(seeds):
        first, second = permutation(seed, np.zeros(2, int), np.arange(2), size)
        counts[first, second] += 1
    expected = seeds / (size * (size - 1))
    pairs = counts[~np.eye(size, dtype=bool)]
    statistic, freedom = ((pairs - expected) ** 2 / expected).sum(), pairs.size - 1
    assert abs(statistic - freedom) < 4 * np.sqrt(2 * freedom)
