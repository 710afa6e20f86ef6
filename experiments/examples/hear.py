"""Adds pictures to the report of a run of sounds: its scores against noise, or what it hears where.

python experiments/examples/hear.py --workdir=runs/commands
python experiments/examples/hear.py --workdir=runs/spoken FILE ...

The first adds white noise to the test split, the second draws the symbols of a run of tasks.ctc in
every frame of each sound file.
"""

import sys
from pathlib import Path

from absl import app, flags, logging

from nnjax.analysis import hearing, listening
from nnjax.data import sounds
from nnjax.errors import UserError
from nnjax.report import page
from nnjax.training import restore

WORKDIR = flags.DEFINE_string('workdir', None, 'run folder', required=True)
RATIOS = flags.DEFINE_list('ratios', ['inf', 20, 15, 10, 5, 0, -5], 'decibels; inf is no noise')


def main(arguments: list[str]) -> None:
    logging.set_verbosity(logging.ERROR)  # libraries speak of what they close
    folder = Path(WORKDIR.value)
    try:
        ratios = [_ratio(text) for text in RATIOS.value]
        for path in arguments[1:]:
            sounds.header(path)
        made, state = restore.run(WORKDIR.value, data=not arguments[1:])
        if arguments[1:]:
            rate = listening.rate(made)
            found = {}
            for path in map(Path, arguments[1:]):
                x = sounds.decode(path, rate)
                logs, names = hearing.alignment(made, state, x)
                found[path.name] = hearing.drawn(logs, names, len(x) / rate)
                print(f'{path}: {found[path.name]["transcript"]}')
            hearing.save(folder, alignments=found)
        else:
            if made.dataset.test is None:
                raise UserError(f'{folder}: the data of this run has no test split')
            found = hearing.noise_curve(made, state, made.dataset.test, ratios)
            for ratio, scores in found.items():
                print(
                    f'{ratio:6.1f} dB ',
                    *(f'{n} {v:.4f}' for n, v in scores.items() if '/' not in n),
                )
            hearing.save(folder, noise=found)
        print(page.write(folder))
    except UserError as error:
        sys.exit(f'hear: {error}')


def _ratio(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f'--ratios: {text!r} is no number of decibels, nor inf') from None


if __name__ == '__main__':
    app.run(main)
