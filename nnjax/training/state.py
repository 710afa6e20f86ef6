"""What training changes, as data only."""

from typing import Any

import flax.struct
import jax

Tree = Any


@flax.struct.dataclass
class State:
    """Everything that a step reads and writes; randomness follows from `seed` and `step`.

    Attributes:
      step: int32 scalar, updates done.
      seed: uint32 scalar.
      params: parameters, float32.
      model_state: the model's other collections (batch statistics), or {}.
      opt_state: the optimizer's state.
      ema: moving average of params, or None.
    """

    step: jax.Array
    seed: jax.Array
    params: Tree
    model_state: Tree
    opt_state: Tree
    ema: Tree | None = None

    @property
    def best_params(self) -> Tree:
        """The parameters to evaluate: the moving average where there is one."""
        return self.params if self.ema is None else self.ema
