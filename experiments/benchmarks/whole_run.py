"""The whole command, start to finish, against the same script in PyTorch.

  python experiments/benchmarks/whole_run.py [--rounds=5] [--json=FILE] [--config=fashion_mlp]

Both are fresh processes that load prepared Fashion-MNIST, train 784-64-10 for 10 epochs by SGD 0.01
at batch 64 with an evaluation an epoch, and test. nnjax also checkpoints and writes its report. They
take turns after a run each that is not counted (nnjax's fills the caches of data and programs).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import splits
from absl import app, flags

ROUNDS = flags.DEFINE_integer('rounds', 5, 'counted runs of each')
JSON = flags.DEFINE_string('json', None, 'also write the figures here')
SEEDS = flags.DEFINE_boolean('seeds', True, 'a new seed a round')

TORCH = """
import sys, numpy as np, torch
from torch import nn
from torch.nn.functional import cross_entropy
torch.manual_seed(int(sys.argv[2]))
data = np.load(sys.argv[1])
split = lambda name: (torch.from_numpy(data[f'{name}_image']).float() / 255,
                      torch.from_numpy(data[f'{name}_label']).long())
(x, y), valid, test = split('train'), split('valid'), split('test')
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
for layer in net[1], net[3]:  # the initial values of nnjax and flax; PyTorch's are smaller
    nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    nn.init.zeros_(layer.bias)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
def accuracy(x, y):
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()
for epoch in range(10):
    for rows in torch.randperm(len(x)).split(64):
        optimizer.zero_grad()
        cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    accuracy(*valid)
print(accuracy(*test))
"""


def timed(command: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - began, done.stdout


def main(_):
    seconds = {'nnjax': [], 'torch': []}
    accuracy = {'nnjax': [], 'torch': []}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / 'fashion.npz'
        splits.save('fashion_mlp', data)
        for number in range(-1, ROUNDS.value):
            seed = max(number, 0) if SEEDS.value else 0
            workdir = Path(folder) / f'run{number}'
            took, _ = timed(
                [
                    sys.executable,
                    '-m',
                    'nnjax',
                    'train',
                    '--config=fashion_mlp',
                    f'--config.seed={seed}',
                    f'--workdir={workdir}',
                    '--quiet',
                ]
            )
            last = json.loads((workdir / 'metrics.jsonl').read_text().splitlines()[-1])
            other, out = timed([sys.executable, '-c', TORCH, str(data), str(seed)])
            if number < 0:
                continue
            for name, value, score in (
                ('nnjax', took, last['accuracy']),
                ('torch', other, float(out)),
            ):
                seconds[name].append(value)
                accuracy[name].append(score)
            print(
                f'round {number}: nnjax {took:.2f} s {last["accuracy"]:.4f}   '
                f'torch {other:.2f} s {float(out):.4f}',
                flush=True,
            )
    ratio = statistics.median(
        t / n for n, t in zip(seconds['nnjax'], seconds['torch'], strict=True)
    )
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    mean = {name: statistics.mean(values) for name, values in accuracy.items()}
    spread = {
        name: statistics.stdev(values) if len(values) > 1 else 0.0
        for name, values in accuracy.items()
    }
    for name in seconds:
        print(
            f'{name}: {middle[name]:.2f} s (median of {ROUNDS.value}), test accuracy '
            f'{mean[name]:.4f} +- {spread[name]:.4f}'
        )
    print(f'torch / nnjax: {ratio:.2f}   cores: {len(os.sched_getaffinity(0))}')
    if JSON.value:
        Path(JSON.value).write_text(
            json.dumps(
                {'seconds': seconds, 'accuracy': accuracy, 'torch_over_nnjax': ratio}, indent=2
            )
        )


if __name__ == '__main__':
    app.run(main)
