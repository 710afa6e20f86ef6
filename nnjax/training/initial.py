"""Where a run starts: the arrays that another run, or a file, gives its model.

They are named 'params/Conv_0/kernel', 'batch_stats/BatchNorm_0/mean': a collection and a path in it.
"""

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.training import evaluate, paths, restore, runner, step
from nnjax.training.setup import Setup
from nnjax.training.state import State

EXPERIMENT = 'experiment:'  # what `init_from` begins with where it names one, to be trained first
SHOWN = 3  # arrays that a line names, at most


def given(
    made: Setup, seed: int | None = None, folder: Path | None = None, quiet: bool = True
) -> tuple[dict[str, np.ndarray], str]:
    """A run's parts -> (what it begins with, by name, see `step.init`; what that is, in a line).

    That is what `init_from` gives, and then what the task makes of predictions over the training
    split. `seed` is the run's, the config's where none is given; `folder` is where an experiment
    that `init_from` names is trained first, a folder that is soon gone where there is none.

    Every array must be in both, with one shape, and is cast to the model's type. Two kinds start
    afresh instead: a head for another number of classes, and whatever `init_fresh` names, which
    need be in only one of the two.

    Raises:
      UserError: `init_from` cannot be read, or an array does not fit.
    """
    seed = made.config.seed if seed is None else seed
    taken, said = _taken(made, seed, folder, quiet)
    if made.task.begin:
        taken |= _begun(made, taken, seed)
    return taken, said


def of_seeds(made: Setup, seeds: Iterable[int], folder: Path | None) -> dict[int, dict]:
    """What runs that differ in their seeds begin with, by seed."""
    seeds = sorted(set(seeds))
    if not made.task.begin and not (made.config.get('init_from') or '').startswith(EXPERIMENT):
        return dict.fromkeys(seeds, given(made)[0])
    return {seed: given(made, seed, folder and folder / str(seed))[0] for seed in seeds}


def _taken(made: Setup, seed: int, folder: Path | None, quiet: bool) -> tuple[dict, str]:
    source, fresh = made.config.get('init_from'), made.config.get('init_fresh')
    if not source:
        if fresh:
            raise UserError(f'init_fresh={fresh!r} says nothing without init_from')
        return {}, ''
    here = _variables(made.state)
    if source.startswith(EXPERIMENT):
        name = source.removeprefix(EXPERIMENT)
        there = _trained(name, made.config.smoke, seed, folder, quiet)
    else:
        there = read(source)
    if not any(name.startswith('params/') for name in there):
        raise UserError(
            f'init_from={source!r} has {_list(map(repr, there)) or "no array"}; '
            "expected names such as 'params/Conv_0/kernel'"
        )
    left = _named(fresh, {*there, *here}) if fresh else set()
    left |= _head(made, there)
    wrong = [
        f'{_path(name)} {why}'
        for name in sorted({*there, *here} - left, key=_parameters_first)
        if (why := _misfit(there.get(name), here.get(name)))
    ]
    if wrong:
        raise UserError(
            f'init_from={source!r}: {_list(wrong)}; '
            '--config.init_fresh=REGEX names what shall start afresh'
        )
    taken = {n: there[n].astype(here[n].dtype) for n in sorted(here) if n not in left}
    if not taken:
        raise UserError(f'init_from={source!r} gives nothing: every array starts afresh')
    return taken, _summary(there, here, left)


def _trained(
    name: str, smoke: bool, seed: int, folder: Path | None, quiet: bool
) -> dict[str, np.ndarray]:
    """Trains an experiment, or goes on with it -> its best parameters."""
    from nnjax.training import loop

    with contextlib.ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Devices are left as that experiment has them: what the task begins with may leap at a
        # last bit, and shall not depend on how this run is shared out.
        config = configs.load(f'{name}:smoke' if smoke else name, {'seed': str(seed)})
        loop.train(config, place / 'first', experiment=name, quiet=quiet)
        return restore.arrays(place / 'first')


def _begun(made: Setup, taken: Mapping, seed: int) -> dict[str, np.ndarray]:
    """What the task makes of its predictions over the training split."""
    state = runner.initial(made, seed, made.hyperparameters, taken)
    predictions = evaluate.Evaluator(made, made.dataset.train).predictions(state)
    shapes = {name: array.shape for name, array in _variables(made.state).items()}
    return made.task.begin(predictions, shapes, seed)


