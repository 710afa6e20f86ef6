"""Detection: the loss against plain loops, COCO's scores, boxes from a trained run to a picture."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nnjax
from nnjax import build, models, tasks
from nnjax.cli import main
from nnjax.config import base, bind
from nnjax.data import sources
from nnjax.errors import UserError
from nnjax.report import page
from nnjax.tasks.detection import average_precision
from nnjax.training import optim
from nnjax.training.setup import setup
from tests.test_boxes import plain_iou

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('pycocotools') is None, reason='needs pycocotools'
)

BOXES = np.array([[[0, 0, 0.5, 0.5], [0.5, 0.25, 1, 1], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 3])
SPLITS = ('train', 'valid', 'test')
LABELS = np.array([[1, 0, -1], [-1, -1, -1]], np.int32)
BATCH = {'boxes': BOXES.astype(np.float32), 'label': LABELS, 'image': np.zeros((2, 8, 8, 1))}


def outputs(seed=0, classes=2):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (2, 4, 4, classes)).astype(np.float32)
    return {'logits': jnp.array(logits), 'sides': jnp.array(rng.random((2, 4, 4, 4)), jnp.float32)}


def test_the_loss_is_focal_and_giou_over_cells(torch):
    """Cell by cell, with PyTorch's logarithms, by the definitions."""
    gamma, alpha, weight = 1.5, 0.3, 2.0
    task = tasks.detection(box_weight=weight, radius=0.6, gamma=gamma, alpha=alpha)
    made = outputs()
    values, weights = jax.jit(task.loss)(made, BATCH)
    # Cells within 0.6 of a box's middle: four of the first box, of the second, in columns 1.5
    # to 2.5, only what lies half a cell away.
    logits, sides = np.asarray(made['logits']), np.asarray(made['sides'])
    total, cells, overlap = 0.0, 0, 0.0
    for row in range(4):
        for column in range(4):
            y, x = (row + 0.5) / 4, (column + 0.5) / 4
            owner = None
            for n, (top, left, bottom, right) in enumerate(BOXES[0, :2]):
                away = 4 * max(abs(y - (top + bottom) / 2), abs(x - (left + right) / 2))
                if away <= 0.6 and top < y < bottom and left < x < right:
                    owner = n
            for kind in range(2):
                p = torch.sigmoid(torch.tensor(logits[0, row, column, kind])).item()
                right_kind = owner is not None and LABELS[0, owner] == kind
                p, share = (p, alpha) if right_kind else (1 - p, 1 - alpha)
                total -= share * (1 - p) ** gamma * np.log(p)
            if owner is not None:
                a = sides[0, row, column]
                box = np.array([y - a[0], x - a[1], y + a[2], x + a[3]])
                other = BOXES[0, owner]
                iou = plain_iou(box, other)
                areas = [np.prod(b[2:] - b[:2]) for b in (box, other)]
                union = sum(areas) / (1 + iou)
                hull = np.maximum(box, other)[2:] - np.minimum(box, other)[:2]
                total += weight * (1 - iou + (np.prod(hull) - union) / np.prod(hull))
                cells, overlap = cells + 1, overlap + iou
    assert cells == 6
    assert weights.tolist() == [6, 1]
    assert values[0] == pytest.approx(total / 6, rel=1e-5)
    found = task.metrics(made, BATCH)
    assert found['iou'][0][0] == pytest.approx(overlap / 6, rel=1e-5)
    assert found['iou'][1].tolist() == [6, 0]


def test_a_class_that_there_is_not_makes_the_loss_nan():
    values, _ = tasks.detection().loss(outputs(), {**BATCH, 'label': LABELS * 2})
    assert np.isnan(values[0]) and np.isfinite(values[1])
    with pytest.raises(UserError, match=r'detection takes boxes \[B, N, 4\]'):
        tasks.detection().loss(outputs(), {**BATCH, 'label': LABELS[:, :2]})


def test_without_its_judge_it_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'nnjax\[detection\]'"):
        tasks.detection()


def perfect(boxes, labels, score=0.9):
    return {
        'detected_boxes': boxes.copy(),
        'detected_class': labels.copy(),
        'detected_score': np.where(labels >= 0, np.float32(score), 0),
    }


