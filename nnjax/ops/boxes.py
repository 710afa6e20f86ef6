"""Boxes in pictures: overlap, assignment to the cells of a map, suppression of doubles.

A box is (top, left, bottom, right) on the last axis, in any unit, the same along both axes or not:
overlaps are ratios of areas. A box of no area is none: its overlap with anything is 0. Every
function has fixed shapes and may be jitted and vmapped.
"""

import jax
import jax.numpy as jnp

EPSILON = 1e-9  # below any area that counts


def area(boxes: jax.Array) -> jax.Array:
    """Boxes [..., 4] -> their areas [...]; 0 where a side is negative."""
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Boxes [..., 4] and [..., 4] -> intersection over union [...], in [0, 1]."""
    shared, union = _shared(a, b)
    return shared / jnp.maximum(union, EPSILON)


def pairwise_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Boxes [N, 4] and [M, 4] -> intersection over union [N, M]."""
    return iou(a[:, None], b[None])


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Boxes [..., 4] and [..., 4] -> IoU less the hull's share that neither covers, in [-1, 1].

    Rezatofighi et al., Generalized intersection over union, 2019. It has a gradient where the boxes
    do not meet.
    """
    shared, union = _shared(a, b)
    hull = area(_joined(jnp.minimum(a, b), jnp.maximum(a, b)))
    return shared / jnp.maximum(union, EPSILON) - (hull - union) / jnp.maximum(hull, EPSILON)


def _shared(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The areas of intersection and union."""
    shared = area(_joined(jnp.maximum(a, b), jnp.minimum(a, b)))
    return shared, area(a) + area(b) - shared


def _joined(corner: jax.Array, opposite: jax.Array) -> jax.Array:
    return jnp.concatenate([corner[..., :2], opposite[..., 2:]], -1)


def centres(height: int, width: int) -> jax.Array:
    """Middles (down, right) [height * width, 2] of a map's cells, as shares of the picture."""
    down = (jnp.arange(height, dtype=jnp.float32) + 0.5) / height
    right = (jnp.arange(width, dtype=jnp.float32) + 0.5) / width
    return jnp.stack(jnp.meshgrid(down, right, indexing='ij'), -1).reshape(-1, 2)


def assign(boxes: jax.Array, real: jax.Array, height: int, width: int, radius) -> jax.Array:
    """Boxes [N, 4] in shares of the picture, real [N] -> each cell's box [height * width], or -1.

    A cell belongs to a box if its middle lies in the box and at most `radius` cells from the box's
    middle, along each axis; of several boxes, to the smallest (Tian et al., FCOS, 2019, with centre
    sampling). The cell that holds a box's middle is always the box's own, however small that is.
    """
    cells = centres(height, width)[:, None]
    size = jnp.array([height, width], jnp.float32)
    middle = ((boxes[:, :2] + boxes[:, 2:]) / 2)[None]
    away = jnp.max(jnp.abs(cells - middle) * size[None, None], -1)
    inside = jnp.all((cells > boxes[None, :, :2]) & (cells < boxes[None, :, 2:]), -1)
    ours = ((inside & (away <= radius)) | (away <= 0.5)) & real[None]
    cost = jnp.where(ours, area(boxes)[None], jnp.inf)
    return jnp.where(jnp.any(ours, 1), jnp.argmin(cost, 1), -1)


def suppress(boxes: jax.Array, scores: jax.Array, classes: jax.Array, threshold) -> jax.Array:
    """Boxes [N, 4], scores [N], classes [N] -> which remain [N]: greedy, class by class.

    From the highest score down, a box remains unless it overlaps one of its class that remains by
    more than `threshold`; of equal scores the earlier goes first. What remains is the one solution
    of "kept is not overlapped by a better one that is kept", which rounds over all boxes at once
    reach in as many steps as the longest chain of overlaps, mostly two or three.
    """
    order = jnp.argsort(-scores, stable=True)
    sorted_boxes, sorted_classes = boxes[order], classes[order]
    near = pairwise_iou(sorted_boxes, sorted_boxes) > threshold
    near &= sorted_classes[:, None] == sorted_classes[None]
    better = jnp.triu(near, 1)  # [i, j]: i stands before j and would suppress it

    def again(state):
        kept, _ = state
        now = ~jnp.any(better & kept[:, None], 0)
        return now, jnp.any(now != kept)

    start = jnp.ones(len(boxes), bool), jnp.bool_(True)
    kept, _ = jax.lax.while_loop(lambda state: state[1], again, start)
    return jnp.zeros(len(boxes), bool).at[order].set(kept)


def detections(
    probability: jax.Array, boxes: jax.Array, most: int, threshold, least
) -> dict[str, jax.Array]:
    """Class probabilities [cells, C], boxes [cells, 4] -> the `most` best objects, best first.

    {'boxes' [most, 4], 'score' [most], 'class' int32 [most]}; where there are fewer, zeros and
    class -1. Candidates are the 4 * most best pairs of cell and class that reach `least`;
    `suppress` leaves of them those that overlap by no more than `threshold`.
    """
    cells, classes = probability.shape
    score, place = jax.lax.top_k(probability.reshape(-1), min(4 * most, cells * classes))
    kind = (place % classes).astype(jnp.int32)
    box = boxes[place // classes]
    kept = suppress(box, score, kind, threshold) & (score >= least)
    best, place = jax.lax.top_k(jnp.where(kept, score, -1), min(most, len(score)))
    some = best >= 0
    found = {
        'boxes': jnp.where(some[:, None], box[place], 0),
        'score': jnp.where(some, best, 0),
        'class': jnp.where(some, kind[place], -1),
    }
    short = most - len(best)
    empty = {'boxes': 0, 'score': 0, 'class': -1}
    return {
        name: jnp.pad(a, [(0, short)] + [(0, 0)] * (a.ndim - 1), constant_values=empty[name])
        for name, a in found.items()
    }
