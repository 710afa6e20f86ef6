"""Reads sound files in windows with a trained run of tasks.ctc and prints each word as it ends.

python experiments/examples/listen.py --workdir=runs/spoken FILE ...

How long each file took is said on standard error; the first file pays for the compilation, so that
a file named twice tells the real-time factor.
"""

import sys
import time

from absl import app, flags, logging

from nnjax.analysis import listening
from nnjax.data import sounds
from nnjax.errors import UserError
from nnjax.training import restore

WORKDIR = flags.DEFINE_string('workdir', None, 'run folder', required=True)
WINDOW = flags.DEFINE_float('window', 4.0, 'seconds that are read at a time')
CONTEXT = flags.DEFINE_float('context', None, "seconds to either side; default: the model's reach")


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # libraries speak of what they close
    try:
        _check(arguments[1:])
        made, state = restore.run(WORKDIR.value, data=False)
        rate = listening.rate(made)
        for number, path in enumerate(arguments[1:]):
            x = sounds.decode(path, rate)
            begun = time.perf_counter()
            for word in listening.words(made, state, x, WINDOW.value, CONTEXT.value):
                print(f'{word.start:8.2f} {word.end:8.2f}  {word.text}', flush=True)
            spent, seconds = time.perf_counter() - begun, len(x) / rate
            print(
                f'{path}: {seconds:.1f} s of sound in {spent:.2f} s, {spent / seconds:.4f} of its '
                f'time{"" if number else ", compilation included"}',
                file=sys.stderr,
            )
    except UserError as error:
        sys.exit(f'listen: {error}')


def _check(files: list[str]) -> None:
    if not files:
        raise UserError('name a sound file')
    for path in files:
        sounds.header(path)
    if not WINDOW.value > 0:
        raise UserError(f'--window={WINDOW.value:g}: expected more than 0 seconds')
    if CONTEXT.value is not None and not CONTEXT.value >= 0:
        raise UserError(f'--context={CONTEXT.value:g}: expected 0 seconds or more')


if __name__ == '__main__':
    app.run(main)
