"""Classification of anything: images, text, speech."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.errors import UserError
from nnjax.fields import BelowOne, Count, NonNegative, Positive
from nnjax.ops import losses, metrics
from nnjax.tasks.task import Batch, Task, Weighted


def classification(
    loss: Literal[
        'cross_entropy', 'focal', 'binary', 'mse', 'mae', 'huber', 'kl', 'hinge'
    ] = 'cross_entropy',
    smoothing: BelowOne = 0.0,
    class_weights: tuple[float, ...] | None = None,
    focal_gamma: NonNegative = 2.0,
    huber_delta: Positive = 1.0,
    top_k: Count = 5,
    input: str = 'image',
    label: str = 'label',
) -> Task:
    """One class for each example; the model gives logits [B, C].

    Labels are integers [B] or distributions [B, C] (mixed examples). Smoothing moves that share of
    the target to the uniform distribution (Szegedy et al., 2016). With class weights w the loss is
    sum_i w[y_i] loss_i / sum_i w[y_i], PyTorch's convention; together with smoothing PyTorch weights
    each term of the smoothed sum by its own class, this weights the example by its label.

    Args:
      loss: name of a function in nnjax.ops.losses
      smoothing: share of the target spread evenly over all classes
      class_weights: weight of each class in the loss, or None for equal weights
      focal_gamma: exponent of the focal loss
      huber_delta: where the Huber loss becomes linear
      top_k: also report how often the label is among the k largest outputs
      input: the batch's field that the model reads
      label: the batch's field that holds the class
    """

    def target(outputs: jax.Array, batch: Batch) -> jax.Array:
        labels = batch[label]
        if labels.ndim == outputs.ndim:
            return labels.astype(jnp.float32)
        return jax.nn.one_hot(labels, outputs.shape[-1], dtype=jnp.float32)

    def loss_values(outputs: jax.Array, batch: Batch) -> Weighted:
        classes = outputs.shape[-1]
        plain = target(outputs, batch)
        smooth = plain * (1 - smoothing) + smoothing / classes
        extra = {'focal': (focal_gamma,), 'huber': (huber_delta,)}.get(loss, ())
        values = getattr(losses, loss)(outputs, smooth, *extra)
        if class_weights is None:
            return values, jnp.ones_like(values)
        if len(class_weights) != classes:
            raise UserError(
                f'task.class_weights has {len(class_weights)} numbers, the model {classes} classes'
            )
        return values, plain @ jnp.asarray(class_weights, jnp.float32)

    def batch_metrics(outputs: jax.Array, batch: Batch) -> dict[str, Weighted]:
        labels = _index(batch[label], outputs.ndim)
        found = {'accuracy': metrics.correct(outputs, labels)}
        if top_k < outputs.shape[-1]:
            found[f'top{top_k}'] = metrics.top_k_correct(outputs, labels, top_k)
        return {name: (values, jnp.ones_like(values)) for name, values in found.items()}

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        outputs = apply(batch[input]).astype(jnp.float32)
        if loss == 'binary':  # one sigmoid a class, normalised to one distribution
            chance = jax.nn.sigmoid(outputs)
            return {'probability': chance / jnp.sum(chance, -1, keepdims=True)}
        return {'probability': jax.nn.softmax(outputs)}

    def score(
        predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]
    ) -> dict[str, float]:
        probability = predictions['probability']
        labels = _index(examples[label], 2)
        classes = probability.shape[1]
        if labels.min() < 0 or labels.max() >= classes:
            raise UserError(
                f'labels run from {labels.min()} to {labels.max()}, the model has {classes} classes'
            )
        confusion = metrics.confusion_matrix(labels, probability.argmax(1), classes)
        per_class = dict(zip(('precision', 'recall', 'f1'), metrics.precision_recall_f1(confusion)))
        return {
            'accuracy': float(np.trace(confusion) / len(labels)),
            'nll': metrics.nll(probability, labels),
            'brier': metrics.brier(probability, labels),
            'ece': metrics.expected_calibration_error(probability, labels),
            **{f'macro_{n}': metrics.macro(v, confusion) for n, v in per_class.items()},
            **{f'{n}/{c}': float(v[c]) for n, v in per_class.items() for c in range(classes)},
        }

    return Task(lambda batch: (batch[input],), loss_values, batch_metrics, predict, score)


def _index(labels, ndim: int):
    """Integer labels from integers or distributions."""
    return labels.argmax(-1) if labels.ndim == ndim else labels
