"""Detection of objects in images: which classes are where."""

import contextlib
import importlib.util
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.errors import UserError
from nnjax.fields import Count, Fraction, NonNegative, Positive
from nnjax.ops import boxes as geometry
from nnjax.ops import losses
from nnjax.tasks.task import Batch, Task, Weighted

Examples = dict[str, np.ndarray]
SLACK = 1e-3  # of a picture's side, that a box may reach over its edge


def detection(
    box_weight: NonNegative = 2.0,
    radius: Positive = 1.5,
    gamma: NonNegative = 2.0,
    alpha: Fraction = 0.25,
    most: Count = 100,
    overlap: Fraction = 0.5,
    least: Fraction = 0.02,
    input: str = 'image',
    boxes: str = 'boxes',
    label: str = 'label',
) -> Task:
    """Boxes and their classes; the model gives 'logits' [B, h, w, C] and 'sides' [B, h, w, 4].

    An example has `boxes` float32 [N, 4], (top, left, bottom, right) as shares of the picture, and
    their classes `label` int32 [N]; -1, or a box of no area, is no object. Where there is a field
    'crowd' int32 [N], what is not -1 in it is the class of many objects in one box, whose label is
    -1: nothing is learnt of it, and what is found in it counts neither way. Every cell of the map
    speaks for one object or for none (`nnjax.ops.boxes.assign`): its classes are learnt by focal
    loss, its box by 1 - GIoU. A loss is the sum over all images' cells divided by the number of
    cells that have an object, an image without any counting as one cell.

    Predictions are the `most` best boxes of an image after class-wise suppression. Scores of a
    split are COCO's: AP over overlaps 0.5 to 0.95, AP50, AP75, and AP of each class, by pycocotools,
    of objects of all sizes and of up to `most` boxes an image, 100 in COCO's own.

    Args:
      box_weight: weight of the boxes' loss beside the classes'
      radius: cells about an object's middle, along each axis, that speak for it
      gamma: exponent of the focal loss (Lin et al., 2017)
      alpha: weight of the cells' own classes in it, against 1 - alpha for all others
      most: boxes that are found in an image, at most
      overlap: IoU above which the weaker of two boxes of one class is left out
      least: score below which a box is left out
      input: the batch's field that the model reads
      boxes: the batch's field that holds the boxes
      label: the batch's field that holds their classes
    """
    if importlib.util.find_spec('pycocotools') is None:
        raise UserError("tasks.detection is scored by pycocotools: pip install 'nnjax[detection]'")

    def sums(outputs: Any, batch: Batch) -> dict[str, jax.Array]:
        if batch[boxes].shape[:-1] != batch[label].shape or batch[boxes].shape[-1:] != (4,):
            raise UserError(
                f'{boxes!r} is {list(batch[boxes].shape)}, {label!r} {list(batch[label].shape)}: '
                'detection takes boxes [B, N, 4] and classes [B, N]'
            )
        return jax.vmap(one)(outputs['logits'], outputs['sides'], batch[boxes], batch[label])

    def one(logits, sides, wanted, labels) -> dict[str, jax.Array]:
        """One image's sums over cells of the losses and the IoU, and its cells with objects."""
        height, width, classes = logits.shape
        real = (labels >= 0) & (geometry.area(wanted) > 0)
        owner = geometry.assign(wanted, real, height, width, radius)
        some = owner >= 0
        target = jax.nn.one_hot(jnp.where(some, labels[owner], -1), classes, dtype=jnp.float32)
        each = losses.sigmoid_focal(logits.reshape(-1, classes), target, gamma, alpha)
        predicted, target = _decoded(sides), wanted[owner]
        missing = jnp.where(some, 1 - geometry.giou(predicted, target), 0)
        # Nothing can be raised on the device: a class that there is not makes the loss NaN.
        known = jnp.all(~real | (labels < classes))
        return {
            'class': jnp.where(known, jnp.sum(each), jnp.nan),
            'box': jnp.sum(missing),
            'iou': jnp.sum(jnp.where(some, geometry.iou(predicted, target), 0)),
            'cells': jnp.sum(some, dtype=jnp.float32),
        }

    def loss(outputs: Any, batch: Batch) -> Weighted:
        found = sums(outputs, batch)
        weights = jnp.maximum(found['cells'], 1)
        return (found['class'] + box_weight * found['box']) / weights, weights

    def metrics(outputs: Any, batch: Batch) -> dict[str, Weighted]:
        found = sums(outputs, batch)
        weights = jnp.maximum(found['cells'], 1)
        return {
            'class_loss': (found['class'] / weights, weights),
            'box_loss': (found['box'] / weights, weights),
            'iou': (found['iou'] / weights, found['cells']),
        }

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        outputs = apply(batch[input])
        logits = outputs['logits'].reshape(len(outputs['logits']), -1, outputs['logits'].shape[-1])
        placed = jnp.clip(jax.vmap(_decoded)(outputs['sides']), 0, 1)
        found = jax.vmap(lambda p, b: geometry.detections(p, b, most, overlap, least))(
            jax.nn.sigmoid(logits.astype(jnp.float32)), placed
        )
        return {f'detected_{name}': array for name, array in found.items()}

    def score(predictions: Examples, examples: Examples) -> dict[str, float]:
        crowds = examples.get('crowd')
        return average_precision(predictions, examples[boxes], examples[label], crowds)

    def row(prediction: Examples, names: tuple[str, ...]) -> dict[str, Any]:
        kinds = prediction['detected_class']
        return {
            'objects': [
                {
                    'class': names[kind] if names else str(kind),
                    'score': round(float(prediction['detected_score'][n]), 6),
                    'box': [round(float(x), 5) for x in prediction['detected_boxes'][n]],
                }
                for n, kind in enumerate(kinds.tolist())
                if kind >= 0
            ]
        }

    def check(examples: Examples, classes: int | None) -> tuple[int, str] | None:
        found = wrong_box(examples[boxes], examples[label], classes)
        return found and (found[0], f'{boxes!r} {found[1]}')

    def pictures(apply, batch: Batch) -> dict[str, jax.Array]:
        return {'scenes': batch[input]}

    return Task(
        lambda batch: (batch[input],),
        loss,
        metrics,
        predict,
        score,
        gallery=pictures,
        check=check,
        row=row,
    )


