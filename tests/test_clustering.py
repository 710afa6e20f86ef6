"""Clustering: k-means and scores against scikit-learn, targets, two experiments in one command."""

import itertools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

import nnjax
from nnjax import config as configs
from nnjax import report
from nnjax.errors import UserError
from nnjax.models import Clusters
from nnjax.ops import cluster
from nnjax.tasks import clustering
from nnjax.tasks.clustering import first_centres, first_clusters
from nnjax.training import checkpoint, restore
from tests.test_train import rewound, same

RNG = np.random.default_rng(0)
PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=2, max_size=40)


@given(PAIRS)
def test_scores_equal_scikit_learn(pairs):
    labels, clusters = np.array(pairs).T
    counts = cluster.contingency(labels, clusters)
    wanted = reference.normalized_mutual_info_score(labels, clusters)
    assert cluster.normalized_mutual_information(counts) == pytest.approx(wanted, abs=1e-9)
    wanted = reference.adjusted_rand_score(labels, clusters)
    assert cluster.adjusted_rand(counts) == pytest.approx(wanted, abs=1e-9)
    permuted = np.array([3, 5, 0, 1, 4, 2])[clusters]
    found = cluster.accuracy(cluster.contingency(labels, permuted))
    assert found == pytest.approx(cluster.accuracy(counts))
    assert cluster.accuracy(cluster.contingency(labels, labels + 7)) == 1


@given(PAIRS)
def test_accuracy_is_that_of_the_best_of_all_matches(pairs):
    labels, clusters = np.array(pairs).T
    counts = np.zeros((6, 6), int)
    np.add.at(counts, (labels, clusters), 1)
    every = itertools.permutations(range(6))
    wanted = max(counts[np.arange(6), match].sum() for match in map(list, every)) / len(pairs)
    assert cluster.accuracy(cluster.contingency(labels, clusters)) == pytest.approx(wanted)


def test_silhouette_equals_scikit_learn():
    points, clusters = RNG.normal(size=(60, 3)), RNG.integers(0, 4, 60)
    clusters[0] = 9  # alone
    wanted = reference.silhouette_score(points, clusters)
    assert cluster.silhouette(points, clusters) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
def test_the_number_of_clusters_is_found_without_labels():
    places = np.repeat(9 * RNG.normal(size=(4, 4)), 20, 0)
    points = (places + RNG.normal(size=places.shape)).astype(np.float32)
    values = dict(cluster.silhouettes(jax.random.key(0), points, (3, 4, 5)))
    assert max(values, key=values.get) == 4


def test_k_means_is_as_good_as_scikit_learns():
    points = load_digits().data.astype(np.float32)
    centres, own, error = cluster.kmeans(jax.random.key(0), points, 10)
    theirs = KMeans(10, n_init=10, random_state=0).fit(points)
    assert float(error) <= 1.005 * theirs.inertia_
    apart = np.square(points[:, None] - np.asarray(centres)).sum(-1)
    assert np.array_equal(own, apart.argmin(1))
    assert float(error) == pytest.approx(apart.min(1).sum(), rel=1e-4)
    for number in range(10):  # a local optimum: each centre is its points' mean
        assert np.allclose(centres[number], points[np.asarray(own) == number].mean(0), atol=1e-2)


def test_masked_points_have_no_part_in_k_means():
    points = load_digits().data[:300].astype(np.float32)
    mask = np.arange(300) % 3 > 0
    garbage = np.where(mask[:, None], points, 1e3)
    found = cluster.kmeans(jax.random.key(0), garbage, 10, mask=mask)
    theirs = KMeans(10, n_init=10, random_state=0).fit(points[mask])
    assert float(found[2]) <= 1.02 * theirs.inertia_
    assert np.array_equal(found[0], cluster.kmeans(jax.random.key(0), points, 10, mask=mask)[0])
    few = np.arange(300) < 2  # fewer points than centres
    centres = np.asarray(cluster.kmeans(jax.random.key(0), points, 5, mask=few)[0])
    assert {tuple(c) for c in centres} == {tuple(p) for p in points[:2]}


