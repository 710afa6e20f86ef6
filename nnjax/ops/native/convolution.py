"""Convolution by oneDNN as three JAX primitives, each bilinear in the operands of the third.

`convolution_y` (x, w) -> y is the operation, `convolution_x` (y, w) -> x and `convolution_w`
(x, y) -> w are its gradients. The transpose of any of them is one of the three, so derivatives of
every order and in both modes stay native. Each has a stock form as well, which any platform but a
CPU gets, an exported program, and a shape that oneDNN does not serve.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from nnjax.ops.native import library, winograd
from nnjax.ops.native.primitive import Bilinear


class Geometry(NamedTuple):
    """A convolution apart from its batch and channels: one value for each of two space axes."""

    strides: tuple[int, int]
    low: tuple[int, int]
    high: tuple[int, int]
    dilation: tuple[int, int]
    space: tuple[int, int]  # of x
    window: tuple[int, int]  # of w
    groups: int

    @property
    def output(self) -> tuple[int, ...]:
        """The space of y."""
        sides = zip(self.space, self.low, self.high, self.window, self.dilation, self.strides)
        return tuple((n + lo + hi - (k - 1) * d - 1) // s + 1 for n, lo, hi, k, d, s in sides)


def convolution(x, w, strides, pads, dilation, groups: int) -> jax.Array:
    """x [N, *space, C], w [*window, C / groups, O] -> [N, *space', O]; one or two space axes.

    pads: (low, high) for each space axis, none negative.
    """
    one = x.ndim == 3
    if one:  # the space of a sequence is a picture of height 1
        x, w = x[:, None], w[None]
        strides, pads, dilation = (1, *strides), ((0, 0), *pads), (1, *dilation)
    low, high = zip(*pads)
    geometry = Geometry(
        tuple(strides), low, high, tuple(dilation), x.shape[1:3], w.shape[:2], groups
    )
    y = _Y(x, w, geometry)
    return y[:, 0] if one else y


def serves(x, w, pads, input_dilation) -> bool:
    """Whether these operands of a valid convolution are for the kernels."""
    return (
        x.ndim in (3, 4)
        and all(d == 1 for d in input_dilation)
        and all(lo >= 0 and hi >= 0 for lo, hi in pads)
        and library.serves(x, w)
    )


def _shapes(result: str, a, b, g: Geometry) -> tuple[tuple[int, ...], ...]:
    """The shapes of x, w and y."""
    if result == 'x':
        y, w = a.shape, b.shape
        x = (y[0], *g.space, w[2] * g.groups)
    elif result == 'w':
        x, y = a.shape, b.shape
        w = (*g.window, x[3] // g.groups, y[3])
    else:
        x, w = a.shape, b.shape
        y = (x[0], *g.output, w[3])
    return x, w, y


def _shape(result: str, a, b, g: Geometry) -> tuple[int, ...]:
    return _shapes(result, a, b, g)['xwy'.index(result)]


def _stock(result: str, a, b, g: Geometry) -> jax.Array:
    """The same by XLA's own convolution."""

    def forward(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            g.strides,
            list(zip(g.low, g.high)),
            rhs_dilation=g.dilation,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
            feature_group_count=g.groups,
        )

    missing = jax.ShapeDtypeStruct(_shape(result, a, b, g), a.dtype)
    if result == 'x':
        return jax.linear_transpose(lambda x: forward(x, b), missing)(a)[0]
    if result == 'w':
        return jax.linear_transpose(lambda w: forward(a, w), missing)(b)[0]
    return forward(a, b)


def _native(result: str, a, b, g: Geometry) -> jax.Array | None:
    """The call of the kernel, or None where oneDNN does not serve these shapes."""
    shapes = _shapes(result, a, b, g)
    flops = 2 * math.prod(shapes[2]) * math.prod(shapes[1][:3])
    pieces = library.pieces(shapes[0][0], flops)
    out = jax.ShapeDtypeStruct(_shape(result, a, b, g), a.dtype)
    place = 'xwy'.index(result)
    if winograd.serves(a.dtype, *shapes, g):
        kind, attributes = 'Winograd', {'low': g.low}
        numbers = (place, pieces, *shapes[0], *shapes[2], *g.low)
    else:
        pairs = {'strides': g.strides, 'low': g.low, 'high': g.high, 'dilation': g.dilation}
        kind, attributes = 'Convolution', {**pairs, 'groups': g.groups}
        head = (place, a.dtype == jnp.bfloat16, g.groups, pieces)
        numbers = (*head, *sum(shapes, ()), *sum(pairs.values(), ()))
    made = library.call(
        f'{kind}{result.upper()}',
        f'{kind}Scratch',
        numbers,
        [out],
        a,
        b,
        pieces=pieces,
        **attributes,
    )
    return made and made[0]


def _primitive(result: str, batched: int) -> Bilinear:
    parts = (functools.partial(f, result) for f in (_shape, _stock, _native))
    return Bilinear(f'convolution_{result}', *parts, batched=batched)


# The first operand of x and of y has the batch; the weight gradient sums over it.
_X = _primitive('x', batched=1)
_W = _primitive('w', batched=0)
_Y = _primitive('y', batched=1)

# The gradient of each by its first and by its second operand, from the result's cotangent.
_Y.transposes(lambda ct, x, w, g: _X(ct, w, g), lambda ct, x, w, g: _W(x, ct, g))
_X.transposes(lambda ct, y, w, g: _Y(ct, w, g), lambda ct, y, w, g: _W(ct, y, g))
_W.transposes(lambda ct, x, y, g: _X(y, ct, g), lambda ct, x, y, g: _Y(x, ct, g))
