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
      predict: (apply, batch) -> {name: array [B, ...]} on the device, apply(*inputs) -> outputs.
      score: (predictions, examples) -> {name: float} on the host, over a whole split without
        padding; both are {name: array [N, ...]}, examples without the model's inputs.
      row: (one example's predictions {name: array}, class names) -> what `nnjax predict` writes of
        it, on the host; where it is None, each prediction under its name.
    """

    inputs: Callable[[Batch], tuple[Any, ...]]
    loss: Callable[[Any, Batch], Weighted]
    metrics: Callable[[Any, Batch], dict[str, Weighted]]
    predict: Callable[[Callable, Batch], dict[str, jax.Array]] | None = None
    score: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], dict[str, float]] | None = None
    row: Callable[[dict[str, np.ndarray], tuple[str, ...]], dict[str, Any]] | None = None
