"""Boxes against plain loops and pycocotools; augmentation moves them with the pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnjax.data import augment, spec
from nnjax.data.augment import chain
from nnjax.ops import boxes as geometry


def some(seed: int, count: int = 12) -> np.ndarray:
    """Boxes [count, 4] of many sizes, some of no area."""
    rng = np.random.default_rng(seed)
    corner, size = rng.random((count, 2)), rng.random((count, 2)) * rng.integers(0, 2, (count, 1))
    return np.concatenate([corner, corner + 0.6 * size], 1).astype(np.float32)


def plain_iou(a, b) -> float:
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def greedy(boxes, scores, classes, threshold) -> list[int]:
    """Suppression as it is told: from the best down, one at a time."""
    kept: list[int] = []
    for n in sorted(range(len(boxes)), key=lambda n: (-scores[n], n)):
        near = [k for k in kept if classes[k] == classes[n]]
        if all(plain_iou(boxes[n], boxes[k]) <= threshold for k in near):
            kept.append(n)
    return sorted(kept)


def test_iou_is_pycocotools_own():
    mask = pytest.importorskip('pycocotools.mask')
    a, b = some(0), some(1)
    rows = lambda x: np.concatenate([x[:, 1::-1], (x[:, 2:] - x[:, :2])[:, ::-1]], 1).astype(float)
    wanted = np.nan_to_num(mask.iou(rows(a), rows(b), [0] * len(b)))
    assert np.asarray(geometry.pairwise_iou(a, b)) == pytest.approx(wanted, abs=1e-6)


def test_giou_of_boxes_worked_by_hand():
    a = jnp.array([[0.0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 1, 1]])
    b = jnp.array([[1.0, 1, 3, 3], [0, 0, 1, 1], [0, 3, 1, 4]])
    # 1 of 7 shared, 2 of the hull's 9 empty; the same; side by side, 2 of 4 empty.
    assert geometry.giou(a, b) == pytest.approx([1 / 7 - 2 / 9, 1, -0.5])
    slope = jax.grad(lambda x: geometry.giou(x, b[2]))(a[2])
    assert slope[3] > 0  # its right side is drawn towards a box that it does not meet


def test_a_cell_speaks_for_the_smallest_box_about_it():
    boxes = jnp.array([[0.0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.3, 0.3, 0.31, 0.31], [0, 0, 1, 1]])
    owner = geometry.assign(boxes, jnp.array([True, True, True, False]), 4, 4, 1.0)
    grid = np.asarray(owner).reshape(4, 4)
    assert grid[0].tolist() == [1, 1, -1, -1]  # the large box reaches a cell from its middle
    assert grid[1].tolist() == [1, 2, 0, -1]  # the tiny one keeps the cell of its middle
    assert grid[2].tolist() == [-1, 0, 0, -1]
    none = geometry.assign(boxes, jnp.zeros(4, bool), 4, 4, 1.5)
    assert (np.asarray(none) == -1).all()


suppress = jax.jit(geometry.suppress, static_argnums=4)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_suppression_is_the_greedy_one(seed, threshold):
    rng = np.random.default_rng(seed)
    boxes = some(seed)
    boxes[:, 2:] = boxes[:, :2] + rng.choice([0.4, 0.5], (12, 2))
    scores = rng.integers(0, 5, 12).astype(np.float32)  # with equal ones
    classes = rng.integers(0, 2, 12).astype(np.int32)
    place, best = suppress(boxes, scores, classes, np.float32(threshold), 12)
    wanted = greedy(boxes, scores, classes, np.float32(threshold))
    assert np.isfinite(best).sum() == len(wanted) and sorted(place[: len(wanted)]) == wanted
    assert np.array_equal(best[: len(wanted)], -np.sort(-scores[wanted]))
    fewer, _ = suppress(boxes, scores, classes, np.float32(threshold), 2)
    assert np.array_equal(fewer, place[:2])


def test_detections_are_the_best_first_and_padded():
    boxes = jnp.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45], [0.5, 0.5, 1, 1]])
    probability = jnp.array([[0.9, 0.1], [0.8, 0.7], [0.01, 0.3]])
    found = geometry.detections(probability, boxes, 5, 0.5, 0.2)
    assert found['class'].tolist() == [0, 1, 1, -1, -1]
    assert found['score'] == pytest.approx([0.9, 0.7, 0.3, 0, 0])
    assert (found['boxes'][:3] == boxes[jnp.array([0, 1, 2])]).all()
    assert not found['boxes'][3:].any()


def test_many_objects_of_many_cells_are_all_found():
    """Twenty objects, nine cells each that say the same: none crowds the others out."""
    corner = np.stack(np.meshgrid(np.arange(5), np.arange(4), indexing='ij'), -1).reshape(-1, 2)
    objects = np.concatenate([corner, corner + 0.9], 1).astype(np.float32) / 5
    probability = np.zeros((180, 3), np.float32)
    probability[np.arange(180), np.arange(180) // 9 % 3] = np.tile(0.9 - 0.01 * np.arange(9), 20)
    found = geometry.detections(probability, jnp.asarray(objects.repeat(9, 0)), 100, 0.5, 0.02)
    assert (found['class'] >= 0).sum() == 20
    assert {tuple(box) for box in np.asarray(found['boxes'][:20])} == {*map(tuple, objects)}
    # The class of an object's other cells is the same, so each is found once.
    assert found['score'][:20] == pytest.approx(0.9)


def moved(text: str, boxes: np.ndarray, count: int = 32):
    """A bright rectangle in each box's place, after operations -> (images, boxes)."""
    image = np.zeros((count, 40, 60, 1), np.float32)
    for top, left, bottom, right in (boxes * [40, 60, 40, 60]).astype(int):
        image[:, top:bottom, left:right] = 1
    batch = {'image': image, 'boxes': np.broadcast_to(boxes, (count, *boxes.shape))}
    run = jax.jit(lambda b: chain.train(spec.parse(text, augment), jax.random.key(0), b))
    found = run(batch)
    return np.asarray(found['image'])[..., 0], np.asarray(found['boxes']) * [40, 60, 40, 60]


