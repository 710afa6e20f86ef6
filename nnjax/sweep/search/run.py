"""A space searched by Optuna: it suggests points in batches, each trained side by side.

A batch is noted in the storage, then in sweep.json, then trained, then told. So whatever a kill
interrupts is found again, and a resumed search asks what it would have asked.
"""

import dataclasses
import json
import math
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from nnjax import config as configs
from nnjax import schema
from nnjax.errors import UserError
from nnjax.sweep import plan, rungs
from nnjax.sweep import sweep as sweeps
from nnjax.sweep.folder import SweepFolder
from nnjax.sweep.points import Distribution
from nnjax.sweep.search import Axis, Search, Space, corners, samplers, storage
from nnjax.sweep.search.setups import Setups
from nnjax.sweep.search.study import Study
from nnjax.sweep.search.trials import Trials
from nnjax.training import loop
from nnjax.training.setup import Setup


def search(
    config: ConfigDict,
    space: Space,
    how: Search,
    workdir: str | Path | None = None,
    *,
    experiment: str = '',
    runner: str = 'auto',
    say: Callable[[str], None] = lambda text: None,
) -> sweeps.Result:
    """Trains trials until the study has all, or goes on with the sweep folder's.

    Args:
      config: the experiment's config, which each point changes.
      space: {config path: a distribution, or values to choose from}.
      how: sampler, number of trials, storage ...
      workdir: this worker's sweep folder; None writes nothing.
      experiment: the name saved with the sweep.
      runner: as `sweep` takes it.
      say: is given lines for a person.

    Raises:
      UserError: space, config or storage cannot be used, or are not the folder's.
      Interrupted: SIGTERM or SIGINT came; checkpoints were written.
    """
    how.check(space)
    objectives = how.objectives or (config.best,)
    config = plan.apply(config, {'best': objectives[0]})
    setups = Setups(config, plan.check(config, corners(space)), runner)
    made, devices = setups.made[0], setups.run.placement.devices
    goals = _goals(objectives, made)
    folder = SweepFolder(workdir) if workdir is not None else None
    terms = {
        'space': {path: _plain(axis) for path, axis in space.items()},
        'objectives': objectives,
        'seeds': how.seeds or 1,
        'config': configs.to_json(config),
        'data': made.dataset.train.fingerprint,
    }
    saved = _saved(folder, config, how, terms, made)
    saved['batch'] = saved['batch'] or min(how.trials, -(-8 // devices) * devices)
    name, url = how.study or experiment or 'nnjax', how.storage

    def create() -> None:
        if folder and not folder.exists:
            begun = {'search': saved, 'trials': [], 'waves': []}
            folder.create(config, experiment, terms['data'], [], begun)

    if folder and not url:
        create()  # the file of the storage needs it
        url = f'sqlite:///{(folder.path / "optuna.db").resolve()}'
    every = max(1, made.steps(config.eval_every))
    first = max(1, math.ceil(made.steps(how.rung) / every))
    with storage.usable(url):
        study = Study(
            url,
            name,
            saved['worker'],
            not how.storage,
            space,
            [direction for direction, _ in goals],
            terms,
            samplers.sampler(how.sampler, config.seed, saved['batch'], len(space)),
            samplers.pruner(how.prune, first, rungs.Halving().keep),
        )
        create()
        trials = Trials(config, how, saved, study, setups, folder, goals, say)
        with loop.signals() as stopped:
            trials.work(stopped)
        return trials.result()


def _goals(objectives: Sequence[str], made: Setup) -> list[tuple[str, str]]:
    """'max accuracy' ... -> [('max', 'accuracy') ...], if validation can have these metrics.

    Whether it has a score is seen at the first scoring.
    """
    if not made.dataset.valid:
        raise UserError('a search needs a validation split: set --config.data.valid')
    goals = [schema.best(text) for text in objectives]
    names = {*made.eval_sums, 'parameters'}
    scores = [text for text, (_, metric) in zip(objectives, goals) if metric not in names]
    each, often = made.config.eval_every, made.config.score_every
    if scores and not often:
        raise UserError(
            f'objective={scores[0]!r}: there is no {schema.best(scores[0])[1]!r} '
            f'(there are: {", ".join(sorted(names))}{"; scores by score_every" * made.scored})'
        )
    if scores and goals[0][1] in names and made.steps(often) > made.steps(each):
        raise UserError(
            f'objective={scores[0]!r} is not known wherever {goals[0][1]!r} may be best: '
            f"name it first, or set --config.score_every='{each}'"
        )
    return goals


def _plain(axis: Axis) -> dict | list:
    return dataclasses.asdict(axis) if isinstance(axis, Distribution) else list(axis)


def _saved(folder: SweepFolder | None, config, how: Search, terms: dict, made: Setup) -> dict:
    """What the folder's plan holds of a search, checked, or shall hold of this one."""
    now = {n: v for n, v in dataclasses.asdict(how).items() if n != 'trials'}
    now |= {'space': terms['space'], 'storage': how.storage and storage.shown(how.storage)}
    now = json.loads(json.dumps(now))
    if not (folder and folder.exists):
        name = folder.path.resolve().name if folder else 'memory'
        return {**now, 'worker': f'{name}-{uuid.uuid4().hex[:12]}'}
    folder.same(config, folder.points(), terms['data'])
    saved = folder.plan().get('search', {})
    for field, value in now.items():
        default = field == 'batch' and value is None
        if saved.get(field) != value and not default:
            raise UserError(
                f'{folder.path} holds another search ({field}: {saved.get(field)} -> {value}); '
                'name a new --workdir'
            )
    return saved
