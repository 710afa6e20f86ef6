"""Boxes in pictures: overlap, assignment to the cells of a map, suppression of doubles.

A box is (top, left, bottom, right) on the last axis, in any unit, the same along both axes or not:
overlaps are ratios of areas. A box of no area is none: its overlap with anything is 0. Every
function has fixed shapes and may be jitted and vmapped.
"""

import jax
import jax.numpy as jnp

EPSILON = 1e-9  # below any area that counts
CANDIDATES = 1000  # pairs of cell and class that suppression chooses from, at most


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


def suppress(
    boxes: jax.Array, scores: jax.Array, classes: jax.Array, threshold, most: int
) -> tuple[jax.Array, jax.Array]:
    """Boxes [N, 4], scores, classes [N] -> places and scores [most] of the best that remain, best first.

    Greedy, class by class: from the highest score down, a box remains unless it overlaps one of its
    class that remains by more than `threshold`; of equal scores the earlier goes first. Where none
    remain, places are any and scores -inf, as are those of boxes to leave out.
    """

    def find(left: jax.Array, _) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        best = jnp.argmax(left)
        near = (iou(boxes, boxes[best][None]) > threshold) & (classes == classes[best])
        # Its own overlap may be below the threshold: a box of no area overlaps with nothing.
        return jnp.where(near, -jnp.inf, left).at[best].set(-jnp.inf), (best, left[best])

    return jax.lax.scan(find, scores, length=most)[1]


def detections(
    probability: jax.Array, boxes: jax.Array, most: int, threshold, least
) -> dict[str, jax.Array]:
    """Class probabilities [cells, C], boxes [cells, 4] -> the `most` best objects, best first.

    {'boxes' [most, 4], 'score' [most], 'class' int32 [most]}; where there are fewer, zeros and
    class -1. Candidates are the 1,000 best pairs of cell and class that reach `least`;
    `suppress` leaves of them those that overlap by no more than `threshold`.
    """
    cells, classes = probability.shape
    score, place = jax.lax.top_k(probability.reshape(-1), min(CANDIDATES, cells * classes))
    kind = (place % classes).astype(jnp.int32)
    box = boxes[place // classes]
    found, best = suppress(box, jnp.where(score >= least, score, -jnp.inf), kind, threshold, most)
    some = best >= 0
    return {
        'boxes': jnp.where(some[:, None], box[found], 0),
        'score': jnp.where(some, best, 0),
        'class': jnp.where(some, kind[found], -1),
    }
