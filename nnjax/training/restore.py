"""A finished or running run folder -> its parts and parameters, for evaluation and prediction."""

import functools
from pathlib import Path

import jax
import numpy as np

from nnjax import config as configs
from nnjax.errors import UserError
from nnjax.training import arrange, runner
from nnjax.training.checkpoint import Checkpoints, read
from nnjax.training.folder import RunFolder
from nnjax.training.setup import Setup, setup
from nnjax.training.state import State


def run(
    workdir: str,
    checkpoint: str = 'best',
    spec: str | None = None,
    overrides: dict[str, str] | None = None,
    *,
    data: bool = True,
) -> tuple[Setup, State]:
    """Run folder, 'best' | 'last' | a step -> (its Setup, a State to evaluate).

    Args:
      workdir: the run folder.
      checkpoint: which parameters.
      spec: the experiment file, where the saved config names symbols of its own.
      overrides: texts of fields to set, e.g. another data path.
      data: whether the data is opened; without, it is described by the run folder, which is enough
        to predict examples from elsewhere.

    Raises:
      UserError: no run folder, no such checkpoint, a config that does not resolve.
    """
    folder = RunFolder(workdir)
    if spec:
        configs.load(spec)  # makes the file's own symbols known
    _, config = folder.config()
    for path, text in (overrides or {}).items():
        configs.override(config, path, text)
    same = config.prepare == folder.config()[1].prepare
    opened = data or not same or any(path.startswith('data.') for path in overrides or {})
    made = setup(
        config,
        arrange.kept(config, folder),
        None if opened else folder.description(),
        training=False,
    )
    checkpoints = Checkpoints(folder.checkpoints, config.keep)
    step = _step(checkpoint)
    carry, best = jax.eval_shape(functools.partial(runner.first, made), made.state)
    found = checkpoints.restore({'carry': carry, 'best': best}, made.placement.sharding, step)
    checkpoints.close()
    state, best = found['carry'].state, found['best']
    if checkpoint == 'best':
        state = runner.best_state(state, best)
    return made, state


def arrays(workdir: Path) -> dict[str, np.ndarray]:
    """Run folder -> what `run` evaluates as 'best': {'params/Dense_0/kernel': array, ...}.

    It needs neither the run's data nor its experiment file.

    Raises:
      UserError: no checkpoint.
    """
    folder = RunFolder(workdir).checkpoints
    found = read(folder, 'best/')
    if np.isfinite(found.get('best/value', np.nan)):
        names = {'best/params/': 'params/', 'best/model_state/': ''}
    else:
        names = {'carry/state/params/': 'params/', 'carry/state/model_state/': ''}
        averages = 'carry/state/ema/'
        found = read(folder, averages, *names)
        if any(name.startswith(averages) for name in found):
            names = {averages: 'params/', 'carry/state/model_state/': ''}
    return {
        new + name.removeprefix(old): array
        for old, new in names.items()
        for name, array in found.items()
        if name.startswith(old)
    }


def _step(checkpoint: str) -> int | None:
    if checkpoint in ('best', 'last'):
        return None
    if not checkpoint.isdigit():
        raise UserError(f"--checkpoint={checkpoint!r}: expected 'best', 'last' or a step")
    return int(checkpoint)
