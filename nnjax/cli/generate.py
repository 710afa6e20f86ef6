"""goes on with a text, by a run of a language model; draws pictures, by a variational autoencoder

Prints the prompt and what follows it, once for each of --samples, or writes the pictures that
--output names. The same --seed gives the same ones.
"""

from pathlib import Path

from absl import flags

from nnjax.cli import options
from nnjax.errors import UserError

RESTORES = True  # fields given are those of a run folder's config


def define(values: flags.FlagValues) -> None:
    options.workdir_flag(values, 'run folder')
    options.config_flag(values)
    flags.DEFINE_string('prompt', '', 'the beginning of the text', flag_values=values)
    flags.DEFINE_integer('length', 200, 'tokens to go on with', flag_values=values)
    flags.DEFINE_integer('samples', 1, 'how many texts or pictures', flag_values=values)
    flags.DEFINE_string(
        'output', None, 'where pictures go: a .png, or a .npy of numbers', flag_values=values
    )
    flags.DEFINE_float(
        'temperature', 1.0, 'divides the logits; 0 takes the likeliest token', flag_values=values
    )
    flags.DEFINE_integer(
        'top_k', 0, 'draw from so many likeliest tokens; 0 is all', flag_values=values
    )
    flags.DEFINE_float(
        'top_p', 1.0, 'draw from the fewest tokens of this probability', flag_values=values
    )
    flags.DEFINE_integer('seed', 0, 'of the draws', flag_values=values)
    flags.DEFINE_string(
        'checkpoint', 'best', "'best' on validation, 'last', or a step", flag_values=values
    )


def run(parsed: options.Options) -> None:
    workdir, given = options.required(parsed, 'workdir'), parsed.flags
    for name in ('length', 'samples'):
        if given[name].value < 1:
            raise UserError(f'--{name}={given[name].value}: expected 1 or more')
    for name in ('temperature', 'top_k', 'seed'):
        if given[name].value < 0:
            raise UserError(f'--{name}={given[name].value}: expected 0 or more')
    if given.seed >= 2**32:
        raise UserError(f'--seed={given.seed}: expected {2**32 - 1} at most')
    if not 0 < given.top_p <= 1:
        raise UserError(f'--top_p={given.top_p}: expected more than 0, and 1 at most')
    output = options.file(parsed, 'output', '.png', '.npy')
    options.compilation_cache()
    from nnjax.training import generate, restore

    made, state = restore.run(workdir, given.checkpoint, given.config, parsed.overrides, data=False)
    if made.task.draw:
        if given.prompt:
            raise UserError(f'--prompt={given.prompt!r}: this run draws examples, it reads no text')
        if not output:
            raise UserError('this run draws examples: say where they go, --output=samples.png')
        _write(output, generate.examples(made, state, given.samples, given.seed))
        return
    if output:
        raise UserError(f'--output={output}: this run draws no examples, it writes text')
    found = generate.generate(
        made,
        state,
        given.prompt,
        given.length,
        given.samples,
        given.temperature,
        given.top_k,
        given.top_p,
        given.seed,
    )
    print('\n\n'.join(given.prompt + text for text in found))


def _write(path: Path, drawn) -> None:
    """Drawn examples [N, ...] as a sheet of pictures or as an array."""
    import numpy as np

    from nnjax.report import sheet

    if path.suffix == '.npy':
        np.save(path, drawn)
    elif drawn.ndim == 4:
        sheet.write(path, drawn, [''] * len(drawn))
    else:
        raise UserError(f'--output={path}: what this run draws are no images: take a .npy')
    print(f'{len(drawn)} drawn examples: {path}')
