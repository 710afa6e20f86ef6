"""trains an experiment, or goes on from its run folder's last checkpoint

Writes the run folder: config.json, metrics.jsonl, environment.json, checkpoints/,
predictions/ and report.html.
"""

import os
import sys

from absl import flags

from nnjax.cli import options
from nnjax.errors import Diverged, Interrupted
from nnjax.readable import scores


def define(values: flags.FlagValues) -> None:
    options.config_flag(values)
    options.workdir_flag(
        values, 'run folder; default runs/EXPERIMENT/TIME. An existing one is resumed'
    )
    flags.DEFINE_boolean(
        'force', False, 'resume although the config differs from the saved one', flag_values=values
    )
    flags.DEFINE_boolean('tensorboard', False, 'also write TensorBoard events', flag_values=values)
    flags.DEFINE_boolean('quiet', False, 'no progress', flag_values=values)
    flags.DEFINE_string(
        'coordinator',
        None,
        'HOST:PORT where process 0 of several listens, and on PORT + 1',
        flag_values=values,
    )
    flags.DEFINE_integer('processes', None, 'how many processes train together', flag_values=values)
    flags.DEFINE_integer(
        'process',
        None,
        'which of them this is, from 0; srun and mpirun say all three by themselves',
        flag_values=values,
    )


def run(parsed: options.Options) -> None:
    spec = options.required(parsed, 'config')
    from nnjax.training import hosts

    given = parsed.flags
    with hosts.joined(hosts.find(given.coordinator, given.processes, given.process)):
        _run(spec, parsed)


def _run(spec: str, parsed: options.Options) -> None:
    from nnjax import config as configs

    config = configs.load(spec, parsed.overrides)
    name = configs.find(spec.partition(':')[0]).stem
    options.compilation_cache()
    from nnjax.training import hosts
    from nnjax.training.loop import train

    workdir = parsed.flags.workdir or hosts.agreed(str(options.fresh(name)))
    from nnjax import report

    first = hosts.first()
    if first and not parsed.flags.quiet:
        _say_if_slow()
    try:
        result = train(
            config,
            workdir,
            experiment=name,
            force=parsed.flags.force,
            tensorboard=parsed.flags.tensorboard,
            quiet=parsed.flags.quiet,
        )
    except (Diverged, Interrupted):
        if first:
            report.write(workdir)
        raise
    if not first:
        return
    if result.state is None:
        print(f'{workdir} is finished; a new --workdir starts again')
    path = report.write(workdir)
    final = result.records[-1]
    print(
        f'{final["split"]} {scores(final, most=3)}  '
        f'(best of step {final["best_step"]}, {final["seconds"]:.1f} s)'
    )
    print(f'report {path}')


def _say_if_slow() -> None:
    """One line where a CPU trains without the compiled kernels, unless that is wanted."""
    import jax

    from nnjax.ops.native import library

    if jax.default_backend() != 'cpu' or os.environ.get('NNJAX_NATIVE') == '0':
        return
    if why := library.load().why:
        print(f'nnjax: slower without the CPU kernels: {why}', file=sys.stderr)
