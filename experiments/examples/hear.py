"""Pictures of a run of sounds: its scores against noise, or the symbols it hears frame by frame.

python experiments/examples/hear.py --workdir=runs/commands --output=noise.svg
python experiments/examples/hear.py --workdir=runs/digits --output=heard.svg FILE
"""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags

from nnjax.analysis import hearing
from nnjax.data import augment, sounds, spec
from nnjax.data.augment import chain
from nnjax.errors import UserError
from nnjax.report import charts
from nnjax.training import restore

WORKDIR = flags.DEFINE_string('workdir', None, 'run folder', required=True)
OUTPUT = flags.DEFINE_string('output', None, 'the .svg file', required=True)
RATIOS = flags.DEFINE_list('ratios', [-5, 0, 5, 10, 15, 20, 30], 'decibels')
STYLE = (
    '<style>svg{font:12px sans-serif;background:#fff}path,line,polyline{fill:none;stroke:#888}'
    '.curve path,path.curve{stroke:#2563eb;stroke-width:2}</style>'
)
LIKELY = 0.1  # symbols that never reach it are not drawn


def main(arguments: list[str]) -> None:
    try:
        made, state = restore.run(WORKDIR.value)
        if arguments[1:]:
            rate = chain.rate(spec.parse(made.config.augment, augment))
            x = sounds.decode(arguments[1], rate)
            logs, names = hearing.alignment(made, state, x)
            seconds = np.linspace(0, len(x) / rate, len(logs)).tolist()
            shown = [n for n in range(1, len(names)) if np.exp(logs[:, n].max()) > LIKELY]
            curves = [
                charts.Curve(
                    names[n] if names[n].strip() else 'space', seconds, np.exp(logs[:, n]).tolist()
                )
                for n in shown
            ]
            label, unit = 'probability of each symbol', 's'
        else:
            ratios = [float(ratio) for ratio in RATIOS.value]
            found = hearing.noise_curve(made, state, made.dataset.test, ratios)
            name = 'accuracy' if 'accuracy' in found[ratios[0]] else 'wer'
            values = [found[ratio][name] for ratio in ratios]
            for ratio, value in zip(ratios, values):
                print(f'{ratio:6.1f} dB  {name} {value:.4f}')
            curves = [charts.Curve(name, ratios, values)]
            label, unit = f'{name} against the signal-to-noise ratio', 'dB'
        drawn = str(charts.lines(curves, label, unit, (720, 320)))
    except UserError as error:
        sys.exit(f'hear: {error}')
    if 'xmlns' not in drawn:
        drawn = drawn.replace('<svg', '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    Path(OUTPUT.value).write_text(drawn.replace('>', f'>{STYLE}', 1))
    print(OUTPUT.value)


if __name__ == '__main__':
    app.run(main)
