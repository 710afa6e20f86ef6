"""Matrix products by oneDNN as three JAX primitives: those of a dense layer and its gradients.

With a for the first operand and b for the second: 'nn' is a b, 'nt' is a b', 'tn' is a' b. The
gradients of each are two of the three.
"""

import functools
import math

import jax
import jax.numpy as jnp

from nnjax.ops.native import library
from nnjax.ops.native.primitive import Bilinear

FORMS = ('nn', 'nt', 'tn')


def matmul(x: jax.Array, w: jax.Array) -> jax.Array:
    """x [..., K], w [K, N] -> [..., N]."""
    return _NN(x.reshape(-1, x.shape[-1]), w, None).reshape(*x.shape[:-1], w.shape[-1])


def row_matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """a [K, M], b [K, N] -> [M, N]."""
    return _TN(a, b, None)


def serves(x, w) -> bool:
    """Whether these operands of a valid product are for the kernels."""
    return x.ndim >= 2 and w.ndim == 2 and library.serves(x, w)


def _sizes(form: str, a, b) -> tuple[int, int, int]:
    """(m, n, k)."""
    k, m = a.shape if form == 'tn' else a.shape[::-1]
    return m, b.shape[0 if form == 'nt' else 1], k


def _shape(form: str, a, b, _) -> tuple[int, int]:
    return _sizes(form, a, b)[:2]


def _stock(form: str, a, b, _) -> jax.Array:
    contract = ((0,) if form == 'tn' else (1,), (1,) if form == 'nt' else (0,))
    return jax.lax.dot_general(a, b, (contract, ((), ())))


def _native(form: str, a, b, _) -> jax.Array | None:
    """The call of the kernel, or None where oneDNN does not serve these shapes."""
    sizes = _sizes(form, a, b)
    pieces = library.pieces(sizes[0], 2 * math.prod(sizes))
    numbers = (FORMS.index(form), a.dtype == jnp.bfloat16, *sizes, pieces)
    out = [jax.ShapeDtypeStruct(sizes[:2], a.dtype)]
    target = f'Matmul{form.upper()}'
    made = library.call(target, 'MatmulScratch', numbers, out, a, b, pieces=pieces)
    return made and made[0]


def _primitive(form: str, batched: int) -> Bilinear:
    parts = (functools.partial(f, form) for f in (_shape, _stock, _native))
    return Bilinear(f'matmul_{form}', *parts, batched=batched)


_NN, _NT, _TN = (_primitive(form, batched=int(form != 'tn')) for form in FORMS)

# The gradient of each by its first and by its second operand, from the result's cotangent.
_NN.transposes(lambda ct, a, b, _: _NT(ct, b, _), lambda ct, a, b, _: _TN(a, ct, _))
_NT.transposes(lambda ct, a, b, _: _NN(ct, b, _), lambda ct, a, b, _: _TN(ct, a, _))
_TN.transposes(lambda ct, a, b, _: _NT(b, ct, _), lambda ct, a, b, _: _NN(a, ct, _))