def wrong_box(boxes: np.ndarray, labels: np.ndarray, classes: int | None) -> tuple[int, str] | None:
    """Boxes [N, K, 4], classes [N, K] -> (row, which box is wrong and why) of the first, or None.

    An object's box lies in the picture and has an area, or is zeros; its class is below `classes`.
    """
    known = labels < (classes or np.inf)
    inside = ((boxes >= -SLACK) & (boxes <= 1 + SLACK)).all(-1)  # so not of NaN
    size = (boxes[..., 2:] > boxes[..., :2]).all(-1) | (boxes == 0).all(-1)
    bad = (labels >= 0) & ~(known & inside & size)
    if not bad.any():
        return None
    row, number = (int(place[0]) for place in np.nonzero(bad))
    kind, box = labels[row, number], ', '.join(f'{x:g}' for x in boxes[row, number])
    if not known[row, number]:
        return row, f'number {number} is of class {kind}, the model has 0 to {classes - 1}'
    why = (
        'with top < bottom and left < right' if inside[row, number] else 'as shares of the picture'
    )
    return row, f'number {number} is [{box}]: expected [top, left, bottom, right] {why}'


def _decoded(sides: jax.Array) -> jax.Array:
    """Distances [h, w, 4] from the cells' middles -> boxes [h * w, 4]."""
    height, width, _ = sides.shape
    middles = jnp.tile(geometry.centres(height, width), (1, 2))
    signs = jnp.array([[-1, -1, 1, 1]], jnp.float32)
    return middles + signs * sides.reshape(-1, 4).astype(jnp.float32)


def average_precision(
    predictions: Examples, boxes: np.ndarray, labels: np.ndarray, crowds: np.ndarray | None = None
) -> dict[str, float]:
    """Predictions and true boxes [N, K, 4], classes [N, K] -> COCO's AP, AP50, AP75, AP of a class.

    Boxes with a class in `crowds` [N, K] are crowds: detections in them are ignored.

    Raises:
      UserError: there is no object at all, and so nothing to be precise about.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    area = (boxes[..., 2:] > boxes[..., :2]).all(-1)
    real = (labels >= 0) & area
    kinds = sorted(set(labels[real].tolist()))
    if not kinds:
        raise UserError('detection: this split has no object, so there is no precision to score')
    found = predictions['detected_class'] >= 0
    scores = predictions['detected_score'][found].tolist()
    results = _annotations(predictions['detected_boxes'], predictions['detected_class'], found)
    results = [{**result, 'score': s} for result, s in zip(results, scores, strict=True)]
    wanted = _annotations(boxes, labels, real)
    if crowds is not None:
        many = _annotations(boxes, crowds, (crowds >= 0) & area, len(wanted) + 1)
        wanted += [{**annotation, 'iscrowd': 1} for annotation in many]
    with contextlib.redirect_stdout(io.StringIO()):  # it tells how long each part took
        truth = COCO()
        truth.dataset = {
            'info': {},
            'images': [{'id': n} for n in range(len(boxes))],
            'categories': [{'id': kind} for kind in kinds],
            'annotations': wanted,
        }
        truth.createIndex()
        if not results:
            return {name: 0.0 for name in ('AP', 'AP50', 'AP75', *(f'AP/{k}' for k in kinds))}
        judge = COCOeval(truth, truth.loadRes(results), 'bbox')
        judge.params.maxDets = [predictions['detected_class'].shape[1]]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, np.inf]], ['all']
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval['precision'][..., 0, 0]  # [overlap, recall, class]
    return {
        'AP': precision.mean(),
        'AP50': precision[0].mean(),
        'AP75': precision[5].mean(),
        **{f'AP/{kind}': precision[:, :, n].mean() for n, kind in enumerate(kinds)},
    }


def _annotations(
    boxes: np.ndarray, kinds: np.ndarray, real: np.ndarray, first: int = 1
) -> list[dict]:
    """Boxes [N, K, 4], classes [N, K], which are real -> COCO's annotations, numbered from `first`."""
    image, place = np.nonzero(real)
    corner, size = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    placed = np.concatenate([corner[..., ::-1], size[..., ::-1]], -1).astype(np.float64)
    return [
        {
            'id': number,
            'image_id': int(n),
            'category_id': int(kinds[n, k]),
            'bbox': placed[n, k].tolist(),
            'area': float(placed[n, k, 2] * placed[n, k, 3]),
            'iscrowd': 0,
        }
        for number, (n, k) in enumerate(zip(image, place, strict=True), first)
    ]
