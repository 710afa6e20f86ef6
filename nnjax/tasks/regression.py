"""Regression: real numbers, with what is not known about them."""

import math
import statistics
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from nnjax.errors import UserError
from nnjax.fields import Fraction, Positive
from nnjax.ops import losses, metrics
from nnjax.tasks.task import Batch, Task, Weighted, field

CENTRAL = (0.5, 0.8, 0.9, 0.95)  # shares of the central intervals that a Gaussian is scored on
LEAST = 1e-3  # a Gaussian's deviation, of standardized targets


def regression(
    loss: Literal['mse', 'mae', 'huber', 'gaussian', 'quantile'] = 'mse',
    huber_delta: Positive = 1.0,
    quantiles: tuple[Fraction, ...] = (0.05, 0.25, 0.5, 0.75, 0.95),
    input: str = 'features',
    target: str = 'target',
) -> Task:
    """T real numbers for each example; the model gives outputs [B, T], or more of them:

    gaussian: [B, 2 T], the means, then what softplus makes the deviations; the loss is the negative
    log-likelihood, so that the deviation is an input's own (heteroscedastic). quantile: [B, T Q],
    the Q quantiles of the first target, then of the second; the prediction is the quantile nearest
    to 0.5, and predicted quantiles are sorted.

    `prepare='target'` standardizes targets and puts their mean and scale beside them. The loss is of
    standardized targets; predictions and scores are mapped back to the target's own units.

    Scores: r2, rmse and mae as scikit-learn has them. Of gaussian and quantile also the share of
    targets within central intervals ('coverage90' should be 0.9), and of gaussian the negative
    log-likelihood in the target's units.

    Args:
      loss: what is minimised, by its name in nnjax.ops.losses ('quantile' is the pinball loss)
      huber_delta: error from which the Huber loss is linear, in deviations of the target
      quantiles: those that loss 'quantile' predicts, lowest first in whatever order they are given
      input: the batch's field that the model reads, with what belongs to it
      target: the batch's field that holds the numbers
    """
    count = {'gaussian': 2, 'quantile': len(quantiles)}.get(loss, 1)

    def rising() -> jax.Array:
        return jnp.sort(jnp.asarray(quantiles, jnp.float32))

    def loss_values(outputs: jax.Array, batch: Batch) -> Weighted:
        wanted = _columns(batch[target]).astype(jnp.float32)
        outputs = _checked(outputs, wanted.shape, count, loss)
        if loss == 'gaussian':
            values = losses.gaussian(outputs[..., 0], _deviation(outputs), wanted)
        elif loss == 'quantile':
            values = losses.pinball(outputs, wanted, rising())
        else:
            extra = (huber_delta,) if loss == 'huber' else ()
            values = getattr(losses, loss)(outputs[..., 0], wanted, *extra)
        return values, jnp.ones_like(values)

    def batch_metrics(outputs: jax.Array, batch: Batch) -> dict[str, Weighted]:
        wanted = _columns(batch[target]).astype(jnp.float32)
        _, scale = _units(batch, target, wanted)
        error = scale * (point(_checked(outputs, wanted.shape, count, loss)) - wanted)
        values = {'mse': jnp.mean(jnp.square(error), -1), 'mae': jnp.mean(jnp.abs(error), -1)}
        return {name: (value, jnp.ones_like(value)) for name, value in values.items()}

    def point(outputs: jax.Array) -> jax.Array:
        """Outputs [B, T, K] -> the prediction [B, T], still standardized."""
        if loss != 'quantile':
            return outputs[..., 0]
        middle = jnp.argmin(jnp.abs(rising() - 0.5))
        return jnp.sort(outputs, -1)[..., middle]

    def predict(apply, batch: Batch) -> dict[str, jax.Array]:
        outputs = apply(*field(batch, input)).astype(jnp.float32)
        outputs = _split(outputs, count, loss)
        mean, scale = _units(batch, target, outputs[..., 0])
        found = {'prediction': mean + scale * point(outputs)}
        if loss == 'gaussian':
            found['deviation'] = scale * _deviation(outputs)
        if loss == 'quantile':
            found['quantiles'] = mean[..., None] + scale[..., None] * jnp.sort(outputs, -1)
        return found

    def score(
        predictions: dict[str, np.ndarray], examples: dict[str, np.ndarray]
    ) -> dict[str, float]:
        point, wanted = predictions['prediction'], _columns(examples[target])
        mean, scale = _units(examples, target, wanted)
        wanted = mean + scale * wanted
        found = {
            'r2': metrics.r2(point, wanted),
            'rmse': metrics.rmse(point, wanted),
            'mae': float(np.abs(point.astype(np.float64) - wanted).mean()),
        }
        if loss == 'gaussian':
            deviation = predictions['deviation']
            errors = (wanted - point).astype(np.float64) / deviation
            values = 0.5 * errors**2 + np.log(deviation) + losses.HALF_LOG_TAU
            found['nll'] = float(values.mean())
        for share, low, high in _intervals(predictions, sorted(map(float, quantiles))):
            found[f'coverage{100 * share:.3g}'] = metrics.coverage(low, high, wanted)
        return found

    return Task(lambda batch: field(batch, input), loss_values, batch_metrics, predict, score)


def _intervals(predictions: dict[str, np.ndarray], quantiles) -> list[tuple]:
    """Predictions -> (share, low [N, T], high [N, T]) of each central interval they have."""
    if 'deviation' in predictions:
        point, deviation = predictions['prediction'], predictions['deviation']
        reach = [(share, statistics.NormalDist().inv_cdf((1 + share) / 2)) for share in CENTRAL]
        return [(s, point - r * deviation, point + r * deviation) for s, r in reach]
    if 'quantiles' not in predictions:
        return []
    each, last = predictions['quantiles'], len(quantiles) - 1
    return [
        (float(quantiles[last - n]) - float(quantiles[n]), each[..., n], each[..., last - n])
        for n in range(len(quantiles) // 2)
        if math.isclose(quantiles[n] + quantiles[last - n], 1, abs_tol=1e-6)
    ]


def _deviation(outputs: jax.Array) -> jax.Array:
    """Outputs [..., 2] of a Gaussian -> its deviation [...]."""
    return jax.nn.softplus(outputs[..., 1]) + LEAST


def _columns(values):
    """[B] or [B, T] -> [B, T]."""
    return values.reshape(len(values), -1)


def _units(batch, target: str, like):
    """The mean and scale [B, T] of standardized targets; 0 and 1 where they are as they were."""
    if f'{target}_scale' in batch:
        return batch[f'{target}_mean'], batch[f'{target}_scale']
    xp = like.__array_namespace__()
    return xp.zeros_like(like), xp.ones_like(like)


def _split(outputs: jax.Array, count: int, loss: str) -> jax.Array:
    """Outputs [B, T * count] -> [B, T, count]."""
    if outputs.ndim != 2 or outputs.shape[1] % count:
        raise UserError(
            f'the model gives {list(outputs.shape)}: loss={loss!r} needs [B, T * {count}]'
        )
    if loss == 'gaussian':
        return jnp.stack(jnp.split(outputs, 2, -1), -1)
    return outputs.reshape(len(outputs), -1, count)


def _checked(outputs: jax.Array, shape: tuple[int, ...], count: int, loss: str) -> jax.Array:
    """Outputs -> [B, T, count], for targets of `shape` [B, T]."""
    if outputs.shape != (shape[0], shape[1] * count):
        raise UserError(
            f'the model gives {list(outputs.shape)}: loss={loss!r} of {shape[1]} targets needs '
            f'--config.model.classes={shape[1] * count}'
        )
    return _split(outputs, count, loss)