@pytest.mark.parametrize(
    'text, slack',
    [
        ('pad_crop(4)', 0.01),
        ('translate(6) | flip', 0.01),
        ('affine(0, 0.1, (0.9, 1.1), 0)', 1.0),
        ('random_resized_crop((0.6, 1.0))', 1.0),
        ('rand_augment(2, 5)', 1.5),
    ],
)
def test_boxes_go_with_the_pixels(text, slack):
    boxes = np.array([[0.25, 0.3, 0.6, 0.5], [0, 0, 0, 0]], np.float32)
    images, after = moved(text, boxes)
    assert not after[:, 1].any()
    for image, box in zip(images, after[:, 0]):
        if np.ptp(image) < 0.1:  # solarized: white is black
            continue
        bright = np.argwhere(image > (image.min() + image.max()) / 2)
        seen = [*bright.min(0), *(bright.max(0) + 1)]
        assert np.abs(np.array(seen) - box).max() <= slack


def test_a_turned_box_holds_its_turned_pixels():
    images, after = moved('rotate(30)', np.array([[0.3, 0.3, 0.7, 0.6]], np.float32))
    for image, box in zip(images, after[:, 0]):
        bright = np.argwhere(image > 0.5)
        seen = np.array([*bright.min(0), *(bright.max(0) + 1)])
        assert (seen[:2] >= box[:2] - 0.5).all() and (seen[2:] <= box[2:] + 0.5).all()
        assert np.abs(seen - box).max() < 2.5


def test_a_box_that_left_the_picture_is_none():
    _, after = moved('translate(12)', np.array([[0, 0, 0.2, 0.1]], np.float32), 64)
    area = (after[:, 0, 2] - after[:, 0, 0]) * (after[:, 0, 3] - after[:, 0, 1])
    assert (area == 0).any() and (area > 0).any()
    assert area[area > 0].min() >= 0.25 * 48 - 1e-3
    assert after.min() >= 0
