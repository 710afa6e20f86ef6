"""prints a model's layers and a run's FLOPs, memory and time, before any data is read

Time is that of the compiled step on zeros here, times the steps; --time=false leaves it out.
"""

from absl import flags

from nnjax.cli import options


def define(values: flags.FlagValues) -> None:
    options.config_flag(values)
    flags.DEFINE_boolean('time', True, 'measure the step', flag_values=values)


def run(parsed: options.Options) -> None:
    spec = options.required(parsed, 'config')
    from nnjax import config as configs

    config = configs.load(spec, parsed.overrides)
    options.compilation_cache()
    from nnjax.analysis import cost, cost_table

    print(cost_table.render(*cost.of_config(config, measure=parsed.flags.time)))
