"""Embeddings compared: two examples, or an example with everybody of a gallery."""

import numpy as np

from nnjax.errors import UserError
from nnjax.ops import pairs
from nnjax.training.folder import RunFolder


def threshold(folder: RunFolder) -> float:
    """The score from which a pair counts as one identity: where both errors are equal on validation.

    Raises:
      UserError: the run has not ended, or had no validation split with both kinds of pairs.
    """
    found = folder.decided()
    if 'threshold' not in found:
        raise UserError(
            f'{folder.path} has no threshold: it is decided when nnjax train ends, on a validation '
            'split with pairs of one identity and of two'
        )
    return found['threshold']


def pair(names: list[str], embeddings: np.ndarray, limit: float) -> list[dict]:
    """Two names, embeddings [2, D], the threshold -> a row with the score and the decision."""
    first, second = pairs.unit(embeddings)
    score = float(first @ second)
    return [{'input': names[0], 'other': names[1], **decided(score, limit)}]


def gallery(
    names: list[str],
    embeddings: np.ndarray,
    known: list[str],
    theirs: np.ndarray,
    limit: float,
    most: int = 5,
) -> list[dict]:
    """For each example the `most` nearest of a gallery, nearest first, each as a row."""
    rows = []
    for name, scores in zip(names, pairs.unit(embeddings) @ pairs.unit(theirs).T):
        for rank, n in enumerate(np.argsort(-scores, kind='stable')[:most], 1):
            found = decided(float(scores[n]), limit)
            rows.append({'input': name, 'rank': rank, 'other': known[n], **found})
    return rows


def decided(score: float, limit: float) -> dict:
    """A score and the threshold -> the columns of a row."""
    return {'score': round(score, 6), 'threshold': round(limit, 6), 'same': score >= limit}