def test_first_centres_are_far_apart():
    """Ten far groups: each centre falls into another one."""
    groups = 100 * RNG.normal(size=(10, 4))
    points = np.repeat(groups, 5, 0) + 0.01 * RNG.normal(size=(50, 4))
    centres = cluster.plus_plus(jax.random.key(0), jnp.asarray(points, jnp.float32), 10)
    nearest = np.square(np.asarray(centres)[:, None] - groups).sum(-1).argmin(1)
    assert sorted(nearest) == list(range(10))
    same_point = jnp.ones((6, 2))
    assert np.array_equal(cluster.plus_plus(jax.random.key(0), same_point, 3), np.ones((3, 2)))


@pytest.mark.parametrize(
    'points, words', [(np.ones((3, 2)), 'cannot be 10'), (np.full((20, 2), np.nan), 'not finite')]
)
def test_bad_points_are_one_line(points, words):
    with pytest.raises(UserError, match=words):
        cluster.kmeans(jax.random.key(0), points, 10)


@pytest.mark.parametrize('start', ['codes', 'neighbours', 'manifold'])
def test_codes_that_are_not_finite_are_one_line(start):
    code = RNG.normal(size=(60, 4)).astype(np.float32)
    code[7, 2] = np.nan
    with pytest.raises(UserError, match='the code of training example 7 is not finite'):
        first_centres(code, (3, 1, 4), start, 0)


def test_a_models_assignment_is_in_units_of_its_scale():
    """Student's t with a degree of freedom less than a code has numbers, a cluster's centres added."""
    model = Clusters(shape=(6,), code=4, hidden=(8,), clusters=3, centres_each=2)
    x = RNG.normal(size=(5, 6)).astype(np.float32)
    variables = jax.device_get(model.init(jax.random.key(0), x))
    variables['batch_stats']['scale'] = np.float32(0.3)
    centres = variables['params']['centres'].reshape(6, 4)
    found = model.apply(variables, x)
    apart = np.square(np.asarray(found['code'])[:, None] - centres)
    each = (1 + apart.sum(-1) / 0.3 / 3) ** (-(3 + 1) / 2)
    wanted = (each / each.sum(1, keepdims=True)).reshape(5, 3, 2).sum(-1)
    assert np.allclose(found['assignment'], wanted, atol=1e-5)
    one = Clusters(shape=(6,), code=1, hidden=(), clusters=2)  # at least one degree of freedom
    found, variables = one.init_with_output(jax.random.key(0), x)
    apart = np.square(
        np.asarray(found['code'])[:, None] - np.asarray(variables['params']['centres'])[None, :, 0]
    )
    each = 1 / (1 + apart.sum(-1))
    assert np.allclose(found['assignment'], each / each.sum(1, keepdims=True), atol=1e-5)


def test_far_from_the_origin_distances_are_as_exact():
    points = RNG.normal(size=(50, 3))
    wanted = np.square(points[:, None] - points[None, :5]).sum(-1)
    far = np.float32(points + [4096, -4096, 0])
    found = cluster.distances(jnp.asarray(far), jnp.asarray(far[:5]))
    assert np.allclose(found, wanted, atol=0.01)


def test_soft_assignments_and_targets_follow_the_paper():
    points, centres = RNG.normal(size=(7, 3)), RNG.normal(size=(4, 3))
    q = np.zeros((7, 4))
    for i in range(7):
        for j in range(4):
            q[i, j] = 1 / (1 + np.square(points[i] - centres[j]).sum())
    q /= q.sum(1, keepdims=True)
    found = cluster.student(cluster.distances(jnp.float32(points), jnp.float32(centres)))
    assert np.allclose(found, q, atol=1e-5)
    p = q**2 / q.sum(0)
    p /= p.sum(1, keepdims=True)
    assert np.allclose(cluster.sharpened(jnp.float32(q), jnp.float32(q.mean(0))), p, atol=1e-5)


