"""Verification: whether two examples are of one identity, which was never seen in training."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.errors import UserError
from nnjax.fields import NonNegative, Positive
from nnjax.ops import losses, pairs
from nnjax.ops.shard import current, everyone, own
from nnjax.tasks.task import Batch, Task, Weighted


def verification(
    loss: Literal['arcface', 'cosface', 'triplet', 'contrastive'] = 'arcface',
    margin: NonNegative = 0.3,
    scale: Positive = 16.0,
    input: str = 'image',
    label: str = 'label',
) -> Task:
    """Embeddings 'embedding' [B, D] of length 1, near for one identity, far for two.

    arcface (Deng et al., 2019) and cosface (Wang et al., 2018) learn from the model's 'cosine'
    [B, C] with the training identities, with a margin that is an angle or a cosine. triplet (Schroff
    et al., 2015, semi-hard) and contrastive (Khosla et al., 2020) learn from all pairs of a batch;
    the run's field `group` puts several examples of an identity into it. A batch's pairs are those
    of all devices; with `accumulate`, as with batch normalisation, those of a microbatch.

    In evaluation, where identities are others than in training, the loss of arcface and cosface is
    the contrastive one.
    The metric 'ranking' is, for an example, the share of other examples of its identity and of
    others that its scores put in the right order. Scores are over all pairs of a split, of 4,000 of
    its examples where it has more: the equal error rate, the area under the ROC curve, and the true
    accept rate at false accept rates of 1e-2 and 1e-3.

    Args:
      loss: what is minimised in training
      margin: angle in radians (arcface), cosine (cosface) or squared distance (triplet)
      scale: factor of cosines before a softmax
      input: the batch's field that the model reads
      label: the batch's field that holds the identity
    """

    def compared(outputs: Any, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Scores of this device's rows with all rows, and which pairs are same and other."""
        embedding, labels, real = outputs['embedding'], batch[label], batch['mask'] > 0
        # A padded row may hold NaN, which a product spreads to all rows.
        embedding = jnp.where(real[:, None], embedding, 0)
        scores = jnp.matmul(embedding, everyone(embedding).T, precision='highest')
        masks = pairs.same_and_other(labels, everyone(labels), own(len(labels)), everyone(real))
        return scores, *masks

    def loss_values(outputs: Any, batch: Batch) -> Weighted:
        if loss in ('arcface', 'cosface') and current().train and 'cosine' not in outputs:
            raise UserError(
                f"task.loss={loss!r} learns from the model's 'cosine' with each training identity, "
                'and the model gives none: set --config.model.classes=N, the number of identities'
            )
        if 'cosine' in outputs and loss in ('arcface', 'cosface'):
            classes = outputs['cosine'].shape[-1]
            target = jax.nn.one_hot(batch[label], classes, dtype=jnp.float32)
            angle, drop = (margin, 0.0) if loss == 'arcface' else (0.0, margin)
            logits = scale * pairs.margin_logits(outputs['cosine'], target, angle, drop)
            values = losses.cross_entropy(logits, target)
            # Nothing can be raised on the device: an unknown identity makes the loss NaN.
            values = jnp.where(jnp.any(target > 0, -1), values, jnp.nan)
            return values, jnp.ones_like(values)
        if loss == 'triplet':
            return pairs.semi_hard(*compared(outputs, batch), margin)
        return pairs.contrastive(*compared(outputs, batch), scale)

    def metrics(outputs: Any, batch: Batch) -> dict[str, Weighted]:
        return {'ranking': pairs.ranking(*compared(outputs, batch))}

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        return {'embedding': apply(batch[input])['embedding']}

    def score(predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]):
        return rates(predictions['embedding'], examples[label])

    def decide(predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]):
        same, different = pairs.scores(predictions['embedding'], examples[label])
        if not len(same) or not len(different):
            return {}
        return {'threshold': pairs.equal_error(same, different)[1]}

    return Task(lambda batch: (batch[input],), loss_values, metrics, predict, score, decide=decide)


def rates(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Embeddings [N, D], labels [N] -> the error rates over all pairs, see `pairs.scores`.

    Raises:
      UserError: no two examples are of one identity, or all are.
    """
    same, different = pairs.scores(embeddings, labels)
    if not len(same) or not len(different):
        raise UserError(
            f'verification: {len(labels)} examples of {len(np.unique(labels))} identities make '
            f'{len(same)} pairs of one and {len(different)} of two; it takes both kinds'
        )
    places = np.searchsorted(np.sort(different), same, 'left')
    ties = np.searchsorted(np.sort(different), same, 'right')
    return {
        'eer': pairs.equal_error(same, different)[0],
        'auc': float(np.mean((places + ties) / 2) / len(different)),
        'tar_at_far_1e-2': pairs.accepted(same, different, 1e-2),
        'tar_at_far_1e-3': pairs.accepted(same, different, 1e-3),
    }
