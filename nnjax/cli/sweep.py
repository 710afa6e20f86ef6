"""trains many points of an experiment as one program and ranks them

The points are the experiment's own, from sweep() beside get_config(), or are given here:
--grid optim.lr=0.01,0.03 --grid task.smoothing=0,0.1 makes every combination,
--random 'optim.lr=log(1e-4,1e-1)' --points 64 fills a space; --seeds 5 runs each five times.
Writes the sweep folder: sweep.json, metrics.jsonl, checkpoints, the winner's run folder best/
and report.html. The same command goes on where it stopped.

--search=optuna chooses points from the space that --random and --grid span, batch after batch, by
what the earlier ones came to. Its storage, optuna.db in the sweep folder, opens in
optuna-dashboard. Several processes or machines search together: one --storage, a --workdir each.
"""

import sys

from absl import flags

from nnjax.cli import cluster, options, searching
from nnjax.errors import UserError


def define(values: flags.FlagValues) -> None:
    options.config_flag(values)
    options.workdir_flag(
        values, 'sweep folder; default runs/EXPERIMENT-sweep/TIME. An existing one is resumed'
    )
    flags.DEFINE_multi_string(
        'grid', [], 'FIELD=VALUE,VALUE ...: every combination', flag_values=values
    )
    flags.DEFINE_multi_string(
        'random',
        [],
        'FIELD=log(a,b), uniform(a,b), integer(a,b) or VALUE,VALUE ...',
        flag_values=values,
    )
    flags.DEFINE_integer(
        'points', None, 'how many points --random makes', flag_values=values, lower_bound=1
    )
    flags.DEFINE_integer(
        'seeds', None, 'runs of every point, seeds 0, 1 ...', flag_values=values, lower_bound=1
    )
    flags.DEFINE_enum(
        'runner',
        'auto',
        ['auto', 'lanes', 'loop', 'processes'],
        'side by side, one after another, a process each, or the fastest',
        flag_values=values,
    )
    flags.DEFINE_integer(
        'halving',
        None,
        'at each rung one lane of so many goes on',
        flag_values=values,
        lower_bound=2,
    )
    flags.DEFINE_string('rung', '5%', 'the first rung of --halving and --prune', flag_values=values)
    flags.DEFINE_string(
        'population',
        None,
        'population-based training: time between two exchanges',
        flag_values=values,
    )
    flags.DEFINE_integer(
        'workers',
        None,
        'of --runner=processes (default: one a GPU, or one a core), '
        'tasks of --launcher (default: one for 8 points)',
        flag_values=values,
        lower_bound=1,
    )
    flags.DEFINE_integer('share', None, 'train one share of a shared sweep', flag_values=values)
    flags.DEFINE_boolean(
        'status', False, 'show where the sweep of --workdir stands', flag_values=values
    )
    searching.define(values)
    cluster.define(values)
    flags.DEFINE_boolean('quiet', False, 'no progress', flag_values=values)


def run(parsed: options.Options) -> None:
    values = parsed.flags
    if values.status:
        return _show(options.required(parsed, 'workdir'))
    spec = options.required(parsed, 'config')
    from nnjax import config as configs
    from nnjax.cli import given

    config = configs.load(spec, parsed.overrides)
    if values.halving and values.population:
        raise UserError('--halving drops lanes, --population copies them: choose one')
    how = searching.given(values)
    name = configs.find(spec.partition(':')[0]).stem
    if how:
        space = given.space(config, values)
        how.check(space)
    elif values.share is None:
        points = given.points(config, spec, values)
    options.compilation_cache()
    if how:
        _search(parsed, config, space, how, name)
    elif values.share is not None:
        _share(parsed)
    elif values.runner == 'processes' or values.launcher:
        _shared(parsed, config, points, name)
    else:
        options.cores_as_devices()
        workdir = values.workdir or options.fresh(f'{name}-sweep')
        _lanes(parsed, config, points, workdir, name)


def _lanes(parsed: options.Options, config, points, workdir, name: str) -> None:
    from nnjax.sweep import rungs
    from nnjax.sweep.sweep import sweep

    values = parsed.flags
    result = sweep(
        config,
        points,
        workdir,
        experiment=name,
        runner=values.runner,
        halving=values.halving and rungs.Halving(values.halving, values.rung),
        population=values.population and rungs.Population(values.population),
        say=_say(parsed),
    )
    _end(result, workdir)


def _search(parsed: options.Options, config, space, how, name: str) -> None:
    from nnjax.sweep.search.run import search

    options.cores_as_devices()
    workdir = parsed.flags.workdir or options.fresh(f'{name}-sweep')
    more = {'experiment': name, 'runner': parsed.flags.runner, 'say': _say(parsed)}
    result = search(config, space, how, workdir, **more)
    if result.points:
        _end(result, workdir)
    else:
        print(f'the study has its {how.trials} trials: none was left for {workdir}')


def _end(result, workdir) -> None:
    _table(result.rows, workdir)
    plural = 's' * (result.compilations != 1)
    print(
        f'{len(result.points)} points, {result.compilations} compilation{plural} of the train step '
        f'({result.compile_seconds:.1f} s)'
    )
    _report(workdir)


def _shared(parsed: options.Options, config, points, name: str) -> None:
    """Processes here, or tasks of a cluster, each with a share of the points."""
    import jax

    from nnjax.ops.native import library
    from nnjax.sweep import shares

    values = parsed.flags
    if values.halving or values.population:
        raise UserError('lanes are compared side by side: processes apart cannot do that')
    workdir = values.workdir or options.fresh(f'{name}-sweep')
    workers = cluster.tasks(values, len(points)) if values.launcher else values.workers
    if gpus := shares.gpus():
        jax.config.update('jax_platforms', 'cpu')  # their memory is the workers'
    workers = workers or len(gpus) or library.threads()
    whole = shares.create(config, points, workdir, name, workers)
    if values.launcher:
        return cluster.submit(values, whole)
    shares.run(whole, values.config, workers, _say(parsed), gpus)
    _table(shares.collect(whole), workdir)
    _report(workdir)


def _share(parsed: options.Options) -> None:
    """What a process of `--runner=processes` or of a cluster does."""
    from nnjax.sweep import shares
    from nnjax.sweep.folder import SweepFolder

    whole = SweepFolder(options.required(parsed, 'workdir'))
    name, config = whole.config()
    points = shares.points(whole, parsed.flags.share)
    options.cores_as_devices()
    _lanes(parsed, config, points, shares.folder(whole, parsed.flags.share), name)


def _show(workdir: str) -> None:
    """Where a sweep stands."""
    from nnjax.sweep import shares, table
    from nnjax.sweep.folder import SweepFolder

    whole = SweepFolder(workdir)
    if 'shares' in whole.plan():
        cluster.show(whole)
        rows = shares.collect(whole)
    else:
        rows = table.rank(whole.points(), whole.records(), whole.ranking())
    _table(rows, workdir)
    _report(workdir)


def _say(parsed: options.Options):
    if parsed.flags.quiet:
        return lambda text: None
    return lambda text: print(text, file=sys.stderr)


def _table(rows, workdir) -> None:
    from nnjax.sweep import table
    from nnjax.sweep.folder import SweepFolder

    print(table.render(rows, SweepFolder(workdir).ranking()))


def _report(workdir) -> None:
    from nnjax import report

    print(f'report {report.write(workdir)}')
