"""Classification of anything: images, text, speech."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count, NonNegative, Positive
from nnjax.ops import losses, metrics
from nnjax.tasks.task import Batch, Task, Weighted, field


def classification(
    loss: Literal[
        'cross_entropy', 'focal', 'binary', 'mse', 'mae', 'huber', 'kl', 'hinge'
    ] = 'cross_entropy',
    smoothing: BelowOne = 0.0,
    class_weights: tuple[NonNegative, ...] | None = None,
    focal_gamma: NonNegative = 2.0,
    huber_delta: Positive = 1.0,
    auxiliary_weight: NonNegative = 0.3,
    top_k: Count = 5,
    input: str = 'image',
    label: str = 'label',
) -> Task:
    """One class for each example; the model gives outputs [B, C].

    In training a model may give {'logits': [B, C], 'auxiliary': ([B, C], ...)}: the loss is that of
    the logits plus `auxiliary_weight` times that of each auxiliary output, as GoogLeNet is trained;
    the metrics are those of the logits.

    Labels are whole numbers [B] or distributions [B, C] (mixed examples), of which the metrics take
    the likeliest class. Smoothing moves that share of the target to the uniform distribution
    (Szegedy et al., 2016). The probability is softmax(outputs), with the binary loss the classes'
    sigmoids divided by their sum; after mse, mae, huber or hinge its ranking means something, its
    calibration does not.

    Class weights w make the loss sum_i w[y_i] loss_i / sum_i w[y_i], as PyTorch does; a
    distribution weighs as the mean of w under it. PyTorch differs in two cases: with smoothing it
    weights each class's term of the smoothed sum by its own class, and with distributions it
    divides by B.

    Args:
      loss: what is minimised, by its name in nnjax.ops.losses
      smoothing: share of the target spread evenly over all classes
      class_weights: weight of each class in the loss, or None for equal weights
      focal_gamma: exponent of the focal loss
      huber_delta: error from which the Huber loss is linear
      auxiliary_weight: weight of the loss of each auxiliary output, where the model has any
      top_k: also report how often the label is among the k largest outputs
      input: the batch's field that the model reads, with what belongs to it
      label: the batch's field that holds the class
    """

    def loss_values(outputs: Any, batch: Batch) -> Weighted:
        logits, auxiliary = _parts(outputs)
        values, weights = one_loss(logits, batch)
        for output in auxiliary:
            values += auxiliary_weight * one_loss(output, batch)[0]
        return values, weights

    def one_loss(outputs: jax.Array, batch: Batch) -> Weighted:
        target = _distribution(batch[label], outputs, label)
        smooth = target * (1 - smoothing) + smoothing / outputs.shape[-1]
        extra = {'focal': (focal_gamma,), 'huber': (huber_delta,)}.get(loss, ())
        values = getattr(losses, loss)(outputs, smooth, *extra)
        # Nothing can be raised on the device: a label that is no class makes the loss NaN.
        values = jnp.where(jnp.any(target > 0, -1), values, jnp.nan)
        return values, _weights(class_weights, target)

    def batch_metrics(outputs: Any, batch: Batch) -> dict[str, Weighted]:
        outputs, _ = _parts(outputs)
        found = hits(outputs, _whole(batch[label], outputs))
        return {name: (values, jnp.ones_like(values)) for name, values in found.items()}

    def hits(outputs: jax.Array, labels: jax.Array) -> dict[str, jax.Array]:
        found = {'accuracy': metrics.correct(outputs, labels)}
        if top_k < outputs.shape[-1]:
            found[f'top{top_k}'] = metrics.top_k_correct(outputs, labels, top_k)
        return found

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        outputs = apply(*field(batch, input)).astype(jnp.float32)
        # softmax(log p) is p / sum(p), without underflow where every sigmoid is near 0.
        logits = jax.nn.log_sigmoid(outputs) if loss == 'binary' else outputs
        return {'probability': jax.nn.softmax(logits)}

    def score(
        predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]
    ) -> dict[str, float]:
        probability = predictions['probability']
        labels, classes = _whole(examples[label], probability), probability.shape[-1]
        if ((labels < 0) | (labels >= classes)).any():
            raise UserError(
                f'the field {label!r} holds classes {labels.min()} to {labels.max()}, '
                f'the model knows 0 to {classes - 1}: raise its number of classes or mend the labels'
            )
        confusion = metrics.confusion_matrix(labels, probability.argmax(-1), classes)
        per_class = dict(zip(('precision', 'recall', 'f1'), metrics.precision_recall_f1(confusion)))
        per_example = {
            **hits(probability, labels),
            'nll': metrics.nll(probability, labels),
            'brier': metrics.brier(probability, labels),
        }
        return {
            **{n: float(v.mean(dtype=np.float64)) for n, v in per_example.items()},
            'ece': metrics.expected_calibration_error(probability, labels),
            **{f'macro_{n}': metrics.macro(v, confusion) for n, v in per_class.items()},
            **{f'{n}/{c}': float(v[c]) for n, v in per_class.items() for c in range(classes)},
        }

    return Task(
        lambda batch: field(batch, input), loss_values, batch_metrics, predict, score, classes=label
    )


def _parts(outputs: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """A model's outputs -> (logits [B, C], auxiliary outputs)."""
    if isinstance(outputs, Mapping):
        return outputs['logits'], tuple(outputs['auxiliary'])
    return outputs, ()


def _distribution(labels: jax.Array, outputs: jax.Array, field: str) -> jax.Array:
    """Labels [B] or [B, C], outputs [B, C] -> float32 [B, C]; zeros where a label is no class."""
    if outputs.ndim > 1 and labels.shape == outputs.shape:
        return jnp.asarray(labels).astype(jnp.float32)
    whole = jnp.issubdtype(labels.dtype, jnp.integer)
    if not whole or labels.shape != outputs.shape[:-1] or outputs.ndim < 2:
        raise UserError(
            f'the field {field!r} is {labels.dtype} {list(labels.shape)}, the model gives '
            f'{list(outputs.shape)}: expected whole numbers [B] or distributions [B, C], outputs [B, C]'
        )
    return jax.nn.one_hot(labels, outputs.shape[-1], dtype=jnp.float32)


def _weights(class_weights: tuple[float, ...] | None, target: jax.Array) -> jax.Array:
    """Class weights or None, target [B, C] -> each example's weight [B]."""
    if class_weights is None:
        return jnp.ones_like(target[..., 0])
    if len(class_weights) != target.shape[-1]:
        raise UserError(
            f'task.class_weights has {len(class_weights)} numbers, the model '
            f'{target.shape[-1]} classes: give one number for each class'
        )
    # A sum, not a matmul, which would round the weights on an accelerator.
    each = jnp.broadcast_to(jnp.asarray(class_weights, jnp.float32), target.shape)
    return jnp.sum(target * each, -1)


def _whole(labels, outputs):
    """Labels [B] or [B, C], outputs [B, C] -> int32 [B]."""
    return (labels.argmax(-1) if labels.ndim == outputs.ndim else labels).astype(np.int32)
