"""Checkpoints: plain arrays by name in orbax's format, written aside and renamed into place.

A checkpoint is the whole carry of the loop and the best parameters so far, so that a resumed run
is bitwise the uninterrupted one. Restoring needs a template of the same structure and runs no code.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nnjax.errors import UserError
from nnjax.training.paths import flatten


def steps(folder: Path) -> list[int]:
    """The steps of a folder's whole checkpoints."""
    return sorted(int(path.name) for path in folder.glob('*') if path.name.isdigit())


class Checkpoints:
    """The checkpoints of a run folder; the latest `keep` stay."""

    def __init__(self, folder: Path, keep: int = 2):
        import orbax.checkpoint as ocp  # 1 s: only where a checkpoint is read or written

        self._ocp = ocp
        options = ocp.CheckpointManagerOptions(max_to_keep=keep)
        self._manager = ocp.CheckpointManager(
            folder.absolute(), options=options, item_handlers=ocp.StandardCheckpointHandler()
        )
        # Several processes agree in the loop on where to stop; orbax would ask in between.
        self._manager.reached_preemption = lambda step: False

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def save(self, step: int, tree: Any) -> None:
        """Starts writing; the arrays are copied before this returns."""
        if step in self._manager.all_steps():
            return
        self._manager.save(step, args=self._ocp.args.StandardSave(flatten(tree)))

    def restore(
        self, template: Any, sharding: Callable[[Any], Any], step: int | None = None
    ) -> Any:
        """A tree like `template` (arrays or shapes) from `step`, the latest by default.

        Leaves are placed by `sharding(leaf)`, whatever devices wrote them.

        Raises:
          UserError: no such checkpoint, or its arrays are not the template's.
        """
        steps = self.steps()
        if not steps or (step is not None and step not in steps):
            raise UserError(
                f'no checkpoint{"" if step is None else f" {step}"} in '
                f'{self._manager.directory} (there are: {steps or "none"})'
            )
        step = steps[-1] if step is None else step
        wanted = flatten(template)
        self._compare(wanted, step)
        shapes = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding(leaf))
            for name, leaf in wanted.items()
        }
        found = self._manager.restore(step, args=self._ocp.args.StandardRestore(shapes))
        return jax.tree.unflatten(jax.tree.structure(template), [found[name] for name in wanted])

    def _compare(self, wanted: dict, step: int) -> None:
        stored = self._manager.item_metadata(step)
        stored = {name: tuple(stored[name].shape) for name in stored}
        for name in sorted({*wanted, *stored}):
            if name not in stored:
                raise UserError(f'checkpoint {step} lacks {name!r}: the config has changed')
            if name not in wanted:
                raise UserError(f'checkpoint {step} has {name!r}, this config does not')
            if stored[name] != tuple(wanted[name].shape):
                raise UserError(
                    f'checkpoint {step}: {name!r} has shape {stored[name]}, '
                    f'this config needs {tuple(wanted[name].shape)}'
                )

    def wait(self) -> None:
        """Returns when everything saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self.wait()
        self._manager.close()


def read(folder: Path, *prefixes: str) -> dict[str, np.ndarray]:
    """The latest checkpoint's arrays whose names begin so, by name; it needs no template.

    Nothing else is read, and nothing is written.

    Raises:
      UserError: no checkpoint.
    """
    import orbax.checkpoint as ocp

    if not steps(folder):
        raise UserError(f'no checkpoint in {folder}')
    path = folder.absolute() / str(steps(folder)[-1]) / 'default'
    handler = ocp.PyTreeCheckpointHandler()
    stored = handler.metadata(path)
    wanted = {
        name: jax.ShapeDtypeStruct(stored[name].shape, stored[name].dtype)
        for name in stored
        if name.startswith(prefixes)
    }
    if not wanted:
        return {}
    kinds = dict.fromkeys(wanted, ocp.RestoreArgs(restore_type=np.ndarray))
    arguments = ocp.args.PyTreeRestore(wanted, restore_args=kinds, partial_restore=True)
    return handler.restore(path, args=arguments)
