"""writes what a run says of images, sounds, tables, lines of text or other files

Images and sounds are files or a folder; arrays .npz or .npy; tables .csv; texts a file of lines, '-' for
standard input, or fields of .jsonl, .tsv and .csv. The answer is a CSV or JSON lines file, or lines
of text alone, by its ending; CSV on standard output without --output. A box is [top, left, bottom,
right] in shares of the picture as the model sees it, scaled to cover its input and cut about the
centre. A field of the run's config is changed for this once by --config.FIELD=VALUE, such as
--config.tta='flip(1)'. --pair and --gallery decide at the score where both errors were equal on
validation when the run ended.
"""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
from absl import flags

from nnjax import texts
from nnjax.cli import matching, options
from nnjax.errors import UserError

ARGUMENTS = 'INPUT ...'
RESTORES = True  # fields given are those of a run folder's config


def define(values: flags.FlagValues) -> None:
    options.workdir_flag(values, 'run folder')
    options.config_flag(values)
    flags.DEFINE_string(
        'output',
        None,
        'a .csv, .jsonl or .txt file; default: CSV on standard output',
        flag_values=values,
    )
    flags.DEFINE_multi_string(
        'text', [], "FIELD=TEXT of one example, such as question='Where is it?'", flag_values=values
    )
    flags.DEFINE_bool(
        'pair', False, 'say whether the two inputs are of one identity', flag_values=values
    )
    flags.DEFINE_string(
        'gallery',
        None,
        'a folder or file: the five in it nearest to each input',
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
    if not parsed.arguments and not parsed.flags.text:
        raise UserError('name what to predict: files or a folder; see nnjax predict --help')
    if parsed.arguments and parsed.flags.text:
        raise UserError(f'{parsed.arguments[0]} and --text: choose files or what is typed')
    output = options.file(parsed, 'output', *WRITERS)
    picture = options.file(parsed, 'picture', '.png')
    matching.check(parsed)
    options.compilation_cache()
    from nnjax.training import folder, predict, restore

    made, state = restore.run(
        workdir,
        parsed.flags.checkpoint,
        parsed.flags.config,
        parsed.overrides,
        data=False,
    )
    if parsed.flags.text:
        names, arrays = _typed(parsed.flags.text, made)
    else:
        names, arrays = _read(parsed.arguments, made)
    gallery = _read([parsed.flags.gallery], made) if parsed.flags.gallery else None
    found = predict.predict(made, state, arrays)
    if parsed.flags.pair or parsed.flags.gallery:
        rows = matching.rows(folder.RunFolder(workdir), made, state, names, found, gallery)
    else:
        rows = predict.rows(made, names, found)
    if picture:
        _draw(picture, arrays.get('image'), rows)
    text = WRITERS[output.suffix if output else '.csv'](rows)
    if output:
        folder.write(output, text)
        print(f'{len(rows)} predictions in {output}', file=sys.stderr)
    else:
        sys.stdout.write(text)


def _typed(given: list[str], made):
    """'FIELD=TEXT' ... -> (the name of the example, raw arrays)."""
    from nnjax.data.text import inputs

    spec = made.dataset.train.spec
    if 'audio' in spec or not texts.fields(spec):
        raise UserError('--text: this run takes no texts')
    return inputs.typed(given, spec)


def _read(named: list[str], made):
    """Files and folders -> (a name each, raw arrays)."""
    from nnjax.data import augment, files, recordings
    from nnjax.data import spec as specs
    from nnjax.data.augment import chain
    from nnjax.data.text import inputs

    data, spec = made.dataset, made.dataset.train.spec
    if 'audio' in spec and not recordings.are_arrays(named, spec):
        rate = chain.rate(specs.parse(made.config.augment, augment))
        return recordings.read(named, spec, rate)
    if texts.fields(spec) and 'image' not in spec:  # a file's name may be a text
        task = made.config.task
        return inputs.read(named, spec, task.get('source') or task.get('input') or '')
    names, arrays = files.read(named, spec, data.columns, data.categories)
    if 'impute' not in made.config.prepare:
        files.complete(names, arrays)
    return names, arrays


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
    return ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)


def _lines(rows: list[dict]) -> str:
    """The text, or class, that is predicted of each, and nothing else."""
    name = next((n for n, value in rows[0].items() if n != 'input' and isinstance(value, str)), '')
    if not name:
        raise UserError('a .txt file is for texts and classes: take .csv or .jsonl')
    return ''.join(row[name].replace('\n', ' ') + '\n' for row in rows)


WRITERS = {'.csv': _csv, '.jsonl': _jsonl, '.txt': _lines}
