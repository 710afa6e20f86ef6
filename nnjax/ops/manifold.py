"""Points of many numbers laid out anew, so that neighbours lie together and others apart.

Uniform manifold approximation and projection (McInnes, Healy and Melville, UMAP, 2018), with three
changes that keep every shape fixed: in a step each point draws one of its neighbours, and all points
move at once; how surely two are neighbours is what each says of the other, without the fuzzy union
that makes it symmetric; the first layout is the principal components, not eigenvectors of the graph.
"""

import functools

import jax
import jax.numpy as jnp

from nnjax.ops import cluster

# 1 / (1 + A d^2B) is nearest to exp(-d): what is alike may fall together.
A, B = 1.9328, 0.7905
OTHERS = 5  # points that a point is pushed away from in a step
STEPS = 1500
SPAN = 10.0  # the first layout's largest number
HALVINGS = 64  # of the interval in which a point's reach is sought


@functools.partial(jax.jit, static_argnames=('numbers', 'neighbours', 'steps'))
def layout(
    key: jax.Array, points: jax.Array, numbers: int, neighbours: int = 20, steps: int = STEPS
) -> jax.Array:
    """Points [N, D], N > `neighbours` -> their places [N, `numbers`]."""
    index, apart = nearest(points, neighbours)
    chance = jnp.log(jnp.maximum(memberships(apart), 1e-30))
    rows = jnp.arange(len(points))

    def move(step, places):
        draw, push = jax.random.split(jax.random.fold_in(key, step))
        other = index[rows, jax.random.categorical(draw, chance)]
        pull = _moved(places - places[other], _pull)
        far = jax.random.randint(push, (OTHERS, len(points)), 0, len(points))
        away = jnp.sum(_moved(places[None] - places[far], _push), 0)
        rate = 1 - step / steps
        return places + rate * (pull + away).at[other].add(-pull)

    return jax.lax.fori_loop(0, steps, move, components(points, numbers))


def nearest(points: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Points [N, D] -> (their nearest others [N, count], nearest first, the distances to them)."""

    def of_one(row):
        apart = cluster.distances(points[row][None], points)[0].at[row].set(jnp.inf)
        found, index = jax.lax.top_k(-apart, count)
        return index, jnp.sqrt(-found)

    return jax.lax.map(of_one, jnp.arange(len(points)), batch_size=256)


def memberships(apart: jax.Array) -> jax.Array:
    """Distances [N, K] of neighbours, nearest first -> how surely they are that [N, K], 1 at most.

    A point's neighbours are log2(K) together, whatever its surroundings' density.
    """
    beyond = apart - apart[:, :1]
    wanted = jnp.log2(float(apart.shape[1]))

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        many = jnp.sum(jnp.exp(-beyond / middle[:, None]), 1) > wanted
        return jnp.where(many, low, middle), jnp.where(many, middle, high)

    most = jnp.maximum(beyond[:, -1], 1e-12) * apart.shape[1]
    reach = jax.lax.fori_loop(0, HALVINGS, halve, (most * 1e-6, most))[1]
    return jnp.exp(-beyond / reach[:, None])


def components(points: jax.Array, numbers: int) -> jax.Array:
    """Points [N, D] -> their first principal components [N, numbers], zeros beyond D, scaled."""
    centred = points - jnp.mean(points, 0, keepdims=True)
    _, axes = jnp.linalg.eigh(centred.T @ centred)
    found = centred @ axes[:, ::-1][:, :numbers]
    found = jnp.pad(found, ((0, 0), (0, numbers - found.shape[1])))
    return SPAN * found / jnp.maximum(jnp.max(jnp.abs(found)), 1e-12)


def _moved(difference: jax.Array, force) -> jax.Array:
    """Differences [..., D] between places -> moves, no number of which is beyond 4."""
    squared = jnp.sum(jnp.square(difference), -1, keepdims=True)
    return jnp.clip(force(squared) * difference, -4, 4)


def _pull(squared: jax.Array) -> jax.Array:
    safe = jnp.maximum(squared, 1e-12)
    return -2 * A * B * safe ** (B - 1) / (1 + A * safe**B)


def _push(squared: jax.Array) -> jax.Array:
    return 2 * B / ((0.001 + squared) * (1 + A * squared**B))
