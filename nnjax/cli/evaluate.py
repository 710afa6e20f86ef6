"""scores a run folder's parameters on a split

Prints JSON: the averages of the loss and the task's metrics, and the task's scores. A field of
the run's config is changed for this once by --config.FIELD=VALUE, such as --config.tta='flip(1)'.
"""

import json

from absl import flags

from nnjax.cli import options
from nnjax.errors import UserError

RESTORES = True  # fields given are those of a run folder's config


def define(values: flags.FlagValues) -> None:
    options.workdir_flag(values, 'run folder')
    options.config_flag(values)
    flags.DEFINE_enum(
        'split', 'test', ['train', 'valid', 'test'], 'split to score', flag_values=values
    )
    flags.DEFINE_string(
        'checkpoint', 'best', "'best' on validation, 'last', or a step", flag_values=values
    )


def run(parsed: options.Options) -> None:
    options.compilation_cache()
    from nnjax.training import evaluate, restore

    made, state = restore.run(
        options.required(parsed, 'workdir'),
        parsed.flags.checkpoint,
        parsed.flags.config,
        parsed.overrides,
    )
    source = getattr(made.dataset, parsed.flags.split)
    if source is None:
        raise UserError(f'--split={parsed.flags.split}: the data of this run has no such split')
    evaluator = evaluate.Evaluator(made, source)
    metrics = evaluator(state) | evaluate.score(made, evaluator.predictions(state))
    print(json.dumps({'split': parsed.flags.split, 'examples': len(source), **metrics}, indent=2))
