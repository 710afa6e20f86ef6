"""Where arrays live and how a function runs on several devices; pmap and shardings occur only here.

A placed function has the signature `f(carry, data, batch, control, axis) -> carry` (or a result):
carry is the training state, data what stays on the device, batch is split over the devices along
one of its axes, control is small and the same everywhere.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nnjax.errors import UserError

AXIS = 'device'


@dataclasses.dataclass(frozen=True)
class Placement:
    """A way to run: 'jit' on one device, 'pmap' data parallel, 'fsdp' sharded parameters."""

    mode: str
    mesh: Mesh

    @property
    def devices(self) -> int:
        return self.mesh.size

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    def sharding(self, leaf: Any) -> NamedSharding:
        """Where a leaf of the carry lives: FSDP splits the first axis that divides evenly."""
        if self.mode == 'fsdp':
            for axis, length in enumerate(leaf.shape):
                if length and length % self.devices == 0:
                    return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, AXIS))
        return self.replicated

    def place(self, tree: Any) -> Any:
        """Puts a carry where the compiled functions want it."""
        return jax.tree.map(lambda leaf: jax.device_put(leaf, self.sharding(leaf)), tree)

    def share(self, tree: Any) -> Any:
        """Puts resident data or control values on every device."""
        return jax.device_put(tree, self.replicated)

    def rows(self, batch: int) -> int:
        """A batch's size rounded up so that every device gets as many rows."""
        return -(-batch // self.devices) * self.devices

    def compile(self, function: Callable, split_axis: int = 0, donate: bool = True) -> Callable:
        """`function(carry, data, batch, control, axis)` -> its compiled form over the devices.

        The batch's leaves are split along `split_axis`. Results are the same on every device.
        """
        donated = (0,) if donate else ()
        if self.mode == 'pmap':
            mapped = jax.pmap(
                functools.partial(function, axis=AXIS),
                axis_name=AXIS,
                in_axes=(None, None, split_axis, None),
                out_axes=None,
                devices=list(self.mesh.devices.flat),
                donate_argnums=donated,
            )
            return lambda carry, data, batch, control: mapped(
                carry, data, jax.tree.map(lambda x: self._split(x, split_axis), batch), control
            )
        jitted = jax.jit(functools.partial(function, axis=None), donate_argnums=donated)
        if self.devices == 1:
            return jitted
        split = NamedSharding(self.mesh, PartitionSpec(*[None] * split_axis, AXIS))
        return lambda carry, data, batch, control: jitted(
            carry, data, jax.device_put(batch, split), control
        )

    def spread(self, function: Callable, lanes: tuple[bool, ...], donate: tuple[int, ...]):
        """`function(*arguments)` of some lanes -> compiled for all: each device has its share.

        `lanes` says which arguments have an axis of lanes in front; the results have it too.
        """
        if self.devices == 1:
            return jax.jit(function, donate_argnums=donate)
        specs = tuple(PartitionSpec(AXIS) if has else PartitionSpec() for has in lanes)
        out = PartitionSpec(AXIS)
        shared = jax.shard_map(
            function, mesh=self.mesh, in_specs=specs, out_specs=out, check_vma=False
        )
        # said outright, so that arrays from elsewhere do not compile it once more
        placed = tuple(NamedSharding(self.mesh, spec) for spec in specs)
        return jax.jit(shared, donate_argnums=donate, in_shardings=placed)

    @property
    def lanes(self) -> NamedSharding:
        """Where arrays with an axis of lanes live."""
        return NamedSharding(self.mesh, PartitionSpec(AXIS))

    def _split(self, array: np.ndarray, axis: int) -> np.ndarray:
        """[..., B, ...] -> [..., devices, B / devices, ...]."""
        shape = array.shape
        return array.reshape(*shape[:axis], self.devices, -1, *shape[axis + 1 :])


def spread(count: int | None = None) -> Placement:
    """A Placement of independent lanes over the first `count` devices, or all."""
    return Placement('lanes', _mesh(count))


def placement(mode: str, count: int | None = None) -> Placement:
    """'auto', 'jit', 'pmap' or 'fsdp' -> a Placement over the first `count` devices, or all."""
    mesh = _mesh(count)
    if mode == 'auto':
        mode = 'pmap' if mesh.size > 1 else 'jit'
    if mode == 'jit':
        mesh = _mesh(1)
    elif mode not in ('pmap', 'fsdp'):
        raise UserError(f'parallel={mode!r}: expected one of auto, jit, pmap, fsdp')
    return Placement(mode, mesh)


def _mesh(count: int | None) -> Mesh:
    devices = jax.local_devices()
    if count is not None and count > len(devices):
        raise UserError(f'devices={count}: this machine has {len(devices)}')
    return Mesh(np.array(devices[:count]), (AXIS,), axis_types=(AxisType.Auto,))
