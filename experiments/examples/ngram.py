"""Counts an n-gram of symbols for the beam search of a run of tasks.ctc, in texts.

python experiments/examples/ngram.py --workdir=runs/spoken --output=spoken.npy
python experiments/examples/ngram.py --workdir=runs/spoken --output=spoken.npy lines.txt
nnjax evaluate --workdir=runs/spoken --config.task.decoder=beam --config.task.ngram=spoken.npy

Without files the texts are the training split's. Choose task.ngram_weight and task.bonus by
--split=valid.
"""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags, logging

from nnjax.analysis import ngram
from nnjax.errors import UserError
from nnjax.training import restore

WORKDIR = flags.DEFINE_string('workdir', None, 'run folder', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'the .npy file', required=True)
ORDER = flags.DEFINE_integer('order', 4, 'symbols that are counted together')


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # libraries speak of what they close
    try:
        if not OUTPUT.value.endswith('.npy'):
            raise UserError(f'--output={OUTPUT.value}: expected a .npy file')
        made, _ = restore.run(WORKDIR.value, data=not arguments[1:])
        files = [Path(name).read_text(encoding='utf-8') for name in arguments[1:]]
        lines = [line for text in files for line in text.split('\n')] if files else None
        np.save(OUTPUT.value, ngram.counted(made, ORDER.value, lines))
    except (UserError, OSError, UnicodeDecodeError) as error:
        sys.exit(f'ngram: {error}')
    print(OUTPUT.value)


if __name__ == '__main__':
    app.run(main)
