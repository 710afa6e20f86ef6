"""The same features and networks of sound in PyTorch, channels_last, its faster layout here."""

import numpy as np
import torch
from sizes import BANDS, HOP, RATE, WORDS
from torch.optim import swa_utils

from nnjax import config as configs
from nnjax.ops import audio

WINDOW, FFT = 400, 512
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
            torch.nn.Linear(HIDDEN, WORDS),
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
    return torch.nn.Sequential(*parts, torch.nn.Linear(before, WORDS))


def theirs(recipe: str, batch: int, sounds: np.ndarray, labels: np.ndarray):
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
            rows = torch.arange(number * batch, (number + 1) * batch) % len(x)
            optimizer.zero_grad(set_to_none=True)
            out = model(features(x[rows]))
            torch.nn.functional.cross_entropy(out, y[rows], label_smoothing=0.1).backward()
            optimizer.step()
            if averaged is not None:
                averaged.update_parameters(model)

    return steps