def test_average_precision_of_cases_known_by_hand():
    found = perfect(BATCH['boxes'], LABELS)
    whole = average_precision(found, BATCH['boxes'], LABELS)
    assert whole == pytest.approx({'AP': 1, 'AP50': 1, 'AP75': 1, 'AP/0': 1, 'AP/1': 1})
    # A box of half the width overlaps by 0.5: right at the first of ten thresholds alone.
    found['detected_boxes'][0, 0] = [0, 0, 0.5, 0.25]
    half = average_precision(found, BATCH['boxes'], LABELS)
    assert half == pytest.approx({'AP': 0.55, 'AP50': 1, 'AP75': 0.5, 'AP/0': 1, 'AP/1': 0.1})
    # A better scored box where nothing is halves the precision of its class.
    found = perfect(BATCH['boxes'], LABELS)
    found['detected_class'][1, 0], found['detected_score'][1, 0] = 1, 0.95
    found['detected_boxes'][1, 0] = [0, 0, 1, 1]
    worse = average_precision(found, BATCH['boxes'], LABELS)
    assert (worse['AP/1'], worse['AP/0']) == pytest.approx((0.5, 1))
    nothing = perfect(BATCH['boxes'], np.full_like(LABELS, -1))
    assert average_precision(nothing, BATCH['boxes'], LABELS)['AP'] == 0
    with pytest.raises(UserError, match='has no object'):
        average_precision(nothing, BATCH['boxes'], np.full_like(LABELS, -1))


def test_what_is_found_in_a_crowd_counts_neither_way():
    """Nor is a crowd missed: the judge's own rule for iscrowd."""
    boxes = np.float32([[[0, 0, 0.5, 0.5], [0, 0.5, 1, 1]]])
    labels, crowds = np.int32([[0, -1]]), np.int32([[-1, 0]])
    found = perfect(boxes, np.int32([[0, 0]]))
    found['detected_boxes'][0, 1] = [0.2, 0.6, 0.4, 0.8]  # one of the crowd, surer than the object
    found['detected_score'][0] = [0.8, 0.9]
    alone = average_precision(found, boxes, labels)
    assert alone['AP50'] == pytest.approx(0.5)
    examples = {'boxes': boxes, 'label': labels, 'crowd': crowds}
    assert tasks.detection().score(found, examples)['AP50'] == pytest.approx(1)


@pytest.mark.parametrize(
    'row, box, label, said',
    [
        (
            40,
            [0, 0, 8, 16],
            1,
            r"test example 4: 'boxes' number 1 is \[0, 0, 8, 16\]: .* as shares",
        ),
        (34, [0.5, 0, 0.2, 1], 0, r'valid example 2: .* with top < bottom and left < right'),
        (
            0,
            [0, 0, 1, 1],
            2,
            r"train example 0: 'boxes' number 1 is of class 2, the model has 0 to 1",
        ),
        (0, [0, 0, 0, 0], 1, ''),
        (0, [7, 7, 9, 9], -1, ''),
    ],
)
def test_boxes_are_checked_before_training(row, box, label, said):
    every = {n: np.concatenate([a, a[:10]]) for n, a in squares().items()}
    every['boxes'][row, 1], every['label'][row, 1] = box, label
    ends = {'train': (0, 32), 'valid': (32, 36), 'test': (36, 42)}
    c = base()
    c.total, c.batch, c.prepare = '1 steps', 8, 'scale'
    splits = {s: {n: a[slice(*own)] for n, a in every.items()} for s, own in ends.items()}
    c.data = bind(sources.Arrays, **splits)
    cnn = bind(models.CNN, channels=(4, 4), padding='SAME')
    c.model = bind(models.Detector, backbone=cnn, classes=2, channels=4, tower=1, norm='none')
    c.task = bind(tasks.detection)
    c.optim = bind(optim.make, name='adam', lr=0.01)
    if not said:
        setup(c)
        return
    with pytest.raises(UserError, match=said) as caught:
        setup(c)
    assert '\n' not in str(caught.value)


def test_predictions_undo_the_model():
    """Logits and sides that say where the boxes are give those boxes."""
    logits = np.full((2, 4, 4, 2), -9, np.float32)
    sides = np.full((2, 4, 4, 4), 0.01, np.float32)
    logits[0, 1, 1, 1], logits[0, 2, 2, 0], logits[0, 1, 0, 1] = 3, 2, 1
    sides[0, 1, 1] = [0.375, 0.375, 0.125, 0.125]
    sides[0, 2, 2] = [0.125, 0.375, 0.375, 0.375]
    sides[0, 1, 0] = [0.375, 0.125, 0.125, 0.375]  # the first box again
    task = tasks.detection(most=4)
    found = jax.jit(lambda b: task.predict(lambda _: {'logits': logits, 'sides': sides}, b))(BATCH)
    assert found['detected_class'].tolist() == [[1, 0, -1, -1], [-1] * 4]
    assert found['detected_boxes'][0, :2] == pytest.approx(BOXES[0, :2], abs=1e-6)
    one = {name: np.asarray(array)[0] for name, array in found.items()}
    assert [o['class'] for o in task.row(one, ('cat', 'dog'))['objects']] == ['dog', 'cat']


