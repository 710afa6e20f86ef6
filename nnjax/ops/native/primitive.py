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

    vmap becomes a longer batch where it can and runs lanes one after another where not, which on a
    CPU is as fast as they can. Derivatives are the stock form's, if nothing better is said.
    `jax.export` takes the stock form too: an exported program needs no kernel.

    Args:
      name: of the primitive.
      results: (*arrays, static) -> the results' (shape, dtype); the first array gives the rest.
      stock: (*arrays, static) -> the results by XLA.
      native: (*arrays, static) -> the results by the kernel, or None where it does not serve them.
      batched: so many arrays, the first ones, and the results have a batch as their first axis.
    """

    def __init__(
        self, name: str, results: Callable, stock: Callable, native: Callable, batched: int = 0
    ):
        self._batched = batched
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
        if any(map(_sharded, arrays)):
            return self.primitive.stock(*arrays, static=static)
        return self.primitive.bind(*_alike(arrays), static=static)

    def derives_by(self, tangent: 'Linear') -> None:
        """The derivative of x -> results, from x and its tangent."""

        def derivative(primals, tangents, *, static):
            (tangent_in,) = map(ad.instantiate_zeros, tangents)
            return self(*primals, static=static), tangent(*primals, tangent_in, static=static)

        ad.primitive_jvps[self.primitive] = derivative

    def _batch(self, arrays, axes, *, static):
        lanes = next(a.shape[axis] for a, axis in zip(arrays, axes) if axis is not None)
        front = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(arrays, axes)]
        if all(axis is None for axis in axes[self._batched :]):
            results = self._fold(front, axes, lanes, static)
        else:
            results = self._one_by_one(front, axes, lanes, static)
        return results, [0] * len(results)

    def _fold(self, arrays, axes, lanes, static):
        """The lanes of a batch as a longer batch."""
        longer = [
            (a if axis is not None else jnp.broadcast_to(a, (lanes, *a.shape)))
            for a, axis in zip(arrays[: self._batched], axes)
        ]
        longer = [a.reshape(-1, *a.shape[2:]) for a in longer]
        results = Kernel.__call__(self, *longer, *arrays[self._batched :], static=static)
        return [y.reshape(lanes, -1, *y.shape[1:]) for y in results]

    def _one_by_one(self, arrays, axes, lanes, static):
        def lane(number):
            return Kernel.__call__(
                self,
                *(
                    a if axis is None else lax.dynamic_index_in_dim(a, number, keepdims=False)
                    for a, axis in zip(arrays, axes)
                ),
                static=static,
            )

        return lax.map(lane, jnp.arange(lanes))


class Linear(Kernel):
    """A kernel (x, tangent, static) -> one array, linear in the tangent and constant around any x."""

    def transposed_by(self, other: 'Linear') -> None:
        """(x, cotangent of the result) -> that of the tangent."""

        def derivative(primals, tangents, *, static):
            (x, _), (_, tangent) = primals, map(ad.instantiate_zeros, tangents)
            return self(*primals, static=static), self(x, tangent, static=static)

        def transpose(cotangents, x, tangent, *, static):
            (cotangent,) = cotangents
            if isinstance(cotangent, ad.Zero):
                return None, None
            return None, other(x, cotangent, static=static)[0]

        ad.primitive_jvps[self.primitive] = derivative
        ad.primitive_transposes[self.primitive] = transpose


class Bilinear(Kernel):
    """A kernel (a, b, static) -> one array, linear in a and in b, whose gradients are such kernels."""

    def __init__(self, name: str, shape: Callable, stock: Callable, native: Callable, batched: int):
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
            batched,
        )

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


def _sharded(x) -> bool:
    """Whether its type says how it is spread over a mesh (explicit axes): XLA's to take apart."""
    spec = getattr(getattr(jax.typeof(x), 'sharding', None), 'spec', None) or ()
    return any(axes is not None for axes in spec)


def _varies(x) -> frozenset:
    kind = jax.typeof(x)
    manual = getattr(kind, 'manual_axis_type', kind)  # before jax 0.10 the type itself says it
    return getattr(manual, 'varying', None) or getattr(manual, 'vma', frozenset())
