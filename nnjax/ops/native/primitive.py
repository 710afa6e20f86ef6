"""JAX primitives with a kernel on CPUs and a stock form everywhere else."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class Kernel:
    """A function of (*arrays, static) -> arrays that JAX can transform, compile and export.

    vmap runs lanes one after another, which on a CPU is as fast as they can. Derivatives are the
    stock form's. `jax.export` takes the stock form too: an exported program needs no kernel.

    Args:
      name: of the primitive.
      results: (*arrays, static) -> the results' (shape, dtype); the first array gives the rest.
      stock: (*arrays, static) -> the results by XLA.
      native: (*arrays, static) -> the results by the kernel, or None where it does not serve them.
    """

    def __init__(self, name: str, results: Callable, stock: Callable, native: Callable):
        self.primitive = primitive = Primitive(name)
        primitive.multiple_results = True
        primitive.def_impl(functools.partial(_compiled, primitive))
        primitive.def_abstract_eval(
            lambda first, *rest, static: [
                first.update(shape=shape, dtype=dtype)
                for shape, dtype in results(first, *rest, static=static)
            ]
        )

        def native_or_stock(*arrays, static):
            made = native(*arrays, static=static)
            return stock(*arrays, static=static) if made is None else made

        def on_cpu(context, *arrays, static):
            exporting = context.module_context.lowering_parameters.for_export
            form = stock if exporting else native_or_stock
            return mlir.lower_fun(form, multiple_results=True)(context, *arrays, static=static)

        def derivative(primals, tangents, *, static):
            tangents = tuple(ad.instantiate_zeros(t) for t in tangents)
            return jax.jvp(functools.partial(stock, static=static), tuple(primals), tangents)

        mlir.register_lowering(primitive, mlir.lower_fun(stock, multiple_results=True))
        mlir.register_lowering(primitive, on_cpu, platform='cpu')
        primitive.stock = stock  # what a count of FLOPs counts
        ad.primitive_jvps[primitive] = derivative
        batching.primitive_batchers[primitive] = self._batch

    def __call__(self, *arrays, static):
        return self.primitive.bind(*_alike(arrays), static=static)

    def _batch(self, arrays, axes, *, static):
        """Lane by lane."""
        lanes = next(a.shape[axis] for a, axis in zip(arrays, axes) if axis is not None)
        front = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(arrays, axes)]

        def lane(number):
            return Kernel.__call__(
                self,
                *(
                    a if axis is None else lax.dynamic_index_in_dim(a, number, keepdims=False)
                    for a, axis in zip(front, axes)
                ),
                static=static,
            )

        results = lax.map(lane, jnp.arange(lanes))
        return results, [0] * len(results)


class Bilinear(Kernel):
    """A kernel (a, b, static) -> one array, linear in a and in b, whose gradients are such kernels.

    vmap over the first operand alone becomes a longer batch where `folds`: where the first axis of
    a and of the result is a batch.
    """

    def __init__(self, name: str, shape: Callable, stock: Callable, native: Callable, folds: bool):
        def single(function):
            def tupled(a, b, *, static):
                made = function(a, b, static)
                return None if made is None else [made]

            return tupled

        super().__init__(
            name,
            lambda a, b, static: [(shape(a, b, static), a.dtype)],
            single(stock),
            single(native),
        )
        self._folds = folds

    def __call__(self, a, b, static):
        return super().__call__(a, b, static=static)[0]

    def transposes(self, by_first: Callable, by_second: Callable) -> None:
        """(cotangent, a, b, static) -> the gradient by a, and by b."""

        def derivative(primals, tangents, *, static):
            (a, b), (da, db) = primals, tangents
            parts = [] if isinstance(da, ad.Zero) else [self(da, b, static)]
            parts += [] if isinstance(db, ad.Zero) else [self(a, db, static)]
            return [self(a, b, static)], [functools.reduce(jnp.add, parts)]

        def transpose(cotangents, a, b, *, static):
            (cotangent,) = cotangents
            if isinstance(cotangent, ad.Zero):
                return None, None
            if ad.is_undefined_primal(a):
                return by_first(cotangent, a, b, static), None
            return None, by_second(cotangent, a, b, static)

        ad.primitive_jvps[self.primitive] = derivative
        ad.primitive_transposes[self.primitive] = transpose

    def _batch(self, arrays, axes, *, static):
        (a, b), (first, second) = arrays, axes
        if not self._folds or second is not None:
            return super()._batch((a, b), axes, static=static)
        a = jnp.moveaxis(a, first, 0)
        y = self(a.reshape(-1, *a.shape[2:]), b, static)
        return [y.reshape(*a.shape[:2], *y.shape[1:])], [0]


@functools.partial(jax.jit, static_argnums=(0,), static_argnames=('static',))
def _compiled(primitive, *arrays, static):
    """Outside of jit: the primitive as a program of its own."""
    return primitive.bind(*arrays, static=static)


def _alike(arrays):
    """Arrays that vary over the same axes of a shard_map."""
    axes = [_varies(x) for x in arrays]
    every = frozenset().union(*axes)
    return [
        lax.pcast(x, tuple(every - own), to='varying') if every - own else x
        for x, own in zip(arrays, axes)
    ]


def _varies(x) -> frozenset:
    kind = jax.typeof(x)
    manual = getattr(kind, 'manual_axis_type', kind)  # before jax 0.10 the type itself says it
    return getattr(manual, 'varying', None) or getattr(manual, 'vma', frozenset())
