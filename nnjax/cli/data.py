"""prepares a data set, or draws a picture of an experiment's batches

nnjax data prepare NAME [--source=FOLDER]    prepares NAME for training
nnjax data show --config=EXPERIMENT          writes a picture of an augmented training batch
"""

from pathlib import Path

from absl import flags

from nnjax.cli import options
from nnjax.errors import UserError, unknown

ARGUMENTS = 'prepare NAME | show'


def define(values: flags.FlagValues) -> None:
    options.config_flag(values)
    flags.DEFINE_string(
        'source', None, 'folder of the original files (prepare)', flag_values=values
    )
    flags.DEFINE_string('data_dir', None, 'where prepared data goes', flag_values=values)
    flags.DEFINE_string(
        'output', None, 'picture file (show); default EXPERIMENT.png', flag_values=values
    )
    flags.DEFINE_integer(
        'examples',
        64,
        'examples in the picture (show)',
        lower_bound=1,
        upper_bound=4096,
        flag_values=values,
    )
    flags.DEFINE_integer(
        'step', 0, 'training step to draw (show)', lower_bound=0, flag_values=values
    )


def run(parsed: options.Options) -> None:
    action, *names = parsed.arguments or ['']
    if action == 'prepare':
        if len(names) != 1:
            raise UserError('nnjax data prepare NAME: name one data set')
        from nnjax.data import builders

        print(builders.prepare(names[0], parsed.flags.data_dir, parsed.flags.source))
    elif action == 'show' and not names:
        _show(parsed)
    else:
        raise unknown('nnjax data action', ' '.join(parsed.arguments), ('prepare NAME', 'show'))


def _show(parsed: options.Options) -> None:
    spec = options.required(parsed, 'config')
    from nnjax import config as configs
    from nnjax.report import sheet
    from nnjax.training import feed
    from nnjax.training.setup import setup

    config = configs.load(spec, parsed.overrides)
    output = Path(parsed.flags.output or f'{configs.find(spec.partition(":")[0]).stem}.png')
    if output.suffix != '.png':
        raise UserError(f'--output={output}: the picture is a .png')
    made = setup(config)
    batch = feed.augmented(made, parsed.flags.step, parsed.flags.examples)
    if batch.get('image') is None or batch['image'].ndim != 4:
        raise UserError(f'{spec} has no images to show (fields: {", ".join(made.example)})')
    labels = made.dataset.labels
    captions = [labels[int(i)] if labels else str(int(i)) for i in batch['label']]
    sheet.write(output, batch['image'], captions)
    print(f'{len(captions)} examples of step {parsed.flags.step} in {output}')
