"""Features and a training step of sound, beside PyTorch on the same work, in one run.

python experiments/benchmarks/cpu_speech.py --rounds=5

Both sides take int16 seconds of sound at 16 kHz, make 40 log-mel bands as often as the recipe, less
their mean, step its network with AdamW, and average the parameters of the VGG as its recipe does.
PyTorch's networks are channels_last, which is its faster layout here.
"""

import statistics
import time

import jax
import numpy as np
from absl import app, flags
from sizes import BANDS, HOP, RATE, WORDS

from nnjax import config as configs
from nnjax.config import bind
from nnjax.data import sources
from nnjax.training.run import Run
from nnjax.training.setup import setup

ROUNDS = flags.DEFINE_integer('rounds', 5, 'times that both sides are measured in turn')
STEPS = flags.DEFINE_integer('steps', 20, 'steps a measurement')
RECIPES = flags.DEFINE_list('recipes', ['mlp', 'vgg'], 'networks to train')
BATCH = 64


def ours(recipe: str, sounds: np.ndarray, labels: np.ndarray):
    """A function that takes so many steps of the experiment's network by nnjax's own loop."""
    c = configs.load(f'commands_{recipe}')
    c.unlock()
    c.total = c.log_every = c.eval_every = '100000000 steps'
    rows = {'audio': sounds, 'label': labels.astype(np.int32)}
    c.data = bind(sources.Arrays, train=rows, valid=None)
    c.augment = f'log_mel({BANDS}, hop={HOP[recipe]}) | cmvn(deviation=False)'
    c.augment += ' | picture' if recipe == 'vgg' else ''
    c.optim.warmup = '0 steps'
    c.lock()
    run = Run(setup(c), None, '', quiet=True)

    def steps(count: int) -> None:
        until = run.step + count
        while run.step < until:
            run.advance(until)
        jax.block_until_ready(run.carry)

    return steps


def measured(function, count: int) -> float:
    """Steps a second."""
    begun = time.perf_counter()
    function(count)
    return count / (time.perf_counter() - begun)


def main(_) -> None:
    from torch_speech import theirs

    rng = np.random.default_rng(0)
    sounds = (rng.standard_normal((512, RATE)) * 3000).astype(np.int16)
    labels = rng.integers(0, WORDS, 512)
    for recipe in RECIPES.value:
        sides = {
            'PyTorch': theirs(recipe, BATCH, sounds, labels),
            'nnjax': ours(recipe, sounds, labels),
        }
        found = {name: [] for name in sides}
        for side in sides.values():
            side(3)
        for _ in range(ROUNDS.value):
            for name, side in sides.items():
                found[name].append(measured(side, STEPS.value))
        middle = {name: statistics.median(values) for name, values in found.items()}
        ratio = statistics.median(a / b for a, b in zip(found['nnjax'], found['PyTorch']))
        rates = ', '.join(f'{name} {value:.1f}' for name, value in middle.items())
        print(f'{recipe}, features and step: {rates} steps/s, ratio {ratio:.2f}', flush=True)


if __name__ == '__main__':
    app.run(main)
