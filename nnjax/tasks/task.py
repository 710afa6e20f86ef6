"""The value that owns the meaning of a batch."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Batch = Mapping[str, jax.Array]  # field name -> [B, ...]; always has 'mask' [B], 1 for a real row
Weighted = tuple[jax.Array, jax.Array]  # (values, weights) of one shape, not averaged


@dataclasses.dataclass(frozen=True)
class Task:
    """Pure functions of a batch, made by a factory whose keywords are the hyperparameters.

    A loss or metric returns unreduced `(values, weights)` of one shape whose first axis is the
    batch's; the step masks padded rows and forms sum(values * weights) / sum(weights).

    Attributes:
      inputs: batch -> positional arguments of the model.
      loss: (outputs, batch) -> (values, weights).
      metrics: (outputs, batch) -> {name: (values, weights)}.
      predict: (apply, batch) -> {name: array [B, ...]} on the device, apply(*inputs) -> outputs, or
        apply(*arguments, method=NAME) for another method of the model.
      score: (predictions, examples) -> {name: float} on the host, over a whole split without
        padding; both are {name: array [N, ...]}, examples without the model's inputs, but with the
        split's texts.
      texts: {prediction: field} where what is predicted are ids [B, T] of the vocabulary of a
        field; outside the device they are texts.
    """

    inputs: Callable[[Batch], tuple[Any, ...]]
    loss: Callable[[Any, Batch], Weighted]
    metrics: Callable[[Any, Batch], dict[str, Weighted]]
    predict: Callable[[Callable, Batch], dict[str, jax.Array]] | None = None
    score: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], dict[str, float]] | None = None
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)


def field(batch: Batch, name: str) -> tuple[jax.Array, ...]:
    """A field as models take it: its array, then its lengths and segments where it has them."""
    return tuple(batch[n] for n in (name, f'{name}_length', f'{name}_segment') if n in batch)
