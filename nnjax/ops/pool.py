"""Pooling, channels last, with a gradient of its own for the maximum.

XLA's gradient of a windowed maximum (select-and-scatter) is the slowest part of a small network on
a CPU. Here windows become axes of their own, and the gradient goes where the maximum was found.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Padding = str | Sequence[tuple[int, int]]