def test_the_target_is_of_the_clean_example_and_has_no_gradient():
    model = Clusters(shape=(4, 4, 1), code=2, hidden=(8,), clusters=3)
    seen, clean = RNG.uniform(size=(2, 5, 4, 4, 1)).astype(np.float32)
    variables = model.init(jax.random.key(0), seen)
    apply = lambda *x: model.apply(
        variables, *x, train=True, rngs={'dropout': jax.random.key(0)}, mutable=['batch_stats']
    )
    both, updated = apply(seen, clean)
    alone, _ = apply(clean)
    assert np.allclose(both['wanted'], alone['wanted']) and np.allclose(
        alone['wanted'], alone['assignment'], atol=1e-6
    )
    assert not np.allclose(both['assignment'], both['wanted'], atol=1e-4)
    share = 0.9 / 3 + 0.1 * np.asarray(both['wanted']).mean(0)
    assert np.allclose(updated['batch_stats']['share'], share, atol=1e-6)

    task = clustering(weight=1.0, reconstruction=0.0)
    batch = {'image': seen, 'image_clean': clean}
    target = np.asarray(cluster.sharpened(both['wanted'], both['share']))
    wanted = (target * np.log(target / np.asarray(both['assignment']))).sum(1)
    assert np.allclose(task.loss(both, batch)[0], wanted, atol=1e-5)
    grad = jax.grad(lambda w: task.loss({**both, 'wanted': w}, batch)[0].sum())(both['wanted'])
    assert not np.asarray(grad).any()


@pytest.mark.slow  # UMAP is compiled for half a minute
@pytest.mark.parametrize('seed', range(3))
def test_the_manifold_knows_groups_of_unlike_size(seed):
    rng, which = np.random.default_rng(seed), np.repeat(np.arange(3), (30, 60, 150))
    code = rng.normal(size=(240, 4)) * (1 + which[:, None]) + 16 * np.eye(4)[which]
    own = first_clusters(jax.random.key(seed), np.float32(code), 3, 'manifold', seed)
    assert cluster.adjusted_rand(cluster.contingency(which, own)) > 0.9


FIELDS = {'save_every': '1 steps', 'log_every': '1 steps', 'keep': '3'}


@pytest.mark.slow
def test_one_command_trains_both_experiments(tmp_path):
    """The second begins where the first ended, at k-means of its codes; a resumed run at neither."""
    whole = nnjax.train(configs.load('digits_clusters:smoke', FIELDS), tmp_path / 'a')
    first = restore.arrays(tmp_path / 'a' / 'first')
    rewound(tmp_path / 'a', tmp_path / 'begun', step=0)
    begun = checkpoint.read(tmp_path / 'begun' / 'checkpoints', 'carry/state/')
    for name, array in first.items():
        assert np.array_equal(begun[f'carry/state/{name}'], array)
    assert begun['carry/state/model_state/batch_stats/scale'] != 1 and whole.metrics['used'] > 1
    rewound(tmp_path / 'a', tmp_path / 'b', step=1)
    shutil.rmtree(tmp_path / 'b' / 'first')
    resumed = nnjax.train(configs.load('digits_clusters:smoke', FIELDS), tmp_path / 'b')
    assert same(whole.state, resumed.state)
    text = report.write(tmp_path / 'a').read_text()
    assert all(f'<h3>{title}</h3>' in text for title in ('Map', 'Centres', 'Clusters and classes'))


@pytest.mark.parametrize(
    'fields, words',
    [
        ({'init_from': 'experiment:digit_autoencoder'}, "did you mean 'digits_autoencoder'"),
        ({'model.clusters': '1000'}, '128 points cannot be 1000 clusters'),
        ({'model.code': '7', 'init_fresh': 'centres'}, 'is [128,10] in it, [128,7] here'),
    ],
)
def test_a_mistake_is_one_line(fields, words):
    with pytest.raises(UserError) as error:
        nnjax.train(configs.load('digits_clusters:smoke', fields))
    assert words in str(error.value) and '\n' not in str(error.value)


def test_the_manifold_says_what_it_needs(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nnjax\[clusters\]'"):
        clustering(start='manifold')
