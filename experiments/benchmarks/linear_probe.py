"""What a linear classifier makes of a run's codes, beside pixels of at least as many numbers.

  python experiments/benchmarks/linear_probe.py --workdir=RUN

Logistic regression on the training split's standardized codes, scored on the test split; and the
same on the images made so small (by averages) that no fewer numbers remain than a code has, and on
whole images. RUN is a run folder of an autoencoder of images with labels.
"""

import math

import numpy as np
from absl import app, flags, logging
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nnjax.training import evaluate, restore

WORKDIR = flags.DEFINE_string('workdir', None, 'run folder', required=True)


def main(_):
    logging.set_verbosity(logging.ERROR)
    made, state = restore.run(WORKDIR.value)
    sides, labels, codes = {}, {}, {}
    for split in ('train', 'test'):
        source = getattr(made.dataset, split)
        found = evaluate.Evaluator(made, source).predictions(state)
        codes[split], labels[split] = found['code'], found['label']
        sides[split] = made.prepared(source)[np.arange(len(source))]['image']
    side = math.ceil(math.sqrt(codes['train'].shape[1] / sides['train'].shape[-1]))
    small = {split: shrunk(images, side) for split, images in sides.items()}
    whole = {split: images.reshape(len(images), -1) for split, images in sides.items()}
    for name, rows in (('codes', codes), (f'{side}x{side} pixels', small), ('all pixels', whole)):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        accuracy = probe.fit(rows['train'], labels['train']).score(rows['test'], labels['test'])
        print(f'{name:<14}{rows["train"].shape[1]:>6} numbers  accuracy {accuracy:.4f}', flush=True)


def shrunk(images: np.ndarray, side: int) -> np.ndarray:
    """Images [N, H, W, C] -> averages over areas [N, side * side * C]."""
    for axis in (1, 2):
        length = images.shape[axis]
        edges = np.linspace(0, length, side + 1)
        cells = np.arange(length)
        # How much of each pixel lies in each area.
        weights = np.clip(
            np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells), 0, 1
        )
        weights /= weights.sum(1, keepdims=True)
        images = np.moveaxis(np.tensordot(weights, images, (1, axis)), 0, axis)
    return images.reshape(len(images), -1)


if __name__ == '__main__':
    app.run(main)
