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
import torch
from absl import app, flags
from torch.optim import swa_utils

from nnjax import config as configs
from nnjax.config import bind
from nnjax.data import sources
from nnjax.ops import audio
from nnjax.training.run import Run
from nnjax.training.setup import setup

ROUNDS = flags.DEFINE_integer('rounds', 5, 'times that both sides are measured in turn')
STEPS = flags.DEFINE_integer('steps', 20, 'steps a measurement')
RECIPES = flags.DEFINE_list('recipes', ['mlp', 'vgg'], 'networks to train')
BATCH, RATE, WINDOW, FFT, BANDS, CLASSES = 64, 16000, 400, 512, 40, 20
HOP = {'mlp': 320, 'vgg': 200}
HIDDEN = 512
VGG = ((16,), (32,), (64, 64), (128, 128), (128, 128))  # VGG-11 at a quarter of its width


class Features(torch.nn.Module):
    """torch.stft, which is what torchaudio calls, and one product with the same filters."""

    def __init__(self, hop: int):
        super().__init__()
        self.hop = hop
        self.register_buffer('window', torch.hann_window(WINDOW))
        self.register_buffer(
            'filters', torch.tensor(audio.mel_filters(RATE, FFT, BANDS, 20.0, RATE / 2))
        )

    def forward(self, x):
        x = x.float() / 32768
        spectrum = torch.stft(
            x,
            FFT,
            self.hop,
            WINDOW,
            self.window,
            center=True,
            pad_mode='constant',
            return_complex=True,
        )
        power = spectrum.real.square() + spectrum.imag.square()
        bands = (power.transpose(1, 2) @ self.filters).clamp(min=1e-6).log()
        return bands - bands.mean(1, keepdim=True)


def network(recipe: str, frames: int) -> torch.nn.Module:
    """The same network in PyTorch."""
    if recipe == 'mlp':
        return torch.nn.Sequential(
            torch.nn.Flatten(),
            torch.nn.Linear(frames * BANDS, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(HIDDEN, CLASSES),
        )
    parts, before = [torch.nn.Unflatten(1, (1, frames))], 1
    for stage in VGG:
        for channels in stage:
            parts += [
                torch.nn.Conv2d(before, channels, 3, padding=1),
                torch.nn.BatchNorm2d(channels),
                torch.nn.ReLU(),
            ]
            before = channels
        parts.append(torch.nn.MaxPool2d(2))
    parts += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Dropout(0.2)]
    return torch.nn.Sequential(*parts, torch.nn.Linear(before, CLASSES))


def theirs(recipe: str, sounds: np.ndarray, labels: np.ndarray):
    """A function that takes so many steps in PyTorch."""
    features = Features(HOP[recipe])
    x, y = torch.tensor(sounds), torch.tensor(labels.astype(np.int64))
    model = network(recipe, features(x[:1]).shape[1]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    decay = configs.load(f'commands_{recipe}').ema
    averaging = swa_utils.get_ema_multi_avg_fn(decay) if decay else None
    averaged = averaging and swa_utils.AveragedModel(model, multi_avg_fn=averaging)

    def steps(count: int) -> None:
        for number in range(count):
            rows = torch.arange(number * BATCH, (number + 1) * BATCH) % len(x)
            optimizer.zero_grad(set_to_none=True)
            out = model(features(x[rows]))
            torch.nn.functional.cross_entropy(out, y[rows], label_smoothing=0.1).backward()
            optimizer.step()
            if averaged is not None:
                averaged.update_parameters(model)

    return steps


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
    rng = np.random.default_rng(0)
    sounds = (rng.standard_normal((512, RATE)) * 3000).astype(np.int16)
    labels = rng.integers(0, CLASSES, 512)
    for recipe in RECIPES.value:
        sides = {'PyTorch': theirs(recipe, sounds, labels), 'nnjax': ours(recipe, sounds, labels)}
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
