"""32 trainings of the digits MLP: one `nnjax sweep`, 32 `nnjax train`, and a loop in PyTorch.

  python experiments/benchmarks/sweep.py [--rounds=3] [--epochs=40] [--points=32] [--processes=32]

Whole commands, process start to end, learning rates between 0.0005 and 0.05, the same network, data,
augmentation, evaluation and number of steps. `nnjax sweep` and the loop take turns after an uncounted
run each, which fills the caches; the processes run once, one after another, and with fewer than all
points their time is scaled up, which the output says. With --cnn a sweep of the Fashion-MNIST CNN is
compared with the same points one after another.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import splits
from absl import app, flags

ROUNDS = flags.DEFINE_integer('rounds', 3, 'counted runs of each')
EPOCHS = flags.DEFINE_integer('epochs', 40, 'length of each training')
POINTS = flags.DEFINE_integer('points', 32, 'learning rates')
PROCESSES = flags.DEFINE_integer('processes', 32, 'how many `nnjax train` are really run')
CNN = flags.DEFINE_boolean('cnn', False, 'compare runners on a CNN instead')
JSON = flags.DEFINE_string('json', None, 'also write the figures here')

TORCH = """
import sys, math, numpy as np, torch
from torch import nn
from torch.nn import functional as F
data, epochs, rates = np.load(sys.argv[1]), int(sys.argv[2]), map(float, sys.argv[3].split(','))
split = lambda n: (torch.from_numpy(data[f'{n}_image']).float().reshape(-1, 1, 8, 8) / 16,
                   torch.from_numpy(data[f'{n}_label']).long())
(x, y), valid, test = split('train'), split('valid'), split('test')
steps = math.ceil(epochs * len(x) / 64)
every = max(1, math.ceil(steps / 20))
def augmented(x):
    angle = (2 * torch.rand(len(x)) - 1) * math.radians(10)
    c, s, o = angle.cos(), angle.sin(), torch.zeros(len(x))
    turn = torch.stack([torch.stack([c, -s, o], 1), torch.stack([s, c, o], 1)], 1)
    x = F.grid_sample(x, F.affine_grid(turn, x.shape, align_corners=False), align_corners=False)
    return x + 0.1 * torch.randn_like(x)
for rate in rates:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, step = math.inf, 0
    def score(x, y):
        net.eval()
        with torch.no_grad():
            out = net(x)
            found = F.cross_entropy(out, y, label_smoothing=0.1).item(), (out.argmax(1) == y).float().mean().item()
        net.train()
        return found
    while step < steps:
        for rows in torch.randperm(len(x)).split(64)[: steps - step]:
            optimizer.zero_grad()
            F.cross_entropy(net(augmented(x[rows])), y[rows], label_smoothing=0.1).backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % every == 0 or step == steps:
                loss, _ = score(*valid)
                if loss < best:
                    best, kept = loss, [p.detach().clone() for p in net.parameters()]
    with torch.no_grad():
        for p, k in zip(net.parameters(), kept):
            p.copy_(k)
    print(rate, score(*test)[1])
"""


def timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - began


def nnjax(command: str, folder: str, *arguments: str) -> list[str]:
    return [sys.executable, '-m', 'nnjax', command, f'--workdir={folder}', '--quiet', *arguments]


def digits(folder: Path) -> dict:
    splits.save('digits_mlp', folder / 'digits.npz')
    rates = [f'{r:.6f}' for r in np.geomspace(0.0005, 0.05, POINTS.value)]
    fixed = ('--config=digits_mlp', f'--config.total={EPOCHS.value} epochs')
    found: dict[str, list[float]] = {'sweep': [], 'torch': []}
    for number in range(-1, ROUNDS.value):
        grid = f'--grid=optim.lr={",".join(rates)}'
        took = timed(nnjax('sweep', f'{folder}/sweep{number}', *fixed, grid))
        where = [str(folder / 'digits.npz'), str(EPOCHS.value), ','.join(rates)]
        other = timed([sys.executable, '-c', TORCH, *where])
        if number >= 0:
            found['sweep'].append(took)
            found['torch'].append(other)
            print(
                f'round {number}: nnjax sweep {took:.1f} s, PyTorch loop {other:.1f} s', flush=True
            )
    alone = []
    for number, rate in enumerate(rates[: PROCESSES.value]):
        run = nnjax('train', f'{folder}/run{number}', *fixed, f'--config.optim.lr={rate}')
        alone.append(timed(run))
    total = sum(alone) * len(rates) / len(alone)
    middle = {name: statistics.median(values) for name, values in found.items()}
    print(
        f'{len(rates)} points of {EPOCHS.value} epochs: nnjax sweep {middle["sweep"]:.1f} s; '
        f'{len(rates)} x nnjax train {total:.1f} s ({len(alone)} run): '
        f'{total / middle["sweep"]:.1f}x; PyTorch loop {middle["torch"]:.1f} s: '
        f'{middle["torch"] / middle["sweep"]:.2f}x'
    )
    return {**found, 'processes': alone}


def cnn(folder: Path) -> dict:
    """Seconds of a sweep of four CNNs under each runner, whole commands."""
    fixed = ('--config=fashion_cnn', '--config.total=120 steps', '--config.eval_every=120 steps')
    found: dict[str, list[float]] = {'auto': [], 'loop': [], 'lanes': []}
    for number in range(-1, ROUNDS.value):
        for runner, seconds in found.items():
            where = f'{folder}/{runner}{number}'
            took = timed(
                nnjax(
                    'sweep',
                    where,
                    *fixed,
                    '--grid=optim.lr=0.001,0.0005,0.002,0.003',
                    f'--runner={runner}',
                )
            )
            if number >= 0:
                seconds.append(took)
    middle = {name: statistics.median(values) for name, values in found.items()}
    print(
        'four CNNs, 120 steps: '
        + ', '.join(f'{name} {value:.1f} s' for name, value in middle.items())
        + f'; auto over loop: {middle["loop"] / middle["auto"]:.2f}x'
    )
    return found


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        found = (cnn if CNN.value else digits)(Path(folder))
    print(f'cores: {len(os.sched_getaffinity(0))}')
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(found, indent=2))


if __name__ == '__main__':
    app.run(main)
