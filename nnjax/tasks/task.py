"""The value that owns the meaning of a batch."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Batch = Mapping[str, jax.Array]  # field name -> [B, ...]; always has 'mask' [B], 1 for a real row
Weighted = tuple[jax.Array, jax.Array]  # (values, weights) of one shape, not averaged

COMPANIONS = ('length', 'segment', 'categories')  # NAME_length [B] belongs to the field NAME


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
      score: (predictions, examples) -> {name: float, or text that says how it was made} on the
        host, over a whole split without padding; both are {name: array [N, ...]}, examples
        without the model's inputs, but with the split's texts.
      texts: {prediction: field} where what is predicted are ids [B, T] of the vocabulary of a
        field; outside the device they are texts.
      quotes: {prediction: field} where what is predicted are the characters [B, 2], from and to, of
        a field's text; outside the device they are those characters.
      decide: (predictions, examples) -> {name: float}, numbers that what is predicted is judged by,
        such as a threshold; on the host, over the validation split when a run ends.
      classes: the field of whole numbers below the model's classes, '' where there is none.
      framed: fields of token ids that must begin with <bos> and end with <eos>.
      gallery: (apply, batch) -> {name: array}, pictures of a few examples for the report, made once
        at the end of a run of the first rows of its final split; apply is that of `predict`.
      check: (examples, the model's classes or None) -> (row, what is wrong with it), of the first
        example that cannot be learned from, or None; on the host, of prepared examples of all splits.
      begin: (predictions, shapes, seed) -> {'params/centres': array}, initial values that follow
        from the predictions over the training split, made once when a run begins; `shapes` are
        those of all the model's arrays, by name.
      fits: (outputs, batch) -> (frames that examples need [B], frames that the model gives [B]),
        compared over the data when a run begins.
      draw: (apply, keys [N]) -> new examples [N, ...] in evaluation mode, one for each key.
      row: (one example's predictions {name: array}, class names) -> what `nnjax predict` writes of
        it, on the host; where it is None, each prediction under its name.
    """

    inputs: Callable[[Batch], tuple[Any, ...]]
    loss: Callable[[Any, Batch], Weighted]
    metrics: Callable[[Any, Batch], dict[str, Weighted]]
    predict: Callable[[Callable, Batch], dict[str, jax.Array]] | None = None
    score: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], dict[str, float]] | None = None
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    quotes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    decide: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], dict[str, float]] | None = None
    classes: str = ''
    framed: tuple[str, ...] = ()
    gallery: Callable[[Callable, Batch], dict[str, jax.Array]] | None = None
    check: Callable[[dict[str, np.ndarray], int | None], tuple[int, str] | None] | None = None
    begin: Callable[[dict, dict[str, tuple[int, ...]], int], dict[str, np.ndarray]] | None = None
    fits: Callable[[Any, Batch], tuple[jax.Array, jax.Array]] | None = None
    draw: Callable[[Callable, jax.Array], jax.Array] | None = None
    row: Callable[[dict[str, np.ndarray], tuple[str, ...]], dict[str, Any]] | None = None


def field(batch: Batch, name: str) -> tuple[jax.Array, ...]:
    """A field as models take it: its array, then what else it has of `COMPANIONS`."""
    names = (f'{name}_{kind}' for kind in COMPANIONS)
    return batch[name], *(batch[n] for n in names if n in batch)


def with_clean(batch: Batch, name: str) -> tuple[jax.Array, ...]:
    """A field, then what it was before augmentation, where the operation `keep` has kept that."""
    clean = f'{name}_clean'
    return (batch[name], batch[clean]) if clean in batch else (batch[name],)


def following(batch: Batch, name: str) -> jax.Array:
    """A sequence [B, T] -> float32 [B, T - 1]: 1 where a position and the next are one example's."""
    time = batch[name].shape[1]
    segment = batch.get(f'{name}_segment')
    if segment is None:
        real = jnp.arange(1, time)[None] < batch[f'{name}_length'][:, None]
    else:
        real = (segment[:, 1:] == segment[:, :-1]) & (segment[:, 1:] > 0)
    return real.astype(jnp.float32)
