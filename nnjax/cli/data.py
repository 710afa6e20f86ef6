"""prepares a data set, or shows an experiment's batches

nnjax data prepare NAME [--source=FOLDER]    prepares NAME for training
nnjax data show --config=EXPERIMENT          a picture of an augmented training batch of images or
                                             sounds; of texts, their lines
nnjax data show --config=EXPERIMENT --operations    ... of what each operation does to its images
"""

import json
from pathlib import Path

import numpy as np
from absl import flags

from nnjax.cli import options
from nnjax.errors import UserError, unknown

ARGUMENTS = 'prepare NAME | show'
ENLARGED = 160  # pixels across a picture with boxes, about
ACROSS = 2048  # pixels of a row of pictures, about
MOST = 64  # numbers of an array that are printed
PAIRS, WIDE = 4, 144  # of examples for each operation; pixels across one: its name fits below


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
    flags.DEFINE_bool(
        'operations',
        False,
        'a row for each operation there is, with its defaults (show)',
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
    from nnjax.report import pictures, scenes, sheet
    from nnjax.training import feed
    from nnjax.training.setup import setup

    config = configs.load(spec, parsed.overrides)
    made = setup(config)
    step = parsed.flags.step
    image = 'image' in made.example and len(made.example['image'][0]) == 3
    if parsed.flags.output and not image and 'audio' not in made.example:
        raise UserError(f'--output={parsed.flags.output}: {spec} has nothing to draw; leave it out')
    output = options.file(parsed, 'output', '.png')
    output = output or Path(f'{configs.find(spec.partition(":")[0]).stem}.png')
    if parsed.flags.operations:
        if not image:
            raise UserError(
                f'--operations draws what changes images, {spec} has none (it has: '
                f'{", ".join(made.example)})'
            )
        rows = feed.operations(made, step, PAIRS)
        images = np.concatenate([pictures.pixels(images) for images in rows.values()])
        captions = [name or 'prepared' for name in rows for _ in rows[name]]
        scale = max(1, round(WIDE / images.shape[2]))
        sheet.write(output, images, captions, columns=len(rows['']), scale=scale)
        print(f'{len(rows) - 1} operations on examples of step {step} in {output}')
        return
    batch = feed.augmented(made, step, parsed.flags.examples)
    images = pictures.pixels(batch['image']) if image else _spectrograms(batch)
    if images is None:
        if not made.prepare.vocabularies:
            raise UserError(f'{spec} has no images or texts to show ({", ".join(made.example)})')
        _tell(made, batch)
        return
    names = made.dataset.labels
    if 'boxes' in batch:
        labels = batch.get(config.task.get('label'), [''] * len(images))
        objects = [scenes.truth(*pair, names) for pair in zip(batch['boxes'], labels)]
        images = np.stack([scenes.drawn(*pair, wide=ENLARGED) for pair in zip(images, objects)])
        captions = [f'{len(boxes)} objects' for boxes in objects]
    else:
        captions = _captions(made, batch)
    columns = max(1, min(8, ACROSS // images.shape[2]))
    sheet.write(output, images, captions, columns=columns)
    print(f'{len(captions)} examples of step {step} in {output}')


def _spectrograms(batch) -> np.ndarray | None:
    """A batch's features of sounds as images [N, bands, frames, 1], low bands below, if it has any."""
    from nnjax.report import pictures

    features = batch.get('audio', np.zeros(0))
    if features.ndim not in (3, 4):
        return None
    features = features if features.ndim == 4 else features[..., None]
    return pictures.pixels(features.swapaxes(1, 2)[:, ::-1])


def _tell(made, batch) -> None:
    """Prints the examples of a batch as JSON lines, token ids as texts, of large arrays the shape."""
    written = _texts(made, batch)
    for row in range(len(batch['mask'])):
        other = {n: _brief(a[row]) for n, a in batch.items() if n not in written and n != 'mask'}
        own = {n: texts[row] for n, texts in written.items()}
        print(json.dumps({**own, **other}, ensure_ascii=False))


def _texts(made, batch) -> dict[str, list[str]]:
    """The texts of a batch's token ids, by field."""
    known = made.prepare.vocabularies
    return {n: v.decode(batch[n]).tolist() for n, v in known.items() if n in batch}


def _brief(array: np.ndarray):
    return array.tolist() if array.size <= MOST else f'{array.dtype} {list(array.shape)}'


def _captions(made, batch) -> list[str]:
    """Each example's class or text; '' where it has neither."""
    label = made.config.task.get('label')
    if label in batch and label not in made.prepare.vocabularies:
        return [_caption(one, made.dataset.labels) for one in batch[label]]
    return next(iter(_texts(made, batch).values()), [''] * len(batch['mask']))


def _caption(label, names: tuple[str, ...]) -> str:
    """A class, or shares of several: '0.7 shirt 0.3 bag'."""
    if not np.ndim(label):
        return names[int(label)] if names else str(label)
    shares = [(label[n], names[n] if names else str(n)) for n in np.argsort(-label, kind='stable')]
    return ' '.join(f'{share:.1f} {name}' for share, name in shares if share >= 0.05)
