"""trains many points of an experiment as one program and ranks them

The points are the experiment's own, from sweep() beside get_config(), or are given here:
--grid optim.lr=0.01,0.03 --grid task.smoothing=0,0.1 makes every combination,
--random 'optim.lr=log(1e-4,1e-1)' --points 64 fills a space; --seeds 5 runs each five times.
Writes the sweep folder: sweep.json, metrics.jsonl, checkpoints, the winner's run folder best/
and report.html. The same command goes on where it stopped.
"""

import sys

from absl import flags

from nnjax.cli import options
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
    flags.DEFINE_string('rung', '5%', 'the first rung of --halving', flag_values=values)
    flags.DEFINE_string(
        'population',
        None,
        'population-based training: time between two exchanges',
        flag_values=values,
    )
    flags.DEFINE_boolean('quiet', False, 'no progress', flag_values=values)


def run(parsed: options.Options) -> None:
    spec = options.required(parsed, 'config')
    from nnjax import config as configs
    from nnjax.cli import given

    config = configs.load(spec, parsed.overrides)
    name = configs.find(spec.partition(':')[0]).stem
    points = given.points(config, spec, parsed.flags)
    options.compilation_cache()
    options.cores_as_devices()
    from nnjax import report
    from nnjax.sweep import rungs, table
    from nnjax.sweep.sweep import sweep

    workdir = parsed.flags.workdir or options.fresh(f'{name}-sweep')
    say = (lambda text: None) if parsed.flags.quiet else lambda text: print(text, file=sys.stderr)
    halving = parsed.flags.halving and rungs.Halving(parsed.flags.halving, parsed.flags.rung)
    population = parsed.flags.population and rungs.Population(parsed.flags.population)
    if halving and population:
        raise UserError('--halving drops lanes, --population copies them: choose one')
    result = sweep(
        config,
        points,
        workdir,
        experiment=name,
        runner=parsed.flags.runner,
        halving=halving,
        population=population,
        say=say,
    )
    print(table.render(result.rows, configs.schema.best(config.best)))
    print(
        f'{len(result.points)} points, {result.compilations} compilations of the train step '
        f'({result.compile_seconds:.1f} s)'
    )
    print(f'report {report.write(workdir)}')
