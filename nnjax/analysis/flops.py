"""Floating-point operations of a JAX function, from shapes alone, scan lengths counted.

XLA's own `cost_analysis` counts a scan's body once whatever its length; this walks the jaxpr.

The convention, close to XLA's:
  - a matrix product or convolution: 2 for each product of two real entries (multiply and add).
    Taps that fall on padding or between dilated entries multiply a zero that nobody computes and
    are not counted, so a convolution's two gradients cost exactly as much as itself each;
  - an elementwise operation, transcendental or not: 1 for each element of its output;
  - a reduction: 1 for each element of its input; a pooling: 1 for each tap on a real entry;
  - a sort: n log2 n a row; a Fourier transform: 5 n log2 n, half of it for real data;
  - moving, choosing and converting data, integer and boolean arithmetic, random bits: 0.
A scan counts its body `length` times, a while loop `trips` times, a `cond` its dearest branch,
`lax.platform_dependent` the branch of the default backend, `shard_map` and `pmap` all devices.
Results that nobody reads are not counted, as the compiler drops them.
"""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, JaxprEqn, jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

_MOVES = frozenset(
    """
    all_gather all_to_all axis_index bitcast_convert_type broadcast_in_dim complex concatenate
    convert_element_type copy copy_p device_put dynamic_slice dynamic_update_slice expand_dims
    gather imag mesh_cast optimization_barrier pad pbroadcast ppermute pvary real reduce_precision
    reshape reshard rev scatter select_n sharding_constraint slice split squeeze stack
    stop_gradient tile transpose
    """.split()
)
_REDUCTIONS = frozenset(
    ('argmax', 'argmin', 'reduce_max', 'reduce_min', 'reduce_prod', 'reduce_sum', 'top_k')
)
# Nothing in their shapes tells what they compute.
_OPAQUE = frozenset(
    """
    cholesky eig eigh ffi_call geqp3 geqrf hessenberg householder_product io_callback lu
    pallas_call pure_callback qr ragged_dot_general schur svd symmetric_product triangular_solve
    tridiagonal tridiagonal_solve xla_call_module
    """.split()
)


@dataclasses.dataclass(frozen=True)
class Tally:
    """Operations of a program.

    Attributes:
      scopes: `jax.named_scope` path, outermost first -> FLOPs of the equations right in it.
      notes: what the number leaves out, one line each.
    """

    scopes: dict[str, int]
    notes: frozenset[str] = frozenset()

    @property
    def flops(self) -> int:
        """FLOPs of the whole program."""
        return sum(self.scopes.values())


def count(function: Callable, *args: Any, trips: int | None = None) -> int:
    """FLOPs of `function(*args)`; args are trees of arrays or `jax.ShapeDtypeStruct`.

    `trips` is how often every `while` loop of unknown length runs, once if not given. Keywords
    and settings that are not arrays go into `function` by closure. Nothing is computed.
    """
    return tally(function, *args, trips=trips).flops


def tally(function: Callable, *args: Any, trips: int | None = None) -> Tally:
    """As `count`, by scope and with notes (a loop of unknown length, a foreign call)."""
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _walk(jaxpr, '', trips)


def _walk(jaxpr: Jaxpr, outer: str, trips: int | None) -> Tally:
    scopes, notes = Counter(), set()
    for eqn in jaxpr.eqns:
        scope = f'{outer}/{eqn.source_info.name_stack}'.strip('/')
        name = eqn.primitive.name
        inner = [] if name in _OPAQUE else list(jaxprs_in_params(eqn.params))
        if stock := getattr(eqn.primitive, 'stock', None):  # a kernel of nnjax's own
            body = jax.make_jaxpr(functools.partial(stock, **eqn.params))
            inner = [body(*(v.aval for v in eqn.invars)).jaxpr]
        if not inner:
            scopes[scope] += _flops(eqn)
            if name in _OPAQUE:
                notes.add(f'{eqn.params.get("target_name", name)}: not counted')
            continue
        parts = [_walk(body, scope, trips) for body in inner]
        if name == 'cond':
            parts = [_branch(eqn.params.get('branches_platforms'), parts)]
        if name == 'while' and trips is None:
            notes.add('while: its length is unknown, counted once')
        times = _repeats(eqn, 1 if trips is None else trips)
        for part in parts:
            scopes.update({s: times * n for s, n in part.scopes.items()})
            notes |= part.notes
    return Tally(dict(scopes), frozenset(notes))


