"""Generated data: scenes hold what their boxes say, and synthetic faces their identities."""

import numpy as np
import pytest

from nnjax.data.builders import digit_scenes, scenes, synthetic_faces
from tests.test_boxes import plain_iou


@pytest.mark.parametrize('seed', range(8))
def test_a_scene_holds_what_its_boxes_say(seed):
    items = [np.full((8, 6), 255, np.uint8), np.full((5, 8), 200, np.uint8)]
    made = scenes.scene(np.random.default_rng(seed), items, np.array([3, 7]))
    real = made['label'] >= 0
    boxes = np.rint(made['boxes'][real] * 64).astype(int)
    assert real.sum() <= 4 and set(made['label'][real]) <= {3, 7}
    assert not made['boxes'][~real].any() and (boxes >= 0).all() and (boxes <= 64).all()
    covered = np.zeros((64, 64), bool)
    for top, left, bottom, right in boxes:
        covered[top:bottom, left:right] = True
        assert 12 <= bottom - top <= 28
    assert ((made['image'][..., 0] > 80) == covered).mean() > 0.999
    pairs = [(a, b) for n, a in enumerate(boxes) for b in boxes[:n]]
    assert all(plain_iou(a, b) <= 0.15 for a, b in pairs)
    again = scenes.scene(np.random.default_rng(seed), items, np.array([3, 7]))
    assert (again['image'] == made['image']).all()


def test_an_item_is_cut_tightly():
    item = np.zeros((9, 9), np.uint8)
    item[2:5, 3:8] = 90
    item[0, 0] = 64
    assert scenes.tight(item).shape == (3, 5)


def test_no_digit_is_in_two_splits():
    parts = digit_scenes._parts()
    assert [len(images) for images, _ in parts.values()] == [1293, 144, 360]
    rows = np.concatenate([images.reshape(len(images), -1) for images, _ in parts.values()])
    assert len(np.unique(rows, axis=0)) == 1797


def test_a_synthetic_face_is_one_identity_in_many_poses():
    who, other = (synthetic_faces.identity(np.random.default_rng([0, n])) for n in (0, 1))
    a, b = (synthetic_faces.face(np.random.default_rng([1, n]), who) for n in (0, 1))
    again = synthetic_faces.face(np.random.default_rng([1, 0]), who)
    assert a.shape == (32, 32, 3) and a.dtype == np.uint8
    assert (a == again).all() and (a != b).any()
    same_pose = synthetic_faces.face(np.random.default_rng([1, 0]), other)
    middle = np.s_[10:22, 10:22]
    noise = np.abs(a[middle].astype(float) - same_pose[middle]).mean()
    assert noise > 15  # in the same pose, light and noise it is somebody else
