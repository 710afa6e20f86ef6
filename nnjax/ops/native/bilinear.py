"""A JAX primitive of two operands, linear in each, with a kernel on CPUs and a stock form elsewhere."""

import functools
from collections.abc import Callable

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class Bilinear:
    """A function of (a, b, static) that JAX can transform, compile and export.

    vmap over the first operand alone becomes a longer batch where `folds`; else lanes run one after
    another, which on a CPU is as fast as they can. `jax.export` takes the stock form: an exported
    program needs no kernel.

    Args:
      name: of the primitive.
      shape: (a, b, static) -> the result's shape; its type is a's.
      stock: (a, b, static) -> the result by XLA.
      native: (a, b, static) -> the result by the kernel, or None where it does not serve them.
      folds: whether a's and the result's first axis is a batch.
    """

    def __init__(self, name: str, shape: Callable, stock: Callable, native: Callable, folds: bool):
        self._primitive = primitive = Primitive(name)
        self._folds = folds

        def native_or_stock(a, b, *, static):
            made = native(a, b, static)
            return stock(a, b, static) if made is None else made

        def lower(context, a, b, *, static):
            exporting = context.module_context.lowering_parameters.for_export
            function = plain if exporting else native_or_stock
            return mlir.lower_fun(function, multiple_results=False)(context, a, b, static=static)

        def plain(a, b, *, static):
            return stock(a, b, static)

        def abstract(a, b, *, static):
            return a.update(shape=shape(a, b, static))

        primitive.stock = plain  # what a count of FLOPs counts
        primitive.def_impl(functools.partial(_compiled, primitive))
        primitive.def_abstract_eval(abstract)
        mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=False))
        mlir.register_lowering(primitive, lower, platform='cpu')
        batching.primitive_batchers[primitive] = self._batch

    def __call__(self, a, b, static):
        return self._primitive.bind(*_alike(a, b), static=static)

    def transposes(self, by_first: Callable, by_second: Callable) -> None:
        """(cotangent, a, b, static) -> the gradient by a, and by b."""
        rules = [
            lambda ct, a, b, *, static, rule=rule: rule(ct, a, b, static)
            for rule in (by_first, by_second)
        ]
        ad.defbilinear(self._primitive, *rules)

    def _batch(self, operands, axes, *, static):
        (a, b), (first, second) = operands, axes
        if self._folds and second is None:
            a = jax.numpy.moveaxis(a, first, 0)
            y = self(a.reshape(-1, *a.shape[2:]), b, static)
            return y.reshape(*a.shape[:2], *y.shape[1:]), 0
        lanes = operands[0].shape[first] if first is not None else operands[1].shape[second]
        a = a if first is None else jax.numpy.moveaxis(a, first, 0)
        b = b if second is None else jax.numpy.moveaxis(b, second, 0)

        def lane(number):
            pick = lambda x, axis: (
                x if axis is None else lax.dynamic_index_in_dim(x, number, keepdims=False)
            )
            return self(pick(a, first), pick(b, second), static)

        return lax.map(lane, jax.numpy.arange(lanes)), 0


@functools.partial(jax.jit, static_argnums=(0,), static_argnames=('static',))
def _compiled(primitive, a, b, *, static):
    """Outside of jit: the primitive as a program of its own."""
    return primitive.bind(a, b, static=static)


def _alike(a, b):
    """Operands that vary over the same axes of a shard_map."""
    axes = [_varies(a), _varies(b)]
    both = axes[0] | axes[1]
    return [
        lax.pcast(x, tuple(both - own), to='varying') if both - own else x
        for x, own in zip((a, b), axes)
    ]


def _varies(x) -> frozenset:
    kind = jax.typeof(x)
    manual = getattr(kind, 'manual_axis_type', kind)  # before jax 0.10 the type itself says it
    return getattr(manual, 'varying', None) or getattr(manual, 'vma', frozenset())
