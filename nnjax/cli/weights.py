"""brings parameters from PyTorch's files, or writes a run's for PyTorch

nnjax weights import FILE.safetensors --model=NAME    writes a file that nnjax starts from
nnjax weights export --workdir=RUN --output=FILE      writes a run's parameters

Names of models and tensors are torchvision's and timm's (VGG, GoogLeNet, ResNet, ViT); a model of
another kind is exported in nnjax's own names. Pickles (.pt, .pth, .bin) are never read.
"""

from pathlib import Path

from absl import flags

from nnjax.cli import options
from nnjax.errors import UserError, unknown

ARGUMENTS = 'import FILE | export'


def define(values: flags.FlagValues) -> None:
    options.config_flag(values)
    options.workdir_flag(values, 'run folder (export)')
    flags.DEFINE_string(
        'model', None, "torchvision's or timm's name, such as resnet50 (import)", flag_values=values
    )
    flags.DEFINE_integer(
        'image',
        None,
        "side of the images in pixels, if not the model's own: a ViT's positions are resampled "
        '(import)',
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_string(
        'output', None, 'file; default FILE.nnjax.safetensors (import)', flag_values=values
    )
    flags.DEFINE_string(
        'checkpoint', 'best', "'best' on validation, 'last', or a step (export)", flag_values=values
    )


def run(parsed: options.Options) -> None:
    action, *names = parsed.arguments or ['']
    if action == 'import':
        if len(names) != 1:
            raise UserError('nnjax weights import FILE.safetensors --model=NAME: name one file')
        _import(Path(names[0]), parsed)
    elif action == 'export' and not names:
        _export(parsed)
    else:
        raise unknown('nnjax weights action', ' '.join(parsed.arguments), ('import FILE', 'export'))


def _import(path: Path, parsed: options.Options) -> None:
    name = options.required(parsed, 'model')
    from nnjax.weights import file, pytorch, variables

    output = options.file(parsed, 'output', file.SUFFIX) or path.with_suffix(f'.nnjax{file.SUFFIX}')
    tensors = file.read(path)
    model, (side, _, channels) = pytorch.model(name, tensors)
    side = parsed.flags.image or side
    found = variables.fit(path, tensors, model, (side, side, channels))
    variables.save(output, found)
    print(f'{variables.describe(model)} for {side}x{side}x{channels} images in {output}')
    print(pytorch.pixels(model))


def _export(parsed: options.Options) -> None:
    workdir = options.required(parsed, 'workdir')
    options.required(parsed, 'output')
    from nnjax import weights
    from nnjax.training import restore
    from nnjax.weights import file

    output = options.file(parsed, 'output', file.SUFFIX)
    made, state = restore.run(
        workdir, parsed.flags.checkpoint, parsed.flags.config, parsed.overrides, data=False
    )
    model = made.program.model
    weights.save(output, {'params': state.best_params, **state.model_state}, model)
    print(f'parameters of {type(model).__name__} in {output}')