def _branch(platforms: tuple | None, branches: list[Tally]) -> Tally:
    """The default backend's branch if it can be counted, else the dearest."""
    backend = jax.default_backend()
    here = {'gpu': {'cuda', 'rocm'}}.get(backend, set()) | {backend}
    for names, branch in zip(platforms or (), branches):
        if names is None or here & set(names):
            if not branch.notes:
                return branch
            break
    return max(branches, key=lambda branch: branch.flops)


def _repeats(eqn: JaxprEqn, trips: int) -> int:
    """How often an equation runs the jaxpr inside it."""
    name, params = eqn.primitive.name, eqn.params
    if name == 'scan':
        return params['length']
    if name == 'while':
        return trips
    if name == 'shard_map':
        axes = params.get('newly_manual_axes', params['mesh'].axis_names)
        return math.prod(params['mesh'].shape[axis] for axis in axes)
    if name == 'reduce':
        return eqn.invars[0].aval.size
    if name == 'reduce_window':
        return _pooling_taps(eqn)
    if name.startswith('scatter'):
        return eqn.invars[-1].aval.size
    return 1


def _flops(eqn: JaxprEqn) -> int:
    """FLOPs of an equation without a jaxpr inside."""
    name = eqn.primitive.name
    operands = [v.aval for v in eqn.invars if hasattr(v.aval, 'shape')]
    if name in _MOVES | _OPAQUE or not any(jnp.issubdtype(x.dtype, jnp.inexact) for x in operands):
        return 0
    if name == 'dot_general':
        contracted = eqn.params['dimension_numbers'][0][0]
        return 2 * eqn.outvars[0].aval.size * math.prod(operands[0].shape[i] for i in contracted)
    if name == 'conv_general_dilated':
        return 2 * _convolution_products(eqn)
    if name.startswith('reduce_window'):
        return _pooling_taps(eqn)
    if name.startswith('select_and'):  # the gradients of pooling choose within each window
        windows = min(operands[0].size, eqn.outvars[0].aval.size)
        return windows * math.prod(eqn.params['window_dimensions'])
    if name in _REDUCTIONS:
        return operands[0].size
    if name == 'sort':
        return math.ceil(operands[0].size * _log2(operands[0].shape[eqn.params['dimension']]))
    if name == 'fft':
        both = (operands[0], eqn.outvars[0].aval)
        real = not all(jnp.issubdtype(x.dtype, jnp.complexfloating) for x in both)
        size = max(x.size for x in both)
        return round((2.5 if real else 5) * size * _log2(math.prod(eqn.params['fft_lengths'])))
    return sum(v.aval.size for v in eqn.outvars)


def _convolution_products(eqn: JaxprEqn) -> int:
    """Products of two real entries in a convolution: grouped, strided, padded, dilated."""
    params = eqn.params
    image, kernel, output = params['dimension_numbers']
    x, w, y = (v.aval.shape for v in (*eqn.invars, *eqn.outvars))
    taps = math.prod(
        _taps(x[i], w[k], y[o], *window)
        for i, k, o, *window in zip(
            image[2:],
            kernel[2:],
            output[2:],
            params['window_strides'],
            params['padding'],
            params['lhs_dilation'],
            params['rhs_dilation'],
        )
    )
    return y[output[0]] * y[output[1]] * w[kernel[1]] * taps


def _pooling_taps(eqn: JaxprEqn) -> int:
    """Real entries seen by all windows of a `reduce_window`."""
    params = eqn.params
    return math.prod(
        _taps(*window)
        for window in zip(
            eqn.invars[0].aval.shape,
            params['window_dimensions'],
            eqn.outvars[0].aval.shape,
            params['window_strides'],
            params['padding'],
            params['base_dilation'],
            params['window_dilation'],
        )
    )


def _taps(
    size: int,
    window: int,
    positions: int,
    stride: int,
    padding: tuple[int, int],
    base_dilation: int,
    window_dilation: int,
) -> int:
    """Along one axis, the (position, tap) pairs that meet an entry and not padding or a hole."""
    starts = np.arange(positions)[:, None] * stride - padding[0]
    entries, holes = np.divmod(starts + np.arange(window) * window_dilation, base_dilation)
    return int(np.sum((holes == 0) & (entries >= 0) & (entries < size)))


def _log2(size: int) -> float:
    return math.log2(max(size, 1))
