"""Where arrays live and how a function runs on several devices: pmap, shard_map and shardings.

They occur only here.

A placed function has the signature `f(carry, data, batch, control, axis) -> carry` (or a result):
carry is the training state, data what stays on the device, batch is split over the devices along
one of its axes, control is small and the same everywhere. Where a run has several processes the
devices are those of all, carry, data and control are the same in each, and a process brings only
its own rows of a batch.
"""

import contextvars
import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nnjax.errors import UserError

AXIS = 'device'
_whole: contextvars.ContextVar = contextvars.ContextVar('whole', default=None)


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
        return jax.tree.map(lambda leaf: _put(leaf, self.sharding(leaf)), tree)

    def share(self, tree: Any) -> Any:
        """Puts resident data or control values on every device."""
        return jax.tree.map(lambda leaf: _put(leaf, self.replicated), tree)

    def fetch(self, tree: Any) -> Any:
        """A carry's arrays, or some of them, whole on the host, in every process."""
        if self.mesh.is_multi_process:
            tree = jax.device_put(tree, self.replicated)
        return jax.device_get(tree)

    def local(self, tree: Any) -> Any:
        """The tree as a computation of one device of this process takes it."""
        if self.devices == 1:
            return tree
        return jax.device_put(self.fetch(tree), jax.local_devices()[0])

    def rows(self, batch: int) -> int:
        """A batch's size rounded up so that every device gets as many rows."""
        return -(-batch // self.devices) * self.devices

    def own(self, rows: int) -> slice:
        """Which of `rows` rows, as many for each device, belong to this process's devices."""
        each = rows // self.devices
        here = [
            number
            for number, device in enumerate(self.mesh.devices.flat)
            if device.process_index == jax.process_index()
        ]
        return slice(here[0] * each, (here[-1] + 1) * each)

    def compile(self, function: Callable, split_axis: int = 0, donate: bool = True) -> Callable:
        """`function(carry, data, batch, control, axis)` -> its compiled form over the devices.

        The batch's leaves, this process's `own` rows, are split along `split_axis`. Results are the
        same on every device.
        """
        donated = (0,) if donate else ()
        part, whole = PartitionSpec(*[None] * split_axis, AXIS), PartitionSpec()
        if self.mode == 'pmap' and not self.mesh.is_multi_process:
            return self._pmap(function, split_axis, donated)
        if self.mode == 'pmap':  # what jax.pmap is made of, over the devices of every process
            function = jax.shard_map(
                functools.partial(function, axis=AXIS),
                mesh=self.mesh,
                in_specs=(whole, whole, part, whole),
                out_specs=whole,
                check_vma=False,
            )
            jitted = jax.jit(function, donate_argnums=donated)
        else:
            jitted = jax.jit(self._gathering(function), donate_argnums=donated)
            if self.devices == 1:
                return jitted
        split = NamedSharding(self.mesh, part)
        return lambda carry, data, batch, control: jitted(
            carry, data, self._split(batch, split), control
        )

    def _pmap(self, function: Callable, split_axis: int, donated: tuple[int, ...]) -> Callable:
        mapped = jax.pmap(
            functools.partial(function, axis=AXIS),
            axis_name=AXIS,
            in_axes=(None, None, split_axis, None),
            out_axes=None,
            devices=list(self.mesh.devices.flat),
            donate_argnums=donated,
        )

        def shares(rows):  # [..., B, ...] -> [..., devices, B / devices, ...]
            shape = rows.shape
            return rows.reshape(*shape[:split_axis], self.devices, -1, *shape[split_axis + 1 :])

        return lambda carry, data, batch, control: mapped(
            carry, data, jax.tree.map(shares, batch), control
        )

    def _gathering(self, function: Callable) -> Callable:
        """The function with `whole` at work in it."""

        def run(carry, data, batch, control):
            token = _whole.set(self.replicated if self.mode == 'fsdp' else None)
            try:
                return function(carry, data, batch, control, axis=None)
            finally:
                _whole.reset(token)

        return run

    def _split(self, batch: Any, split: NamedSharding) -> Any:
        if not self.mesh.is_multi_process:
            return jax.device_put(batch, split)
        return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(split, rows), batch)

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


def whole(params: Any) -> Any:
    """Parameters as a model takes them; FSDP gathers them here.

    Left to itself XLA splits the model's arithmetic as the parameters are split, which sends many
    times their bytes.
    """
    sharding = _whole.get()
    return params if sharding is None else jax.lax.with_sharding_constraint(params, sharding)


def spread(count: int | None = None) -> Placement:
    """A Placement of independent lanes over the first `count` devices, or all."""
    return Placement('lanes', _mesh(count))


def placement(mode: str, count: int | None = None) -> Placement:
    """'auto', 'jit', 'pmap' or 'fsdp' -> a Placement over `count` devices of each process, or all.

    Raises:
      UserError: fewer devices than that, one device for several processes, an unknown mode.
    """
    processes = jax.process_count()
    mesh = _mesh(count, range(processes))
    if mode == 'auto':
        mode = 'pmap' if mesh.size > 1 else 'jit'
    if mode == 'jit':
        if processes > 1:
            raise UserError(
                f"parallel='jit' is one device, and there are {processes} processes: use pmap or fsdp"
            )
        mesh = _mesh(1)
    elif mode not in ('pmap', 'fsdp'):
        raise UserError(f'parallel={mode!r}: expected one of auto, jit, pmap, fsdp')
    return Placement(mode, mesh)


def _mesh(count: int | None, processes: Iterable[int | None] = (None,)) -> Mesh:
    """The first `count` devices, or all, of each of the processes; None is this one."""
    devices = []
    for process in processes:
        own = jax.local_devices(process)
        if count is not None and count > len(own):
            raise UserError(f'devices={count}: this machine has {len(own)}')
        devices += own[:count]
    return Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """An array, the same in every process, on the devices of all."""
    if sharding.is_fully_addressable or not getattr(leaf, 'is_fully_addressable', True):
        return jax.device_put(leaf, sharding)
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