def read(source: str) -> dict[str, np.ndarray]:
    """A run folder, whose best parameters count, or a .safetensors file -> its arrays by name."""
    path = Path(source)
    if (path / 'config.json').is_file():
        return restore.arrays(path)
    if path.suffix != '.safetensors' or not path.is_file():
        raise UserError(
            f'init_from={source!r} is neither a run folder nor a .safetensors file nor '
            "'experiment:NAME'" + ('' if path.exists() else ': it does not exist')
        )
    from nnjax.weights import file  # only where a file is read

    return file.read(path)


def _variables(state: State) -> dict[str, Any]:
    return paths.flatten({'params': state.params, **state.model_state})


def _parameters_first(name: str) -> tuple[bool, str]:
    return not name.startswith('params/'), name


def _path(name: str) -> str:
    """'params/Dense_0/kernel' -> 'Dense_0/kernel', as other fields name it."""
    return name.partition('/')[2]


def _named(pattern: str, names: set[str]) -> set[str]:
    """The names whose paths `init_fresh` matches: one at least."""
    search = paths.regex('init_fresh', pattern).search
    found = {name for name in names if search(_path(name))}
    if not found:
        close = paths.nearest(pattern, sorted(map(_path, names)))
        raise UserError(f'init_fresh={pattern!r} matches no array ({close})')
    return found


def _head(made: Setup, there: Mapping) -> set[str]:
    """The arrays of another shape, where they differ only along axes that grow with `classes`."""
    model, here = made.program.model, _variables(made.state)
    differ = {n for n in here if n in there and there[n].shape != here[n].shape}
    if not differ or not isinstance(getattr(model, 'classes', None), int):
        return set()
    larger = dataclasses.replace(made.program, model=model.clone(classes=model.classes + 1))
    init = functools.partial(step.init, larger)
    grown = jax.eval_shape(init, np.uint32(0), made.batch_shapes(1), made.hyperparameters, {})
    grown = _variables(grown)

    def fits(name: str) -> bool:
        shapes = there[name].shape, here[name].shape, grown[name].shape
        return len(shapes[0]) == len(shapes[1]) and all(
            a == b or b != c for a, b, c in zip(*shapes)
        )

    return set(filter(fits, differ & grown.keys()))


def _misfit(there: np.ndarray | None, here: jax.ShapeDtypeStruct | None) -> str:
    """Why an array cannot be taken, '' if it can."""
    if there is None:
        return 'is missing in it'
    if here is None:
        return 'is only in it'
    if there.shape != here.shape:
        return f'is {_shape(there)} in it, {_shape(here)} here'
    if jnp.issubdtype(there.dtype, jnp.floating) != jnp.issubdtype(here.dtype, jnp.floating):
        return f'is {there.dtype} in it, {here.dtype} here'
    return '' if np.isfinite(there.astype(here.dtype)).all() else 'is not finite in it'


def _summary(there: Mapping, here: Mapping, left: set[str]) -> str:
    """'init_from: 51 of 53 arrays; fresh: Dense_0/bias [1000] -> [10], ...'."""
    fresh = [_change(n, there.get(n), here[n]) for n in sorted(left) if n in here]
    unused = [_path(n) for n in sorted(left) if n not in here]
    return '; '.join(
        [f'init_from: {len(here) - len(fresh)} of {len(here)} arrays']
        + ([f'fresh: {_list(fresh)}'] if fresh else [])
        + ([f'left out: {_list(unused)}'] if unused else [])
    )


def _change(name: str, there: np.ndarray | None, here: jax.ShapeDtypeStruct) -> str:
    same = there is None or there.shape == here.shape
    return _path(name) + ('' if same else f' {_shape(there)} -> {_shape(here)}')


def _shape(array: Any) -> str:
    return f'[{",".join(map(str, array.shape))}]'


def _list(texts: Iterable[str]) -> str:
    texts = list(texts)
    more = len(texts) - SHOWN
    return ', '.join(texts[:SHOWN]) + (f' and {more} more' if more > 0 else '')
