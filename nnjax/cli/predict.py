"""writes class and probability, or boxes, for image files, a folder, .npz, .npy or .csv

A CSV or JSON lines file, by its ending; standard output without --output. A box is [top, left,
bottom, right] in shares of the picture as the model sees it: scaled to cover the size of its input
and cut about the centre; --picture draws it. A field of the run's
config is changed for this once by --config.FIELD=VALUE, such as --config.tta='flip(1)'.
"""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
from absl import flags

from nnjax.cli import matching, options
from nnjax.errors import UserError

ARGUMENTS = 'INPUT ...'
RESTORES = True  # fields given are those of a run folder's config


def define(values: flags.FlagValues) -> None:
    options.workdir_flag(values, 'run folder')
    options.config_flag(values)
    flags.DEFINE_string(
        'output', None, 'a .csv or .jsonl file; default: CSV on standard output', flag_values=values
    )
    flags.DEFINE_bool(
        'pair',
        False,
        'the two inputs are a pair: its score, and whether both are one identity',
        flag_values=values,
    )
    flags.DEFINE_string(
        'gallery',
        None,
        'a folder, array or table: the five nearest in it to each input',
        flag_values=values,
    )
    flags.DEFINE_string(
        'picture', None, 'a .png of the images and what is predicted of them', flag_values=values
    )
    flags.DEFINE_string(
        'checkpoint', 'best', "'best' on validation, 'last', or a step", flag_values=values
    )


def run(parsed: options.Options) -> None:
    workdir = options.required(parsed, 'workdir')
    if not parsed.arguments:
        raise UserError('name what to predict: image files, a folder, a .npz, .npy or .csv file')
    output = parsed.flags.output and Path(parsed.flags.output)
    if output and output.suffix not in ('.csv', '.jsonl'):
        raise UserError(f'--output={output}: the name must end in .csv or .jsonl')
    matching.check(parsed)
    picture = parsed.flags.picture and Path(parsed.flags.picture)
    if picture and picture.suffix != '.png':
        raise UserError(f'--picture={picture}: the name must end in .png')
    options.compilation_cache()
    from nnjax.data import files
    from nnjax.training import predict, restore

    made, state = restore.run(
        workdir, parsed.flags.checkpoint, parsed.flags.config, parsed.overrides
    )
    images, data = {}, made.dataset

    def read(inputs):
        names, arrays = files.read(inputs, data.train.spec, data.columns, data.categories)
        if 'impute' not in made.config.prepare:
            files.complete(names, arrays)
        images.setdefault('first', arrays.get('image'))
        return names, predict.predict(made, state, arrays)

    names, found = read(parsed.arguments)
    if parsed.flags.pair or parsed.flags.gallery:
        rows = matching.rows(parsed, made, state, names, found, read)
    else:
        rows = predict.rows(made, names, found)
    if picture:
        _draw(picture, images['first'], rows)
    text = _jsonl(rows) if output and output.suffix == '.jsonl' else _csv(rows)
    if output:
        output.write_text(text)
        print(f'{len(rows)} predictions in {output}', file=sys.stderr)
    else:
        sys.stdout.write(text)


def _draw(path: Path, images, rows: list[dict]) -> None:
    """A sheet of the images, each with its class and probability, or with its boxes."""
    from nnjax.report import pictures, scenes, sheet

    if images is None or images.ndim != 4:
        raise UserError(f'--picture={path}: this run takes no images')
    images = pictures.pixels(images)
    if 'objects' not in rows[0]:
        captions = [' '.join(str(v) for k, v in row.items() if k != 'input') for row in rows]
        sheet.write(path, images, captions)
        return
    drawn = [scenes.drawn(i, (), scenes.objects(r['objects'])) for i, r in zip(images, rows)]
    sheet.write(path, np.stack(drawn), [Path(row['input']).name for row in rows], scale=1)


def _csv(rows: list[dict]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows({n: _cell(v) for n, v in row.items()} for row in rows)
    return buffer.getvalue()


def _cell(value):
    """Lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _jsonl(rows: list[dict]) -> str:
    return ''.join(json.dumps(row) + '\n' for row in rows)
