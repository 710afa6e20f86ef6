"""writes what a run predicts for images, sounds, a folder of them, .npz, .npy or .csv

A CSV or JSON lines file, by its ending; standard output without --output. A field of the run's
config is changed for this once by --config.FIELD=VALUE, such as --config.tta='flip(1)'.
"""

import csv
import io
import json
import sys
from pathlib import Path

from absl import flags

from nnjax.cli import options
from nnjax.errors import UserError

ARGUMENTS = 'INPUT ...'
RESTORES = True  # fields given are those of a run folder's config


def define(values: flags.FlagValues) -> None:
    options.workdir_flag(values, 'run folder')
    options.config_flag(values)
    flags.DEFINE_string(
        'output', None, 'a .csv or .jsonl file; default: CSV on standard output', flag_values=values
    )
    flags.DEFINE_string(
        'checkpoint', 'best', "'best' on validation, 'last', or a step", flag_values=values
    )


def run(parsed: options.Options) -> None:
    workdir = options.required(parsed, 'workdir')
    if not parsed.arguments:
        raise UserError('name what to predict: image or sound files, a folder, a .npz, .npy or .csv file')
    output = parsed.flags.output and Path(parsed.flags.output)
    if output and output.suffix not in ('.csv', '.jsonl'):
        raise UserError(f'--output={output}: the name must end in .csv or .jsonl')
    options.compilation_cache()
    from nnjax.data import augment, files, spec
    from nnjax.data.augment import chain
    from nnjax.training import predict, restore

    made, state = restore.run(
        workdir, parsed.flags.checkpoint, parsed.flags.config, parsed.overrides
    )
    rate = chain.rate(spec.parse(made.config.augment, augment))
    source = made.dataset.train.spec
    names, arrays = files.read(parsed.arguments, source, made.dataset.columns, rate)
    rows = predict.rows(made, names, predict.predict(made, state, arrays))
    text = _jsonl(rows) if output and output.suffix == '.jsonl' else _csv(rows)
    if output:
        output.write_text(text)
        print(f'{len(rows)} predictions in {output}', file=sys.stderr)
    else:
        sys.stdout.write(text)


def _csv(rows: list[dict]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _jsonl(rows: list[dict]) -> str:
    return ''.join(json.dumps(row) + '\n' for row in rows)
