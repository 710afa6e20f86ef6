"""What the predictions say of a classifier: confusion, calibration, worst mistakes."""

import math

import numpy as np

from nnjax.report import diagrams, pictures
from nnjax.report.folder import Run, number
from nnjax.report.svg import score

FEW = 12  # classes up to which the matrix fits beside another card
MOST_CELLS = 30  # classes whose confusion matrix has numbers; more become an image
MOST_PIXELS = 1500  # classes whose matrix is an image; more are only listed
MOST_PAIRS, MOST_CLASSES, MOST_MISTAKES = 15, 20, 24
BINS = 15


def answers(run: Run) -> dict | None:
    """{'probability' [N, C], 'label' [N], 'predicted' [N], 'names' [C]} of the run's predictions.

    Rows with an unknown label or a probability that is not finite are left out (`dropped` counts
    them); None if the run has no such predictions, for its task is no classification.
    """
    probability, label = run.predictions.get('probability'), run.predictions.get(_label(run))
    if probability is None or label is None or probability.ndim != 2 or label.ndim != 1:
        return None
    classes = probability.shape[1]
    if len(probability) != len(label) or label.dtype.kind not in 'iu' or classes < 2:
        return None
    kept = np.isfinite(probability).all(axis=1) & (label >= 0) & (label < classes)
    names = [str(name) for name in run.predictions.get('labels', ())]
    probability = probability[kept].astype(np.float32)
    return {
        'probability': probability,
        'label': label[kept].astype(np.int32),
        'predicted': probability.argmax(axis=1).astype(np.int32),
        'names': names if len(names) == classes else [str(index) for index in range(classes)],
        'dropped': int((~kept).sum()),
    }


def _label(run: Run) -> str:
    """The field that holds the class, 'label' unless the task says otherwise."""
    task = run.config.get('task')
    return str(task.get('label') or 'label') if isinstance(task, dict) else 'label'


def interval(found: dict | None) -> str:
    """The 95 % interval (Wilson) of the accuracy over N examples, as words."""
    if not found or not len(found['label']):
        return ''
    count = len(found['label'])
    share, z = float((found['label'] == found['predicted']).mean()), 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return f'95% interval {middle - half:.4f} to {middle + half:.4f}, {count:,} examples'


def confusion(found: dict) -> dict:
    """The matrix as diagram or image, and the most frequent confusions."""
    from nnjax.ops.metrics import confusion_matrix

    names, classes = found['names'], len(found['names'])
    many = classes > FEW
    shown = {'diagram': None, 'image': None, 'classes': classes, 'many': many}
    shown['pairs'] = pairs(found)[: None if many else 6]
    if classes <= MOST_PIXELS:
        counts = confusion_matrix(found['label'], found['predicted'], classes)
        if classes <= MOST_CELLS:
            shown['diagram'] = diagrams.confusion(counts.tolist(), names)
        else:
            shown['image'] = pictures.data_uri(pictures.confusion_image(counts), MOST_PIXELS)
    return shown


def pairs(found: dict) -> list[dict]:
    """The most frequent (true, predicted) errors, with their count and share of the true class."""
    label, predicted, names = found['label'], found['predicted'], found['names']
    wrong = label != predicted
    codes = label[wrong].astype(np.int64) * len(names) + predicted[wrong]
    codes, counts = np.unique(codes, return_counts=True)
    sizes = np.bincount(label, minlength=len(names))
    rows = []
    for place in np.argsort(-counts, kind='stable')[:MOST_PAIRS]:
        true, guess = divmod(int(codes[place]), len(names))
        count = int(counts[place])
        share = f'{count / sizes[true]:.1%}'
        rows.append(
            {'true': names[true], 'predicted': names[guess], 'count': count, 'share': share}
        )
    return rows


def calibration(found: dict) -> dict | None:
    """The reliability diagram and its expected calibration error."""
    from nnjax.ops.metrics import expected_calibration_error, reliability_bins

    if not len(found['label']):
        return None
    inputs = found['probability'], found['label'], BINS
    confidence, accuracy, count = reliability_bins(*inputs)
    svg = diagrams.reliability(confidence.tolist(), accuracy.tolist(), count.tolist())
    mean, right = (float((v * count).sum() / count.sum()) for v in (confidence, accuracy))
    lean = 'over' if mean > right else 'under'
    return {
        'svg': svg,
        'error': score(expected_calibration_error(*inputs)),
        'mean': score(mean),
        'right': score(right),
        'lean': lean,
        'bins': len(count),
    }


def classes(run: Run, found: dict | None) -> dict | None:
    """Per-class scores of the final line ('recall/3'): columns, and one row a class (of many, the worst)."""
    scores: dict[str, dict[str, float]] = {}
    for key, value in (run.final or {}).items():
        column, slash, name = key.partition('/')
        if slash and math.isfinite(number(value)):
            scores.setdefault(name, {})[column] = number(value)
    if not scores:
        return None
    columns = list(dict.fromkeys(column for row in scores.values() for column in row))
    sizes = np.bincount(found['label'], minlength=len(found['names'])) if found else None
    rows = []
    names = found['names'] if found else [str(n) for n in run.predictions.get('labels', ())]
    for key, row in scores.items():
        place = int(key) if key.isdecimal() and int(key) < len(names) else None
        name = key if place is None else names[place]
        if place is None and found and key in found['names']:
            place = found['names'].index(key)
        size = '' if place is None or sizes is None else f'{sizes[place]:,}'
        rows.append({'name': name, 'row': row, 'size': size, 'rank': min(row.values())})
    hidden = len(rows) - MOST_CLASSES if len(rows) > MOST_CELLS else 0
    if hidden:
        rows = sorted(rows, key=lambda row: row['rank'])[:MOST_CLASSES]
    lacking = 1 - min(row['rank'] for row in rows)
    for row in rows:
        values = [row['row'].get(column, math.nan) for column in columns]
        row['cells'] = [{'text': score(v), 'share': _share(1 - v, lacking)} for v in values]
    return {'columns': columns, 'rows': rows, 'hidden': hidden, 'sizes': sizes is not None}


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0), 1) if whole > 0 and math.isfinite(part) else 0


def mistakes(run: Run, found: dict | None) -> list[dict]:
    """The worst mistakes: picture, true and predicted class, their probabilities."""
    arrays = run.predictions
    images, index = arrays.get('mistakes_image'), arrays.get('mistakes_index')
    if found is None or images is None or images.ndim != 4 or index is None:
        return []
    label, probability = arrays[_label(run)], arrays['probability']
    shown = []
    for image, row in list(zip(pictures.pixels(images), index.tolist()))[:MOST_MISTAKES]:
        if not 0 <= row < len(label) or not 0 <= label[row] < len(found['names']):
            continue
        true, guess = int(label[row]), int(np.argmax(probability[row]))
        if true == guess:  # of high loss, and yet right
            continue
        shown.append(
            {
                'uri': pictures.data_uri(image),
                'true': found['names'][true],
                'predicted': found['names'][guess],
                'confidence': f'{probability[row, guess]:.3f}',
                'of_true': f'{probability[row, true]:.3f}',
                'index': int(arrays['index'][row]) if 'index' in arrays else row,
            }
        )
    return shown