@pytest.mark.parametrize(
    'backbone, fields, stride',
    [
        (models.CNN, {'channels': (4, 8), 'padding': 'SAME'}, 4),
        (models.VGG, {'depth': 11, 'width': 0.02}, 4),
        (models.ResNet, {'depth': 18, 'width': 0.05, 'stem': 'small'}, 8),
        (models.CifarResNet, {'width': 0.1, 'norm': 'group'}, 2),
    ],
)
def test_any_backbone_with_maps(backbone, fields, stride):
    detector = models.Detector(backbone(**fields), classes=3, stride=stride, channels=4, tower=1)
    images = jnp.zeros((2, 16, 24, 1))
    made = jax.eval_shape(lambda: detector.init_with_output(jax.random.key(0), images))
    found, variables = made
    assert found['logits'].shape == (2, 16 // stride, 24 // stride, 3)
    assert found['sides'].shape == (2, 16 // stride, 24 // stride, 4)
    assert 'backbone' in variables['params'] and 'head' not in variables['params']['backbone']


def test_the_backbone_too_computes_in_the_precision_of_the_run():
    c = base()
    c.model = bind(models.Detector, backbone=bind(models.CNN))
    c.precision = 'bfloat16'
    made = build.model(c)
    assert (made.dtype, made.backbone.dtype) == (jnp.bfloat16, jnp.bfloat16)
    c.model = bind(models.Detector, backbone=bind(models.MLP, hidden=(3,)))
    del c.model.backbone.dtype
    with pytest.raises(UserError, match='MLP has no dtype field'):
        build.model(c)


def test_backbones_that_do_not_fit():
    images = jnp.zeros((1, 16, 16, 1))
    start = lambda **fields: models.Detector(**fields).init(jax.random.key(0), images)
    with pytest.raises(UserError, match='MLP gives no maps; use CNN, VGG'):
        start(backbone=models.MLP())
    with pytest.raises(
        UserError, match=r'stride=3 of 16x16 images .* CNN has maps of 8, 4, 2 rows'
    ):
        start(backbone=models.CNN(padding='SAME'), stride=3)


def squares(count=32) -> dict[str, np.ndarray]:
    """Bright squares, class by their size; the last two images are empty."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 30, (count, 16, 16, 1)).astype(np.uint8)
    boxes, labels = np.zeros((count, 2, 4), np.float32), np.full((count, 2), -1, np.int32)
    for n in range(count - 2):
        side = 4 + 4 * (n % 2)
        top, left = rng.integers(0, 16 - side, 2)
        images[n, top : top + side, left : left + side] = 250
        boxes[n, 0] = np.array([top, left, top + side, left + side]) / 16
        labels[n, 0] = n % 2
    return {'image': images, 'boxes': boxes, 'label': labels}


@pytest.mark.slow
def test_it_learns_and_is_shown(tmp_path, capsys):
    split = squares()
    np.savez(tmp_path / 'squares.npz', **{f'{n}_{s}': a for n, a in split.items() for s in SPLITS})
    c = base()
    c.total, c.batch, c.eval_every, c.log_every = '200 steps', 16, '200 steps', '50 steps'
    c.data = bind(sources.Npz, path=str(tmp_path / 'squares.npz'))
    c.prepare = 'scale'
    cnn = bind(models.CNN, channels=(8, 16), padding='SAME')
    c.model = bind(models.Detector, backbone=cnn, classes=2, channels=16, tower=1, norm='none')
    c.task = bind(tasks.detection, most=5)
    c.optim = bind(optim.make, name='adam', lr=0.01)
    result = nnjax.train(c, tmp_path / 'run')
    assert result.metrics['AP50'] > 0.9
    shown = page.write(tmp_path / 'run').read_text()
    assert all(t in shown for t in ('The first images', 'Images of highest loss', 'test AP'))

    np.save(tmp_path / 'x.npy', split['image'][:3])
    call = ['predict', f'--workdir={tmp_path / "run"}', str(tmp_path / 'x.npy')]
    with pytest.raises(SystemExit) as done:
        main([*call, f'--output={tmp_path / "x.jsonl"}', f'--picture={tmp_path / "x.png"}'])
    assert done.value.code == 0, capsys.readouterr()
    rows = [json.loads(line) for line in (tmp_path / 'x.jsonl').read_text().splitlines()]
    best = [row['objects'][0] for row in rows]
    assert [o['class'] for o in best] == ['0', '1', '0']
    assert plain_iou(best[1]['box'], split['boxes'][1, 0]) > 0.5
    assert (tmp_path / 'x.png').read_bytes()[:4] == b'\x89PNG'
